"""The progress of one data migration, for the status report."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.contract.barrier import TABLE_ALTERED, barrier_blocker, live_barrier
from online_migrate.counting import RowCounts, count_rows, still_failing
from online_migrate.dialects import dialect_of
from online_migrate.kinds.base import DataMigration
from online_migrate.script.project import Project
from online_migrate.walk.checkpoint import decode_key, show_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SHOWN_FAILURES = 10
CONTRACTED = "contracted"
"""The status of a data migration that an applied contract revision requires."""
WAITS_FOR_EXPAND = "waits for expand"
"""The status of a data migration whose expand revision is not applied."""
ENDED = (state.Status.COMPLETE.value, CONTRACTED)
"""The statuses of a data migration of which nothing is left."""


@dataclasses.dataclass(frozen=True)
class WorkerState:
    """One worker of a data migration."""

    runner: str
    """The process of the worker: ``host:pid``."""
    silence: int
    """Seconds since the last heartbeat."""
    chunk_size: int | None
    rate: float | None
    """Rows per second."""
    waits_for: str | None
    """Why the worker does not start a chunk; None if it is not waiting."""


@dataclasses.dataclass(frozen=True)
class VerificationState:
    """How far the rows of a data migration are verified, and its barrier."""

    status: str
    checked: int
    failing: int
    failing_keys: tuple[str, ...]
    barrier: str | None
    """The name of the barrier in the database; None: there is none."""
    barrier_state: str
    """``created``, or how far a killed command came; or the id of the blocker if it is not in place."""
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None


@dataclasses.dataclass(frozen=True)
class MigrationState:
    """The progress of a data migration."""

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
    """Rows per second of all workers; only while the data migration runs."""
    seconds_left: float | None
    error: str | None
    runner: str | None
    updated_at: datetime.datetime | None
    failures: tuple[dict[str, str], ...] = ()
    """Some of the failed rows: key and error."""
    workers: tuple[WorkerState, ...] = ()
    """The active workers."""
    verification: VerificationState | None = None
    """None: ``verify`` has not begun."""

    @property
    def has_ended(self) -> bool:
        """True if nothing is left to migrate: no row is pending, or its rows were contracted."""
        return self.status in ENDED and not self.pending and not self.has_unknown_rows

    @property
    def has_unknown_rows(self) -> bool:
        """True if its record is complete, but its rows cannot be read, for the reason *error*."""
        return self.status == state.Status.COMPLETE and self.pending is None and self.error is not None


def migration_state(
    connection: Connection,
    project: Project,
    migration: DataMigration,
    record: state.Record | None,
    contracted: str | None,
    applied: frozenset[str],
) -> MigrationState:
    """Returns the progress of a data migration.

    *record*: its record, if it was started. *contracted*: the applied contract revision that requires it.
    """
    recorded = 0 if record is None else record.done + state.unrecorded_done(connection, migration.name)
    status = _status(migration, record, contracted, applied)
    rows = _Rows()
    if status not in (CONTRACTED, WAITS_FOR_EXPAND):
        rows = _count(connection, migration, recorded)
    workers: tuple[WorkerState, ...] = ()
    if status in (state.Status.RUNNING, state.Status.PAUSED):
        workers = _workers(connection, migration)
    alive = tuple(worker for worker in workers if worker.silence <= project.settings.lease)
    if status == state.Status.RUNNING and not migration.commits_by_itself and not alive:
        status = _status_without_workers(workers)
    counts = rows.census
    rate, left = _pace(alive, counts)
    by_record = recorded if record is not None and contracted is None else None
    return MigrationState(
        name=migration.name,
        kind=migration.kind,
        revision=migration.revision,
        release=migration.release,
        status=status,
        total=counts.total if counts else None,
        done=counts.done if counts else by_record,
        pending=counts.pending if counts else None,
        failed=counts.failed if counts else (len(rows.failing) or None),
        rate=rate,
        seconds_left=left,
        error=None if contracted is not None else (record.error if record else None) or rows.error,
        runner=record.runner if record else None,
        updated_at=record.updated_at if record else None,
        failures=_shown(rows.failing),
        workers=alive,
        verification=_verification(connection, migration.name),
    )


def _verification(connection: Connection, name: str) -> VerificationState | None:
    found = state.get_verification(connection, name)
    if found is None:
        return None
    barrier_state = found.barrier_state.value
    if found.barrier_state is state.BarrierState.CREATED:
        live = live_barrier(connection, found)
        blocker = barrier_blocker(found, live)
        if blocker is not None:
            barrier_state = blocker.id
        elif live is not None and not live.has_table_version(found.definition):
            barrier_state = TABLE_ALTERED
    return VerificationState(
        status=found.status.value,
        checked=found.checked,
        failing=found.failing,
        failing_keys=found.failing_keys,
        barrier=found.barrier,
        barrier_state=barrier_state,
        started_at=found.started_at,
        finished_at=found.finished_at,
    )


def _status(
    migration: DataMigration, record: state.Record | None, contracted: str | None, applied: frozenset[str]
) -> str:
    """Returns the status by the applied revisions and the record."""
    if contracted is not None:
        return CONTRACTED
    if migration.revision is not None and migration.revision not in applied:
        return WAITS_FOR_EXPAND
    return "not started" if record is None else record.status.value


def _status_without_workers(workers: Sequence[WorkerState]) -> str:
    """Returns the status of a data migration whose runner was killed: its record says that it is running."""
    if not workers:
        return "running, but no active worker"
    return f"running, but no heartbeat for {min(worker.silence for worker in workers)} s"


def _shown(failing: Mapping[str, str]) -> tuple[dict[str, str], ...]:
    return tuple(
        {"key": show_key(decode_key(key)), "error": error}
        for key, error in sorted(failing.items())[:SHOWN_FAILURES]
    )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The row counts of a data migration, as far as the rows can be read."""

    census: RowCounts | None = None
    failing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str | None = None


def _count(connection: Connection, migration: DataMigration, recorded: int) -> _Rows:
    """Counts the rows. *recorded*: the rows done according to the record, for rows moved to another table."""
    if migration.has_pending:
        try:
            counts = count_rows(
                connection, migration, recorded_done=recorded if migration.may_remove_rows else 0
            )
            return _Rows(counts, _failing(connection, migration))
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
    """Returns all rows recorded as failed. It is unknown which of them have been migrated since."""
    if not state.exists(connection):
        return {}
    return {key: error for key, error, _run in state.failed_keys(connection, name)}


def _workers(connection: Connection, migration: DataMigration) -> tuple[WorkerState, ...]:
    if not state.has_workers(connection):
        return ()
    found = state.workers_of(connection, migration.name, dialect_of(connection).epoch())
    # The entry of a worker that has ended only keeps its key range for another worker.
    there = [w for w in found if not w.released]
    return tuple(
        WorkerState(w.runner, w.seconds_since_heartbeat, w.chunk_size, w.rate, w.waits_for) for w in there
    )


def _pace(workers: Sequence[WorkerState], counts: RowCounts | None) -> tuple[float | None, float | None]:
    rate = sum(worker.rate or 0.0 for worker in workers)
    if not rate:
        return None, None
    return rate, counts.pending / rate if counts else None
