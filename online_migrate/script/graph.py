"""The revision graph: the phase of each revision, and the revisions that a database has. Pure.

Alembic's version table does not keep every head: after a contract revision that ``depends_on`` its expand
revision, the row of the expand revision is deleted. So version rows are never compared directly; a revision
is applied if it is an ancestor of a row.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from online_migrate import exceptions


class Phase(enum.StrEnum):
    """The phase of a migration that a revision belongs to."""

    BASE = "base"
    """The linear history of an adopted project, from before the two branches."""
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
    release: str | None = None
    doc: str = ""
    path: str = ""

    @property
    def parents(self) -> tuple[str, ...]:
        return self.down + self.depends_on


class Graph:
    """All revisions of a project. *revisions*: with parents before children.

    Raises :class:`~online_migrate.exceptions.GraphBroken` if the two branches are not separate: for a
    revision on both, an expand revision that depends on a contract revision, or a branch with two heads.
    """

    def __init__(self, revisions: Iterable[Revision]) -> None:
        self.revisions: dict[str, Revision] = {revision.id: revision for revision in revisions}
        self._ancestors: dict[str, frozenset[str]] = {}
        self._phases: dict[str, Phase] = {}
        self._after_contract: set[str] = set()
        self.heads: dict[Phase, str] = {}
        for revision in self.revisions.values():
            self._place(revision)
        _refuse_mixed_branches(self, self._after_contract)
        for phase in Phase:
            head = _head_of(self, phase)
            if head is not None:
                self.heads[phase] = head

    def _place(self, revision: Revision) -> None:
        inherited = {self._phases[parent] for parent in revision.down} - {Phase.BASE}
        declared = {Phase(label) for label in revision.labels & {Phase.EXPAND.value, Phase.CONTRACT.value}}
        phases = inherited | declared
        if len(phases) > 1:
            raise exceptions.GraphBroken(
                reason=f"{revision.id} is on both the expand and the contract branch ({revision.path})",
                hint="a revision has one phase: remove the other branch from its down_revision",
                path=revision.path,
            )
        self._phases[revision.id] = phases.pop() if phases else Phase.BASE
        if revision.additive and self._phases[revision.id] is Phase.CONTRACT:
            raise exceptions.GraphBroken(
                reason=f"contract revision {revision.id} declares additive ({revision.path})",
                hint="remove it: only expand is limited to additive statements",
            )
        behind = any(parent in self._after_contract for parent in revision.parents)
        if behind or self._phases[revision.id] is Phase.CONTRACT:
            self._after_contract.add(revision.id)

    def __contains__(self, revision: str) -> bool:
        return revision in self.revisions

    def phase(self, revision: str) -> Phase:
        """Returns the phase of a revision."""
        return self._phases[revision]

    def of(self, phase: Phase) -> list[str]:
        """Returns the revisions of a phase, parents before children."""
        return [revision for revision in self.revisions if self._phases[revision] is phase]

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
        members = [revision for revision in self.order(applied) if self._phases[revision] is phase]
        return members[-1] if members else None

    def expand_of(self, contract: str) -> str | None:
        """Returns the last expand revision that a contract revision needs although it does not depend on it.

        A script without a ``depends_on`` that reaches the expand branch does not declare what it needs. So it
        needs the branch up to its own release, or the whole branch if it names no release, or one that no
        expand revision has. None: it depends on the branch, or there is no expand revision.
        """
        revision = self.revisions[contract]
        stated = {found for parent in revision.depends_on for found in self.ancestors(parent)}
        if any(self._phases[found] is Phase.EXPAND for found in stated):
            return None
        release = revision.release
        same = [e for e in self.of(Phase.EXPAND) if self.revisions[e].release == release]
        return same[-1] if release is not None and same else self.heads.get(Phase.EXPAND)

    def needed(self, contract: str) -> frozenset[str]:
        """Returns a contract revision and all revisions that must be applied before it.

        These are its ancestors, and those that each contract revision among them needs without depending on
        them; see :meth:`expand_of`.
        """
        found = set(self.ancestors(contract))
        for revision in self.ancestors(contract):
            expand = self.expand_of(revision) if self._phases[revision] is Phase.CONTRACT else None
            if expand is not None:
                found |= self.ancestors(expand)
        return frozenset(found)

    def missing(self, applied: Iterable[str], target: str) -> list[str]:
        """Returns the revisions to apply to reach *target*, in order."""
        return self.order(self.ancestors(target) - set(applied))

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
            if self._phases[revision] is Phase.CONTRACT and required is not UNDECLARED:
                for name in required:
                    found.setdefault(name, revision)
        return found


def _refuse_mixed_branches(graph: Graph, after_contract: Collection[str]) -> None:
    """Refuses an expand revision among *after_contract*, which depend on a contract revision."""
    for revision in graph.of(Phase.EXPAND):
        if revision in after_contract:
            contracts = [
                a for a in graph.order(graph.ancestors(revision)) if graph.phase(a) is Phase.CONTRACT
            ]
            raise exceptions.GraphBroken(
                reason=f"expand revision {revision} depends on contract revision(s) "
                f"{', '.join(contracts)}, so expand would apply a contract revision",
                hint=f"remove them from depends_on / down_revision of {revision}",
                rule="expand-depends-on-contract",
                path=graph.revisions[revision].path,
            )


def _head_of(graph: Graph, phase: Phase) -> str | None:
    """Returns the last revision of a branch; None: it has no revision. Refuses a branch with two heads."""
    members = graph.of(phase)
    parents = {parent for member in members for parent in graph.revisions[member].down}
    heads = [member for member in members if member not in parents]
    if len(heads) > 1:
        raise exceptions.GraphBroken(
            reason=f"the {phase} branch has {len(heads)} heads: {', '.join(heads)}",
            hint=f"alembic merge -m 'merge {phase}' {' '.join(heads)}",
        )
    return heads[0] if heads else None


def expand_hint(graph: Graph, revision: str) -> str:
    """Returns the command that applies an expand revision and no later one."""
    if graph.heads.get(Phase.EXPAND) == revision:
        return "online-migrate expand"
    return f"online-migrate expand {revision}"


def from_scripts(scripts: Sequence[Any]) -> Graph:
    """Returns the graph of Alembic scripts, given with children before parents (``walk_revisions``)."""
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
    """Returns the names that a script declares in *variable*."""
    value = getattr(script.module, variable, None)
    if not isinstance(value, str | tuple | list | set | frozenset | None) or not all(
        isinstance(name, str) for name in value or ()
    ):
        raise exceptions.GraphBroken(
            reason=f"{variable} of {script.revision} is not a tuple of names: {value!r} ({script.path})",
            hint=f'write {variable} = ("name", ...)',
        )
    return _names(value)


def reasons_in(script: Any, variable: str) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of a key and a reason that a script declares in *variable*."""
    value = getattr(script.module, variable, None)
    pairs = [] if value is None else list(value.items()) if isinstance(value, Mapping) else [(value, None)]
    for key, reason in pairs:
        if not isinstance(key, str) or not isinstance(reason, str) or not key.strip() or not reason.strip():
            raise exceptions.GraphBroken(
                reason=f"{variable} of {script.revision} is not a dict of operations and reasons: {value!r} "
                f"({script.path})",
                hint=f'write {variable} = {{"drop-column table.column": "why no code uses it"}}',
            )
    return tuple(pairs)


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
        batch_losses=_names_in(script, "batch_losses"),
        rebuilds=_names_in(script, "rebuilds"),
        additive=reasons_in(script, "additive"),
        release=getattr(script.module, "release", None),
        doc=(script.doc or "").strip(),
        path=script.path,
    )
