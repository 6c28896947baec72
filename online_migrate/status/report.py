"""The status report: phases, data migrations, blockers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from online_migrate import state
from online_migrate.contract.gate import Gate
from online_migrate.contract.graph_blockers import to_contract
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.soak_gate import as_duration
from online_migrate.exceptions import Blocker
from online_migrate.runtime.rendering import renderer
from online_migrate.script.graph import Graph, Phase
from online_migrate.script.project import Project
from online_migrate.status.migration_state import MigrationState, migration_state
from online_migrate.sync.recorded import SyncState, sync_states

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class PhaseState:
    """The position of the database on one branch."""

    position: str | None
    head: str | None
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DeclaredException:
    """An operation or a statement that an expand script declares although it is not additive."""

    revision: str
    key: str
    reason: str
    applied: bool


@dataclasses.dataclass(frozen=True)
class SyncLine:
    """A recorded sync. *state*: there, disabled, changed or missing, the worst of its *triggers*."""

    name: str
    table: str
    revision: str | None
    state: str
    triggers: Mapping[str, str]
    gaps: tuple[str, ...] = ()
    """What writes its columns without firing its triggers."""

    @classmethod
    def of(cls, found: SyncState) -> SyncLine:
        """Returns the line of a sync."""
        sync = found.sync
        triggers = {name: one.value for name, one in found.triggers.items()}
        return cls(sync.name, sync.table_name, sync.revision, found.state.value, triggers, found.gaps)


@dataclasses.dataclass(frozen=True)
class SoakStatus:
    """What soaks of a contract revision; *seconds_left*: before contract may drop it."""

    revision: str
    state: str
    objects: tuple[str, ...]
    seconds_left: int

    @property
    def describe(self) -> str:
        """One line for display."""
        names = ", ".join(self.objects)
        if self.state != state.SoakState.SOAKING:
            return f"its soak is {self.state}: {names}"
        left = f"for another {as_duration(self.seconds_left)}" if self.seconds_left else "its time is over"
        return f"soaks, {left}: {names}"


@dataclasses.dataclass(frozen=True)
class Report:
    """The content of ``online-migrate status``."""

    url: str
    base: PhaseState
    expand: PhaseState
    contract: PhaseState
    half_applied: tuple[str, ...]
    migrations: tuple[MigrationState, ...]
    blockers: tuple[Blocker, ...]
    not_additive: tuple[DeclaredException, ...] = ()
    soaks: tuple[SoakStatus, ...] = ()
    """The contract revisions whose columns and tables soak."""
    requires_by_default: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """What the missing contract revisions require by ``requires.*``."""
    syncs: tuple[SyncLine, ...] = ()
    """The recorded syncs."""

    @property
    def complete(self) -> bool:
        """True if all revisions are applied and all data migrations are complete."""
        return not (
            self.expand.missing or self.contract.missing or self.base.missing or self.half_applied
        ) and all(m.has_ended for m in self.migrations)

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as a dictionary, for ``--json``."""
        found = dataclasses.asdict(self)
        found["blockers"] = [blocker.as_dict() for blocker in self.blockers]
        found["complete"] = self.complete
        for migration in found["migrations"]:
            when = migration["updated_at"]
            migration["updated_at"] = None if when is None else f"{when.isoformat()}Z"
            for name in ("started_at", "finished_at") if migration["verification"] else ():
                when = migration["verification"][name]
                migration["verification"][name] = None if when is None else f"{when.isoformat()}Z"
        return found


def make_report(connection: Connection, project: Project, applied: frozenset[str], *, url: str) -> Report:
    """Returns the status report. *connection* is in a read-only transaction."""
    graph = project.graph
    recorded = state.exists(connection)
    gate = Gate(
        graph,
        project.data_migrations,
        connection,
        applied,
        project.settings.gate_timeout,
        LiveServices.of(project),
        renderer(project, connection),
    )
    blockers = gate.blockers(to_contract(graph, applied))
    records = state.all_records(connection) if recorded else {}
    over = graph.requirements(applied)
    migrations = tuple(
        migration_state(connection, project, migration, records.get(name), over.get(name), applied)
        for name, migration in project.data_migrations.items()
    )
    return Report(
        url=url,
        base=phase_state(graph, applied, Phase.BASE),
        expand=phase_state(graph, applied, Phase.EXPAND),
        contract=phase_state(graph, applied, Phase.CONTRACT),
        half_applied=tuple(state.open_revisions(connection)) if recorded else (),
        migrations=migrations,
        blockers=tuple(blockers),
        not_additive=tuple(
            DeclaredException(revision, key, reason, revision in applied)
            for revision in graph.of(Phase.EXPAND)
            for key, reason in graph.revisions[revision].additive
        ),
        syncs=tuple(SyncLine.of(one) for one in sync_states(connection)),
        soaks=soak_statuses(connection),
        requires_by_default={
            revision: requires
            for revision, requires in project.requires_by_default.items()
            if revision not in applied
        },
    )


def soak_statuses(connection: Connection) -> tuple[SoakStatus, ...]:
    """Returns what soaks."""
    epoch = state.server_epoch(connection)
    return tuple(
        SoakStatus(
            one.revision,
            one.state.value,
            tuple(f"{subject} as {subject.soaked}" for subject in one.plan.objects),
            one.left(epoch),
        )
        for one in state.soaks(connection).values()
    )


def phase_state(graph: Graph, applied: frozenset[str], phase: Phase) -> PhaseState:
    """Returns the position of a database on a branch; of a history with several heads, each of them."""
    missing: Sequence[str] = [revision for revision in graph.of(phase) if revision not in applied]
    position, head = graph.position(applied, phase), graph.heads.get(phase)
    if phase is Phase.BASE and len(graph.history) > 1:
        reached = [old for old in graph.history if old in applied]
        position, head = ", ".join(reached) or position, ", ".join(graph.history)
    return PhaseState(position, head, tuple(missing))
