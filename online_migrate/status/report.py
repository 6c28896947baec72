"""Where a database stands: phases, data migrations, blockers."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from online_migrate import exceptions, state
from online_migrate.contract.gate import Gate, to_contract
from online_migrate.dialects import dialect_of
from online_migrate.evidence.pending import Census, still_failing, take_census
from online_migrate.exceptions import Blocker
from online_migrate.revision.data_migration import DataMigration
from online_migrate.revision.graph import Graph, Phase
from online_migrate.revision.project import Project
from online_migrate.walk.checkpoint import decode_key, show_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SHOWN_FAILURES = 10


@dataclasses.dataclass(frozen=True)
class PhaseState:
    """How far the database is on one branch."""

    position: str | None
    head: str | None
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class WorkerState:
    """One worker of a data migration."""

    runner: str
    """Its process: ``host:pid``."""
    silence: int
    """Seconds since it was last heard of."""
    chunk_size: int | None
    rate: float | None
    """Rows a second."""
    waits_for: str | None
    """Why it begins no chunk just now."""


@dataclasses.dataclass(frozen=True)
class MigrationState:
    """How far a data migration is."""

    name: str
    kind: str
    revision: str | None
    release: str | None
    status: str
    total: int | None
    done: int | None
    pending: int | None
    failed: int | None
    rate: float | None
    """Rows a second, of all workers; only while it runs."""
    seconds_left: float | None
    error: str | None
    runner: str | None
    updated_at: datetime.datetime | None
    failures: tuple[dict[str, str], ...] = ()
    """Some of the rows that failed: key and error."""
    workers: tuple[WorkerState, ...] = ()
    """Who is at it."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that ``online-migrate status`` shows."""

    url: str
    base: PhaseState
    expand: PhaseState
    contract: PhaseState
    half_applied: tuple[str, ...]
    migrations: tuple[MigrationState, ...]
    blockers: tuple[Blocker, ...]

    @property
    def complete(self) -> bool:
        """True if there is nothing left to do."""
        return not (
            self.expand.missing or self.contract.missing or self.base.missing or self.half_applied
        ) and all(m.status in ("complete", "contracted") for m in self.migrations)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        found = dataclasses.asdict(self)
        found["blockers"] = [blocker.as_dict() for blocker in self.blockers]
        found["complete"] = self.complete
        for migration in found["migrations"]:
            when = migration["updated_at"]
            migration["updated_at"] = None if when is None else f"{when.isoformat()}Z"
        return found


def make_report(connection: Connection, project: Project, applied: frozenset[str], *, url: str) -> Report:
    """Looks at everything, in a transaction that cannot write."""
    graph = project.graph
    recorded = state.exists(connection)
    gate = Gate(graph, project.data_migrations, connection, applied, project.settings.gate_timeout)
    blockers = gate.blockers(to_contract(graph, applied))
    records = state.all_records(connection) if recorded else {}
    over = graph.requirements(applied)
    migrations = tuple(
        _migration(connection, project, migration, records.get(name), over.get(name), applied)
        for name, migration in project.data_migrations.items()
    )
    return Report(
        url=url,
        base=_phase(graph, applied, Phase.BASE),
        expand=_phase(graph, applied, Phase.EXPAND),
        contract=_phase(graph, applied, Phase.CONTRACT),
        half_applied=tuple(state.open_revisions(connection)) if recorded else (),
        migrations=migrations,
        blockers=tuple(blockers),
    )


def _phase(graph: Graph, applied: frozenset[str], phase: Phase) -> PhaseState:
    missing: Sequence[str] = [revision for revision in graph.of(phase) if revision not in applied]
    return PhaseState(graph.position(applied, phase), graph.heads.get(phase), tuple(missing))


def _migration(
    connection: Connection,
    project: Project,
    migration: DataMigration,
    record: state.Record | None,
    contracted: str | None,
    applied: frozenset[str],
) -> MigrationState:
    recorded = 0 if record is None else record.done + state.uncounted(connection, migration.name)
    rows = _Rows()
    if contracted is not None:
        status = "contracted"
    elif migration.revision is not None and migration.revision not in applied:
        status = "waits for expand"
    else:
        status = "not started" if record is None else record.status.value
        rows = _count(connection, migration, recorded)
    workers: tuple[WorkerState, ...] = ()
    if record is not None and status in (state.Status.RUNNING, state.Status.PAUSED):
        workers = _workers(connection, migration)
    alive = tuple(worker for worker in workers if worker.silence <= project.settings.lease)
    if status == state.Status.RUNNING and migration.kind != "counted" and not alive:
        # A runner that was killed cannot say so.
        silence = min((worker.silence for worker in workers), default=None)
        status = "running, but nobody is at it" if silence is None else f"running, but silent for {silence} s"
    census, failing = rows.census, rows.failing
    rate, left = _pace(alive, census)
    by_record = recorded if record is not None and contracted is None else None
    return MigrationState(
        name=migration.name,
        kind=migration.kind,
        revision=migration.revision,
        release=migration.release,
        status=status,
        total=census.total if census else None,
        done=census.done if census else by_record,
        pending=census.pending if census else None,
        failed=census.failed if census else (len(failing) or None),
        rate=rate,
        seconds_left=left,
        error=None if contracted is not None else (record.error if record else None) or rows.error,
        runner=record.runner if record else None,
        updated_at=record.updated_at if record else None,
        failures=tuple(
            {"key": show_key(decode_key(key)), "error": error}
            for key, error in sorted(failing.items())[:SHOWN_FAILURES]
        ),
        workers=alive,
    )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What the data says about a data migration, as far as it can be read."""

    census: Census | None = None
    failing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str | None = None


def _count(connection: Connection, migration: DataMigration, recorded: int) -> _Rows:
    """*recorded*: rows that the record says are done, where rows are moved away."""
    if migration.has_pending:
        try:
            census = take_census(
                connection, migration, recorded_done=recorded if migration.kind == "batch" else 0
            )
            return _Rows(census, _failing(connection, migration))
        except exceptions.PendingUnreadable as problem:
            connection.rollback()
            return _Rows(failing=_recorded(connection, migration.name), error=str(problem))
    if migration.table is not None:
        try:
            return _Rows(failing=_failing(connection, migration))
        except exceptions.PendingUnreadable:
            connection.rollback()
            return _Rows(failing=_recorded(connection, migration.name))
    return _Rows()


def _failing(connection: Connection, migration: DataMigration) -> Mapping[str, str]:
    return still_failing(connection, migration, migration.subject(connection))


def _recorded(connection: Connection, name: str) -> Mapping[str, str]:
    """All rows that were recorded as failed: nothing tells which of them are migrated by now."""
    if not state.exists(connection):
        return {}
    return {key: error for key, error, _run in state.failed_keys(connection, name)}


def _workers(connection: Connection, migration: DataMigration) -> tuple[WorkerState, ...]:
    if not state.has_workers(connection):
        return ()
    found = state.workers_of(connection, migration.name, dialect_of(connection).epoch())
    # A worker that has ended shows nothing but that its range waits for another one.
    there = [w for w in found if not w.released]
    return tuple(WorkerState(w.runner, w.silence, w.chunk_size, w.rate, w.waits_for) for w in there)


def _pace(workers: Sequence[WorkerState], census: Census | None) -> tuple[float | None, float | None]:
    rate = sum(worker.rate or 0.0 for worker in workers)
    if not rate:
        return None, None
    return rate, census.pending / rate if census else None
