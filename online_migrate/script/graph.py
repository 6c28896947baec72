"""The revision graph: the phase of each revision, and the revisions that a database has. Pure.

Alembic's version table does not keep every head: after a contract revision that ``depends_on`` its expand
revision, the row of the expand revision is deleted. So version rows are never compared directly; a revision
is applied if it is an ancestor of a row.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence

from online_migrate import exceptions


class Phase(enum.StrEnum):
    """The phase of a migration that a revision belongs to."""

    BASE = "base"
    """The history of an adopted project: from before the two branches, or declared as history."""
    EXPAND = "expand"
    CONTRACT = "contract"


class _Undeclared(enum.Enum):
    UNDECLARED = "undeclared"


UNDECLARED = _Undeclared.UNDECLARED
"""The value for a contract script without ``requires``; not the same as an empty ``requires``."""


@dataclasses.dataclass(frozen=True)
class Revision:
    """The data of one Alembic script that the phases depend on."""

    id: str
    down: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    """The branch labels that the script itself declares."""
    requires: tuple[str, ...] | _Undeclared = UNDECLARED
    """Names of the data migrations that must be complete before this contract revision."""
    locks: tuple[str, ...] = ()
    """Tables to lock, declared by a contract revision whose SQL cannot be rendered beforehand."""
    batch_losses: tuple[str, ...] = ()
    """What a SQLite table may lose when batch mode copies it, in the form in which the refusal lists it."""
    rebuilds: tuple[str, ...] = ()
    """Tables that the revision may rebuild while their readers, or their writers, wait."""
    additive: tuple[tuple[str, str], ...] = ()
    """Operations or statements that expand may execute although they are not additive, each with a reason."""
    survived_by: tuple[tuple[str, str], ...] = ()
    """Services and their least versions that survive this contract revision, as the script declares them."""
    release: str | None = None
    doc: str = ""
    path: str = ""

    @property
    def parents(self) -> tuple[str, ...]:
        return self.down + self.depends_on


class Graph:
    """All revisions of a project. *revisions*: with parents before children.

    *history*: revisions that are, with their ancestors, the base, whatever their branch is. Raises
    :class:`~online_migrate.exceptions.GraphBroken` for a revision on both branches, or a branch with two
    heads.

    Each of its many methods answers a question about ancestry, from one index of ancestors.
    """

    def __init__(self, revisions: Iterable[Revision], history: Sequence[str] = ()) -> None:
        self.revisions: dict[str, Revision] = {revision.id: revision for revision in revisions}
        self.history = tuple(history)
        self._ancestors: dict[str, frozenset[str]] = {}
        self._branches: dict[str, Phase] = {}
        """The branch of each revision by its labels; that of a revision of the history included."""
        self.past = frozenset(old for head in self.history for old in self.ancestors(head))
        """The revisions of the declared history."""
        for revision in self.revisions.values():
            self._place(revision)
        self.crossings = _crossings(self)
        """The expand revisions that themselves depend on contract revisions, with those, parents first."""
        self.heads: dict[Phase, str] = {}
        """The last revision of each branch; of the base the last one, also if the history has several."""
        for phase in Phase:
            head = _head_of(self, phase)
            if head is not None:
                self.heads[phase] = head

    def _place(self, revision: Revision) -> None:
        inherited = {self._branches[parent] for parent in revision.down} - {Phase.BASE}
        declared = {Phase(label) for label in revision.labels & {Phase.EXPAND.value, Phase.CONTRACT.value}}
        phases = inherited | declared
        if len(phases) > 1:
            raise exceptions.GraphBroken(
                reason=f"{revision.id} is on both the expand and the contract branch ({revision.path})",
                hint="a revision has one phase: remove the other branch from its down_revision",
                path=revision.path,
            )
        self._branches[revision.id] = phases.pop() if phases else Phase.BASE
        if revision.additive and self.phase(revision.id) is Phase.CONTRACT:
            raise exceptions.GraphBroken(
                reason=f"contract revision {revision.id} declares additive ({revision.path})",
                hint="remove it: only expand is limited to additive statements",
            )

    def __contains__(self, revision: str) -> bool:
        return revision in self.revisions

    def phase(self, revision: str) -> Phase:
        """Returns the phase of a revision."""
        return Phase.BASE if revision in self.past else self._branches[revision]

    def tip(self, phase: Phase) -> str | None:
        """Returns the revision after which the next one of a branch is written; None: there is no revision.

        The branch may be part of the history, or may not have begun.
        """
        if phase in self.heads:
            return self.heads[phase]
        past = [head for head in self.history if self._branches[head] is phase]
        return past[-1] if past else self.heads.get(Phase.BASE)

    def has_branch(self, phase: Phase) -> bool:
        """Returns True if a revision, of the history too, is on the branch."""
        return phase in self._branches.values()

    @property
    def tips(self) -> tuple[str, ...]:
        """The heads of all branches; those of the history, if it has several, each."""
        base = self.history or tuple(head for head in (self.heads.get(Phase.BASE),) if head is not None)
        others = tuple(head for phase, head in self.heads.items() if phase is not Phase.BASE)
        return tuple(self.order({*base, *others}))

    def of(self, phase: Phase) -> list[str]:
        """Returns the revisions of a phase, parents before children."""
        return [revision for revision in self.revisions if self.phase(revision) is phase]

    def ancestors(self, revision: str) -> frozenset[str]:
        """Returns the revision and all its ancestors, through ``down_revision`` and ``depends_on``."""
        if revision not in self._ancestors:
            found: set[str] = set()
            to_visit = [revision]
            while to_visit:
                current = to_visit.pop()
                if current not in found:
                    found.add(current)
                    to_visit.extend(self.revisions[current].parents)
            self._ancestors[revision] = frozenset(found)
        return self._ancestors[revision]

    def order(self, revisions: Iterable[str]) -> list[str]:
        """Returns *revisions* sorted, parents before children."""
        wanted = set(revisions)
        return [revision for revision in self.revisions if revision in wanted]

    def applied(self, rows: Iterable[str]) -> frozenset[str]:
        """Returns all revisions that are applied to a database with these version rows.

        Raises :class:`~online_migrate.exceptions.UnknownRevision` for a row that is not in the project.
        """
        found: set[str] = set()
        for row in rows:
            if row not in self.revisions:
                raise exceptions.UnknownRevision(
                    revision=row, hint="the database is at a revision that is missing in this project"
                )
            found |= self.ancestors(row)
        return frozenset(found)

    def position(self, applied: Iterable[str], phase: Phase) -> str | None:
        """Returns the last revision of a phase among *applied*; None: there is none."""
        members = [revision for revision in self.order(applied) if self.phase(revision) is phase]
        return members[-1] if members else None

    def expand_of(self, contract: str) -> str | None:
        """Returns the last expand revision that a contract revision needs although it does not depend on it.

        A script without a ``depends_on`` that reaches the expand branch does not declare what it needs. So it
        needs the branch up to its own release, or the whole branch if it names no release, or one that no
        expand revision has. None: it depends on the branch, or there is no expand revision.
        """
        revision = self.revisions[contract]
        stated = {found for parent in revision.depends_on for found in self.ancestors(parent)}
        if any(self._branches[found] is Phase.EXPAND for found in stated):
            return None
        # An expand revision that depends on this contract revision cannot be applied before it.
        before = [e for e in self.of(Phase.EXPAND) if contract not in self.ancestors(e)]
        release = revision.release
        same = [e for e in before if release is not None and self.revisions[e].release == release]
        found = same or before
        return found[-1] if found else None

    def needed(self, contract: str) -> frozenset[str]:
        """Returns a contract revision and all revisions that must be applied before it.

        These are its ancestors, and those that each contract revision among them needs without depending on
        them; see :meth:`expand_of`.
        """
        found = set(self.ancestors(contract)) | self.past
        for revision in self.ancestors(contract):
            expand = self.expand_of(revision) if self.phase(revision) is Phase.CONTRACT else None
            if expand is not None:
                found |= self.ancestors(expand)
        return frozenset(found)

    def missing(self, applied: Iterable[str], target: str) -> list[str]:
        """Returns the revisions to apply to reach *target*, in order; those of the history first."""
        done = set(applied)
        return [*self.order(self.past - done), *self.order(self.ancestors(target) - self.past - done)]

    def contracts_in_history(self, revisions: Iterable[str]) -> list[str]:
        """Returns those of *revisions* that are on the contract branch, and declared as history, in order."""
        past = self.past & set(revisions)
        return [revision for revision in self.order(past) if self._branches[revision] is Phase.CONTRACT]

    def base_missing(self, applied: Iterable[str]) -> list[str]:
        """Returns the revisions of the base that are not among *applied*, in order."""
        return self.order(set(self.of(Phase.BASE)) - set(applied))

    def resolve(self, text: str) -> str:
        """Returns the revision that *text* names.

        *text*: an id, an unambiguous prefix of one, ``expand@head`` or ``contract@head`` (also ``expand`` and
        ``contract``). Raises :class:`~online_migrate.exceptions.UnknownRevision`.
        """
        if text in self.revisions:
            return text
        for phase in (Phase.EXPAND, Phase.CONTRACT):
            if text in (f"{phase}@head", phase.value) and phase in self.heads:
                return self.heads[phase]
        found = [revision for revision in self.revisions if text and revision.startswith(text)]
        if len(found) == 1:
            return found[0]
        hint = f"it matches several revisions: {', '.join(found)}" if found else None
        raise exceptions.UnknownRevision(revision=text, hint=hint)

    def requirements(self, applied: Iterable[str]) -> Mapping[str, str]:
        """Returns, for each required data migration, the first applied contract revision that requires it.

        Such a data migration is finished.
        """
        found: dict[str, str] = {}
        for revision in self.order(applied):
            required = self.revisions[revision].requires
            if self._branches[revision] is Phase.CONTRACT and required is not UNDECLARED:
                for name in required:
                    found.setdefault(name, revision)
        return found


def _crossings(graph: Graph) -> Mapping[str, Sequence[str]]:
    """Returns the expand revisions that name a parent which is, or depends on, a contract revision."""
    found: dict[str, Sequence[str]] = {}
    for revision in graph.of(Phase.EXPAND):
        parents = [p for p in graph.revisions[revision].parents if graph.phase(p) is not Phase.EXPAND]
        parents += graph.revisions[revision].depends_on
        behind = {ancestor for parent in parents for ancestor in graph.ancestors(parent)}
        contracts = [old for old in graph.order(behind) if graph.phase(old) is Phase.CONTRACT]
        if contracts:
            found[revision] = contracts
    return found


def _head_of(graph: Graph, phase: Phase) -> str | None:
    """Returns the last revision of a branch; None: it has no revision. Refuses a branch with two heads."""
    members = graph.of(phase)
    parents = {parent for member in members for parent in graph.revisions[member].down}
    heads = [member for member in members if member not in parents]
    if len(heads) > 1 and not set(heads) <= set(graph.history):
        raise exceptions.GraphBroken(
            reason=f"the {phase} branch has {len(heads)} heads: {', '.join(heads)}",
            hint=f"alembic merge -m 'merge {phase}' {' '.join(heads)}",
        )
    return heads[-1] if heads else None


def expand_hint(graph: Graph, revision: str) -> str:
    """Returns the command that applies an expand revision and no later one."""
    if graph.heads.get(Phase.EXPAND) == revision:
        return "online-migrate expand"
    return f"online-migrate expand {revision}"
