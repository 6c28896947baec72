"""Reads what is checked, for one server: the scripts of an Alembic project, or SQL files.

The scripts of a project are rendered in Alembic's offline mode, without env.py and without a database.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from online_migrate import exceptions
from online_migrate.runtime.rendering import RenderedStatement, render_offline
from online_migrate.script.graph import Graph, Phase
from online_migrate.script.project import Project


@dataclasses.dataclass(frozen=True)
class Text:
    """A text that a script sends, with one or more statements, and the line of the script that sends it."""

    text: str
    line: int
    is_file: bool = False
    """True if the text is the whole file, so that the lines of the text are those of the file."""
    transaction: int | None = None
    """The number of the transaction that the text runs in; None: it runs outside of one."""


@dataclasses.dataclass(frozen=True)
class RawScript:
    """The texts of a script on one server."""

    path: str
    texts: tuple[Text, ...]
    revision: str | None = None
    phase: Phase | None = None
    not_rendered: tuple[int, str] | None = None
    reported: bool = True
    additive: tuple[tuple[str, str], ...] = ()
    """What the script declares as additive, each with the reason."""
    under_lock: bool = False
    """``contract`` applies it under the lock of its tables."""


class Source(Protocol):
    """Something that is checked."""

    def scripts(self, product: str) -> Iterator[RawScript]:
        """Returns the scripts on a server, in the order in which they are applied."""


@dataclasses.dataclass(frozen=True)
class SqlFiles:
    """SQL files, applied in the order of their names."""

    paths: Sequence[Path]

    def scripts(self, product: str) -> Iterator[RawScript]:
        for path in self.paths:
            yield RawScript(str(path), (Text(_text_of_file(path), 1, is_file=True),))


@dataclasses.dataclass(frozen=True)
class ProjectScripts:
    """The scripts of an Alembic project. *since*: only the revisions that are not its ancestors are reported.

    *only*: the files that are reported; empty: all.
    """

    project: Project
    since: str | None = None
    only: Collection[Path] = ()

    @functools.cached_property
    def graph(self) -> Graph | exceptions.GraphBroken:
        """The revision graph, or the reason why it is not valid."""
        try:
            return self.project.graph
        except exceptions.GraphBroken as error:
            return error

    @functools.cached_property
    def revisions(self) -> Sequence[Any]:
        """Alembic's scripts, parents before children."""
        return list(self.project.script.walk_revisions())[::-1]

    def load(self) -> None:
        """Loads the scripts now. Raises their errors, and that of an unknown revision *since*."""
        _ = self._reported

    @functools.cached_property
    def _reported(self) -> frozenset[str]:
        """The revisions that are reported.

        Without *since* and *only*: all; but if the project has the two branches, only those of the branches,
        because the base is the history from before them.
        """
        graph, ids = self.graph, [script.revision for script in self.revisions]
        if self.since is not None:
            ids = self._after(self.since)
        elif isinstance(graph, Graph) and len(graph.heads) > 1 and not self.only:
            ids = [id for id in ids if graph.phase(id) is not Phase.BASE]
        if self.only:
            wanted = {path.resolve() for path in self.only}
            paths = {script.revision: Path(script.path).resolve() for script in self.revisions}
            ids = [id for id in ids if paths[id] in wanted]
        return frozenset(ids)

    def _after(self, since: str) -> list[str]:
        graph = self.graph
        if not isinstance(graph, Graph):
            raise graph
        before = graph.ancestors(graph.resolve(since))
        return [id for id in graph.revisions if id not in before]

    @property
    def judged_together(self) -> bool:
        """True if what one of the scripts creates is new for all of them: no old code knows it."""
        return self.since is not None

    def scripts(self, product: str) -> Iterator[RawScript]:
        for script in self.revisions:
            rendered = render_offline(
                self.project.config, self.project.script, script.revision, server=product, options={}
            )
            failed = rendered.reason is not None
            yield RawScript(
                path=str(script.path),
                texts=tuple(_text(statement) for statement in rendered.statements),
                revision=script.revision,
                phase=self.graph.phase(script.revision) if isinstance(self.graph, Graph) else None,
                not_rendered=(rendered.line or 1, rendered.reason or "") if failed else None,
                reported=script.revision in self._reported,
                additive=self.graph.revisions[script.revision].additive
                if isinstance(self.graph, Graph)
                else (),
                under_lock=self._is_under_lock(script.revision),
            )

    def _is_under_lock(self, revision: str) -> bool:
        if not isinstance(self.graph, Graph) or self.graph.phase(revision) is not Phase.CONTRACT:
            return False
        required = self.graph.revisions[revision].requires
        return isinstance(required, tuple) and bool(required)


def _text(statement: RenderedStatement) -> Text:
    return Text(statement.text, statement.line or 1, transaction=statement.transaction)


def _text_of_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise exceptions.UsageError(message=f"{path} cannot be read: {error}") from None
