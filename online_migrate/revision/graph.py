"""The revision graph: which revision belongs to which phase, and what a database has of it. Pure.

Alembic's version table forgets: after a contract revision that ``depends_on`` its expand revision, the
expand's row vanishes. So nothing here compares rows; a revision is applied if it is an ancestor of a row.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from online_migrate import exceptions


class Phase(enum.StrEnum):
    """Where a revision stands in the life of a migration."""

    BASE = "base"
    """The linear history of an adopted project, from before the two branches."""
    EXPAND = "expand"
    CONTRACT = "contract"


class _Undeclared(enum.Enum):
    UNDECLARED = "undeclared"


UNDECLARED = _Undeclared.UNDECLARED
"""A contract script that does not say what it requires; not the same as requiring nothing."""


@dataclasses.dataclass(frozen=True)
class Revision:
    """One Alembic script, as far as the phases are concerned."""

    id: str
    down: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    """The branch labels that the script itself declares."""
    requires: tuple[str, ...] | _Undeclared = UNDECLARED
    """Names of the data migrations that must be complete before this contract revision."""
    locks: tuple[str, ...] = ()
    """Tables that a contract revision names because its SQL cannot be rendered beforehand."""
    rebuilds: tuple[str, ...] = ()
    """Tables that a contract revision may rebuild under the lock, while their readers wait."""
    release: str | None = None
    doc: str = ""
    path: str = ""

    @property
    def parents(self) -> tuple[str, ...]:
        return self.down + self.depends_on


class Graph:
    """All revisions of a project. *revisions* must come with parents before children.

    Raises :class:`~online_migrate.exceptions.GraphBroken` where the two branches are not kept apart:
    a revision on both, an expand revision that needs a contract one, a branch with two heads.
    """

    def __init__(self, revisions: Iterable[Revision]) -> None:
        self.revisions: dict[str, Revision] = {revision.id: revision for revision in revisions}
        self._ancestors: dict[str, frozenset[str]] = {}
        self._phases: dict[str, Phase] = {}
        self._after_contract: set[str] = set()
        self.heads: dict[Phase, str] = {}
        for revision in self.revisions.values():
            self._place(revision)
        self._check()

    def _place(self, revision: Revision) -> None:
        inherited = {self._phases[parent] for parent in revision.down} - {Phase.BASE}
        declared = {Phase(label) for label in revision.labels & {Phase.EXPAND.value, Phase.CONTRACT.value}}
        phases = inherited | declared
        if len(phases) > 1:
            raise exceptions.GraphBroken(
                reason=f"{revision.id} is on the expand and on the contract branch at once ({revision.path})",
                hint="a revision has one phase: take the other branch out of its down_revision",
            )
        self._phases[revision.id] = phases.pop() if phases else Phase.BASE
        behind = any(parent in self._after_contract for parent in revision.parents)
        if behind or self._phases[revision.id] is Phase.CONTRACT:
            self._after_contract.add(revision.id)

    def _check(self) -> None:
        for revision in self.of(Phase.EXPAND):
            if revision in self._after_contract:
                contracts = [
                    a for a in self.order(self.ancestors(revision)) if self.phase(a) is Phase.CONTRACT
                ]
                raise exceptions.GraphBroken(
                    reason=f"expand revision {revision} depends on contract revision(s) "
                    f"{', '.join(contracts)}, so expanding would contract",
                    hint=f"take them out of depends_on / down_revision of {revision}",
                )
        for phase in Phase:
            heads = self._heads_of(phase)
            if len(heads) > 1:
                raise exceptions.GraphBroken(
                    reason=f"the {phase} branch has {len(heads)} heads: {', '.join(heads)}",
                    hint=f"alembic merge -m 'merge {phase}' {' '.join(heads)}",
                )
            if heads:
                self.heads[phase] = heads[0]

    def _heads_of(self, phase: Phase) -> list[str]:
        members = self.of(phase)
        parents = {parent for member in members for parent in self.revisions[member].down}
        return [member for member in members if member not in parents]

    def __contains__(self, revision: str) -> bool:
        return revision in self.revisions

    def phase(self, revision: str) -> Phase:
        """The phase of a revision."""
        return self._phases[revision]

    def of(self, phase: Phase) -> list[str]:
        """The revisions of a phase, parents before children."""
        return [revision for revision in self.revisions if self._phases[revision] is phase]

    def ancestors(self, revision: str) -> frozenset[str]:
        """The revision and all that it needs, through ``down_revision`` and ``depends_on``."""
        if revision not in self._ancestors:
            found: set[str] = set()
            ahead = [revision]
            while ahead:
                current = ahead.pop()
                if current not in found:
                    found.add(current)
                    ahead.extend(self.revisions[current].parents)
            self._ancestors[revision] = frozenset(found)
        return self._ancestors[revision]

    def order(self, revisions: Iterable[str]) -> list[str]:
        """The revisions, parents before children."""
        wanted = set(revisions)
        return [revision for revision in self.revisions if revision in wanted]

    def applied(self, rows: Iterable[str]) -> frozenset[str]:
        """All revisions that a database with these version rows has.

        Raises :class:`~online_migrate.exceptions.UnknownRevision` for a row that is not in the project.
        """
        found: set[str] = set()
        for row in rows:
            if row not in self.revisions:
                raise exceptions.UnknownRevision(
                    revision=row, hint="the database is at a revision that these scripts do not have"
                )
            found |= self.ancestors(row)
        return frozenset(found)

    def position(self, applied: Iterable[str], phase: Phase) -> str | None:
        """The last applied revision of a phase."""
        members = [revision for revision in self.order(applied) if self._phases[revision] is phase]
        return members[-1] if members else None

    def expand_of(self, contract: str) -> str | None:
        """The last expand revision that a contract revision needs although it does not depend on it.

        A script without a ``depends_on`` that reaches the expand branch says nothing of what it needs. So it
        needs the branch up to its own release, or all of it where it names no release, or one that no expand
        revision has. None: it does depend on the branch, or there is none.
        """
        revision = self.revisions[contract]
        stated = {found for parent in revision.depends_on for found in self.ancestors(parent)}
        if any(self._phases[found] is Phase.EXPAND for found in stated):
            return None
        release = revision.release
        same = [e for e in self.of(Phase.EXPAND) if self.revisions[e].release == release]
        return same[-1] if release is not None and same else self.heads.get(Phase.EXPAND)

    def needed(self, contract: str) -> frozenset[str]:
        """All that must be applied before a contract revision, and itself: its ancestors, and what each
        contract revision among them needs without depending on it."""
        found = set(self.ancestors(contract))
        for revision in self.ancestors(contract):
            expand = self.expand_of(revision) if self._phases[revision] is Phase.CONTRACT else None
            if expand is not None:
                found |= self.ancestors(expand)
        return frozenset(found)

    def missing(self, applied: Iterable[str], target: str) -> list[str]:
        """What has to be applied to reach *target*, in order."""
        return self.order(self.ancestors(target) - set(applied))

    def resolve(self, text: str) -> str:
        """The revision that *text* means: an id, an unambiguous beginning of one, ``expand@head``,
        ``contract@head``.

        Raises :class:`~online_migrate.exceptions.UnknownRevision`.
        """
        if text in self.revisions:
            return text
        for phase in (Phase.EXPAND, Phase.CONTRACT):
            if text in (f"{phase}@head", phase.value) and phase in self.heads:
                return self.heads[phase]
        found = [revision for revision in self.revisions if text and revision.startswith(text)]
        if len(found) == 1:
            return found[0]
        hint = f"it could be {', '.join(found)}" if found else None
        raise exceptions.UnknownRevision(revision=text, hint=hint)

    def requirements(self, applied: Iterable[str]) -> Mapping[str, str]:
        """Data migration -> the applied contract revision that required it: its work is over."""
        found: dict[str, str] = {}
        for revision in self.order(applied):
            required = self.revisions[revision].requires
            if self._phases[revision] is Phase.CONTRACT and required is not UNDECLARED:
                for name in required:
                    found.setdefault(name, revision)
        return found


def from_scripts(scripts: Sequence[Any]) -> Graph:
    """The graph of Alembic scripts that come with children before parents (``walk_revisions``)."""
    by_label = {
        label: script.revision for script in scripts for label in _labels(script) if label not in ("", None)
    }
    ids = {script.revision for script in scripts}
    return Graph(_revision(script, ids, by_label) for script in reversed(scripts))


def _labels(script: Any) -> tuple[str, ...]:
    return _names(getattr(script.module, "branch_labels", None))


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _names_in(script: Any, variable: str) -> tuple[str, ...]:
    """The names that a script gives in *variable*."""
    value = getattr(script.module, variable, None)
    if not isinstance(value, str | tuple | list | set | frozenset | None) or not all(
        isinstance(name, str) for name in value or ()
    ):
        raise exceptions.GraphBroken(
            reason=f"{variable} of {script.revision} is no tuple of names: {value!r} ({script.path})",
            hint=f'write {variable} = ("name", ...)',
        )
    return _names(value)


def _revision(script: Any, ids: set[str], by_label: Mapping[str, str]) -> Revision:
    declared = getattr(script.module, "requires", None) is not None
    depends = tuple(
        name if name in ids else by_label.get(name, name) for name in script._resolved_dependencies
    )
    return Revision(
        id=script.revision,
        down=tuple(script._versioned_down_revisions),
        depends_on=depends,
        labels=frozenset(_labels(script)),
        requires=_names_in(script, "requires") if declared else UNDECLARED,
        locks=_names_in(script, "locks"),
        rebuilds=_names_in(script, "rebuilds"),
        release=getattr(script.module, "release", None),
        doc=(script.doc or "").strip(),
        path=script.path,
    )
