"""What the settings declare about scripts that must not be touched. Pure.

``history``: the revisions up to which the scripts are the base. ``requires.REVISION``: the data migrations of
a contract script that has no ``requires``. ``additive.REVISION``: the exceptions of an expand script.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from online_migrate import exceptions
from online_migrate.config import SECTION, Settings, settings_broken
from online_migrate.script.graph import UNDECLARED, Graph, Phase, Revision

ANY = "*"
"""The name that stands for every contract script without ``requires``."""
NONE = "none"
"""The value of a contract script that requires no data migration."""


@dataclasses.dataclass(frozen=True)
class ScriptDeclarations:
    """The settings ``history``, ``requires.REVISION`` and ``additive.REVISION``, as they were written."""

    history: tuple[str, ...] = ()
    requires: tuple[tuple[str, str], ...] = ()
    additive: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> ScriptDeclarations:
        """Returns the declarations of a project."""
        return cls(tuple(_names(settings.history or "")), settings.requires or (), settings.additive or ())

    def history_in(self, ids: Collection[str]) -> tuple[str, ...]:
        """Returns the revisions of ``history``, each by its id.

        Raises :class:`~online_migrate.exceptions.ConfigBroken` for one that no script has.
        """
        return tuple(_id_of(name, ids, "history") for name in self.history)

    def complete(self, graph: Graph) -> Iterable[Revision]:
        """Returns the revisions of *graph*, with what the settings say of them.

        Raises :class:`~online_migrate.exceptions.ConfigBroken` for a revision that does not exist, is on
        another branch or declares the same itself, and for a value that says nothing.
        """
        changes: dict[str, dict[str, Any]] = {}
        for id in _undeclared(graph) if ANY in dict(self.requires) else ():
            changes[id] = {"requires": _required(ANY, dict(self.requires)[ANY])}
        for name, value in self.requires:
            if name != ANY:
                revision = _revision_of(graph, "requires", name, Phase.CONTRACT)
                if revision.requires is not UNDECLARED:
                    raise _declares(revision, "requires")
                changes[revision.id] = {"requires": _required(name, value)}
        for name, value in self.additive:
            revision = _revision_of(graph, "additive", name, Phase.EXPAND)
            if revision.additive:
                raise _declares(revision, "additive")
            changes[revision.id] = {"additive": tuple(_reasons(name, value))}
        for revision in graph.revisions.values():
            yield dataclasses.replace(revision, **changes.get(revision.id, {}))

    def by_default(self, graph: Graph, undeclared: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Returns the data migrations that ``requires.*`` makes a revision require, by its id.

        *undeclared*: the contract revisions whose script has no ``requires``.
        """
        requires = dict(self.requires)
        if ANY not in requires:
            return {}
        named = {_id_of(name, graph.revisions, "requires") for name in requires if name != ANY}
        return {id: _required(ANY, requires[ANY]) for id in undeclared if id not in named}


def by_default_note(requires: Sequence[str]) -> str:
    """Returns the line for a revision that requires *requires* by ``requires.*``."""
    return f"requires {', '.join(requires) or NONE}, by requires.{ANY} in [{SECTION}]"


NOTHING_DECLARED = ScriptDeclarations()


def _undeclared(graph: Graph) -> list[str]:
    return [id for id in graph.of(Phase.CONTRACT) if graph.revisions[id].requires is UNDECLARED]


def _revision_of(graph: Graph, setting: str, name: str, phase: Phase) -> Revision:
    revision = _id_of(name, graph.revisions, f"{setting}.{name}")
    if graph.phase(revision) is not phase:
        found = graph.phase(revision)
        raise settings_broken(f"{setting}.{name}: {revision} is on the {found} branch, not on {phase}")
    return graph.revisions[revision]


def _required(name: str, value: str) -> tuple[str, ...]:
    names = tuple(_names(value))
    if not names or (NONE in names and len(names) > 1):
        raise settings_broken(
            f"requires.{name}: it names no data migration; write none if the script requires none"
        )
    return () if names == (NONE,) else names


def _reasons(name: str, value: str) -> Iterator[tuple[str, str]]:
    for line in value.splitlines():
        operation, _, reason = (part.strip() for part in line.partition(": "))
        if line.strip() and not (operation and reason):
            raise settings_broken(f"additive.{name}: {line.strip()!r} is not an operation: and its reason")
        if line.strip():
            yield operation, reason


def _names(text: str) -> Iterator[str]:
    return (name.strip() for name in text.split(",") if name.strip())


def _id_of(name: str, ids: Collection[str] | Mapping[str, Any], setting: str) -> str:
    """Returns the id of a revision; the names of settings in alembic.ini are read in lower case."""
    found = [id for id in ids if id == name] or [id for id in ids if id.lower() == name.lower()]
    if len(found) != 1:
        raise settings_broken(f"{setting}: no script has the revision id {name}")
    return found[0]


def _declares(revision: Revision, setting: str) -> exceptions.ConfigBroken:
    return settings_broken(f"{setting}.{revision.id}: the script declares {setting} itself ({revision.path})")
