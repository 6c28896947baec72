"""Runs a data migration that walks a table: its start, its workers in this process, its end."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from online_migrate import exceptions, state
from online_migrate.counting import still_failing
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS, error_message
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.result import UserError
from online_migrate.kinds.visibility import require_visible
from online_migrate.migrate.progress import Listener
from online_migrate.migrate.run import row_total
from online_migrate.migrate.run.context import RunContext, RunState
from online_migrate.migrate.run.finalizer import Finalizer, NotConverging, any_range_held
from online_migrate.migrate.status import Outcome, Result
from online_migrate.migrate.worker.failures import TooManyFailures
from online_migrate.migrate.worker.heartbeat import Heartbeat
from online_migrate.migrate.worker.lease import AcquireResult, LeaseLost, LeaseManager
from online_migrate.migrate.worker.reconnect import reconnect_pauses
from online_migrate.migrate.worker.recorded_error import truncate_error
from online_migrate.migrate.worker.session import data_connection, run_read_transaction, run_transaction
from online_migrate.migrate.worker.worker import Worker
from online_migrate.observe import events
from online_migrate.state import Status
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.key import KeyUnreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")
_log = logging.getLogger(__name__)


class EndedByServer(exceptions.Failed):
    """{message}"""


MIGRATION_ERRORS = (
    EndedByServer,
    UserError,
    TooManyFailures,
    KeyUnreadable,
    exceptions.DataMigrationBroken,
    exceptions.PendingUnreadable,
)
"""Errors that end one data migration and do not prevent the others."""


class Runner:
    """Runs one data migration in this process. Use :func:`run_one`."""

    def __init__(self, context: RunContext, migration: DataMigration, connection: Connection) -> None:
        self._context = context
        with dialect_of(connection).read_transaction(connection), connection.begin():
            self._migration = BoundMigration.bind(connection, migration)
        self._dialect = self._migration.dialect
        meter, self._totals_known = row_total.new_meter(self._migration, connection, clock=context.clock)
        self._run_state = RunState(context, migration.name, meter)
        self._finalizer_lock = threading.Lock()

    # --- start -----------------------------------------------------------------------------------

    def start(self, connection: Connection) -> Result | None:
        """Starts a run, or joins one that is running.

        Returns None; or a result with Outcome.SUSPENDED if the data migration is paused or cancelled.
        """
        leases = LeaseManager(self._migration, "", self._context.lease)
        with leases.lock_dead_workers(connection, self._context.clock) as dead:
            work = lambda: self._start(connection, dead)  # noqa: E731
            try:
                held = self._in_transaction(connection, work)
            except DATABASE_ERRORS as error:
                if self._dialect.is_connection_lost(error):
                    raise
                # Another runner inserted the record between the SELECT and the INSERT; now it exists.
                held = self._in_transaction(connection, work)
        if held is not None:
            return Result(
                self._migration.name, Outcome.SUSPENDED, error=_resume_hint(self._migration.name, held)
            )
        self._run_state.reporter.start()
        return None

    def _start(self, connection: Connection, dead: frozenset[str]) -> Status | None:
        name = self._migration.name
        record = state.get_record(connection, name, for_update=True)
        if record is not None and record.status in (Status.PAUSED, Status.CANCELLED):
            return record.status
        walk = state.get_walk(connection, name, for_update=True)
        workers = state.workers_of(connection, name, self._dialect.epoch())
        alive = [
            one
            for one in workers
            if one.seconds_since_heartbeat <= self._context.lease and one.id not in dead
        ]
        joined = record is not None and record.status is Status.RUNNING and bool(alive)
        state.start_record(connection, name)
        if joined and walk is not None:
            self._run_state.run = walk.run
            return None
        self._run_state.run = secrets.token_hex(8)
        state.put_walk(connection, self._new_walk(connection, walk, workers), known=walk is not None)
        return None

    def _new_walk(
        self, connection: Connection, old: state.Walk | None, workers: list[state.Worker]
    ) -> state.Walk:
        """Returns the walk of a new run: it continues where the last run ended, or starts a new sweep.

        A sweep starts from the first key, for rows that became pending behind the last walk.
        """
        name = self._migration.name
        if old is None:
            return state.Walk(name, self._run_state.run, sweep=0, frontier=None, handed_out=False, extents=0)
        new = dataclasses.replace(old, run=self._run_state.run, handed_out=False)
        walked = old.handed_out and self._migration.pending is not None and not any_range_held(workers)
        if not old.sweep and not walked:
            return new
        for worker in workers:
            # The sweep includes the key ranges that they held.
            state.add_done(connection, name, state.delete_worker(connection, worker.id))
        return dataclasses.replace(new, sweep=old.sweep + 1, frontier=None)

    # --- workers ---------------------------------------------------------------------------------

    def work(self) -> None:
        """Runs the workers until no work is left, or the run is stopped.

        On a server with a single writer there is one worker.
        """
        number = 1 if self._dialect.single_writer else self._context.workers
        with (
            Heartbeat(self._run_state, self._context.engine, self._dialect) as heartbeat,
            self._counting_in_background(),
        ):
            threads = [
                threading.Thread(target=self._run_worker, args=(heartbeat,), name=f"worker-{i}", daemon=True)
                for i in range(1, number)
            ]
            for thread in threads:
                thread.start()
            self._run_worker(heartbeat)
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def _counting_in_background(self) -> Iterator[None]:
        """Counts the rows in a thread, if that was not done before the start: the total is only displayed."""
        thread = threading.Thread(target=self._count_rows, name="online-migrate-count", daemon=True)
        if not self._totals_known:
            thread.start()
        yield
        if not self._totals_known:
            thread.join(timeout=5.0)

    def _count_rows(self) -> None:
        # The count is only displayed; errors of the server are raised by the workers.
        with (
            contextlib.suppress(*DATABASE_ERRORS, exceptions.Failed),
            data_connection(self._context.engine, self._context.lease) as connection,
            self._context.throttling.activity,
            connection.begin(),
        ):
            moved = self._run_state.done
            counts = row_total.count(self._migration, connection)
            self._run_state.reporter.set_totals(counts.total, counts.done, moved=moved)

    def _run_worker(self, heartbeat: Heartbeat) -> None:
        """Runs one worker to its end; an error of it stops the other workers after their current chunk."""
        try:
            self._run_worker_with_reconnect(heartbeat)
        except (KeyboardInterrupt, SystemExit):
            self._run_state.stop()
            raise
        except BaseException as error:  # noqa: BLE001 - raised again or recorded at the end
            self._run_state.stop(error)

    def _run_worker_with_reconnect(self, heartbeat: Heartbeat) -> None:
        """Runs a worker, and replaces it with a new one when its lease or its connection is lost."""
        pauses: Iterator[float] = iter(())
        progress = -1
        # The measurements of the chunk size controller do not depend on the connection.
        size = self._context.pace.controller(self._migration.max_chunk_rows)
        while not self._run_state.should_stop:
            if self._run_state.progress != progress:
                # Chunks were committed since the last loss: a further one is independent of it.
                pauses = reconnect_pauses()
                progress = self._run_state.progress
            try:
                # No durable commits: a chunk that a server crash loses is lost together with its checkpoint,
                # and is migrated again.
                with data_connection(self._context.engine, self._context.lease, durable=False) as connection:
                    while not self._run_state.should_stop:
                        if self._work_on_connection(connection, heartbeat, size):
                            return
            except (*CLEANUP_ERRORS, exceptions.ServerDown) as error:
                lost = isinstance(error, exceptions.ServerDown) or self._dialect.is_connection_lost(error)
                pause = next(pauses, None)
                if not lost or pause is None:
                    raise
                events.emit(_log, events.Reconnecting(self._migration.name, pause, error_message(error)))
                self._context.clock.wait(pause, self._context.stop)

    def _work_on_connection(self, connection: Connection, heartbeat: Heartbeat, size: ChunkSize) -> bool:
        """Runs one worker. Returns True if there is nothing left to do for it."""
        worker = Worker(self._run_state, self._migration, connection, heartbeat, size)
        try:
            answer = worker.work()
            if answer is AcquireResult.EXHAUSTED:
                with self._finalizer_lock:
                    return Finalizer(self._migration, self._run_state, connection).finish_pass()
        except LeaseLost:
            events.emit(_log, events.LeaseTakenAway(self._migration.name, worker.id))
            return False
        except CLEANUP_ERRORS as error:
            if self._dialect.is_connection_lost(error):
                raise
            raise EndedByServer(message=f"{error_message(error)}{worker.position}") from error
        if answer is not AcquireResult.NOT_RUNNING:
            return True
        record = self._in_read_transaction(
            connection, lambda: state.get_record(connection, self._migration.name)
        )
        self._run_state.status_changed(None if record is None else record.status)
        return False

    # --- end -------------------------------------------------------------------------------------

    def end(self, connection: Connection) -> Result:
        """Writes the final status and returns the result. Raises an error that is not one of the migration.

        The first write is durable, which makes all earlier commits durable too.
        """
        self._in_transaction(connection, lambda: state.add_done(connection, self._migration.name, 0))
        problem = self._run_state.problem
        if problem is None:
            return self._result(
                connection, Finalizer(self._migration, self._run_state, connection).finalize()
            )
        if isinstance(problem, NotConverging):
            return self._result(connection, Outcome.NOT_CONVERGING)
        if isinstance(problem, MIGRATION_ERRORS):
            return self._result(connection, self._record_failure(connection, truncate_error(problem)))
        raise problem

    def _record_failure(self, connection: Connection, error: str) -> Outcome:
        """Records the error that ended the run, unless an operator has paused or cancelled it meanwhile."""
        name = self._migration.name

        def record() -> Outcome:
            found = state.get_record(connection, name, for_update=True)
            if found is not None and found.status in (Status.PAUSED, Status.CANCELLED):
                self._run_state.status_changed(found.status)
                return Outcome.SUSPENDED
            state.set_status(connection, name, Status.FAILED, error=error)
            return Outcome.FAILED

        return self._in_transaction(connection, record)

    def _result(self, connection: Connection, outcome: Outcome) -> Result:
        bound = self._migration
        failing = self._failing(connection)
        record = self._in_read_transaction(connection, lambda: state.get_record(connection, bound.name))
        error = None
        if outcome is Outcome.FAILED and record is not None:
            error = record.error
        if outcome is Outcome.SUSPENDED:
            error = _resume_hint(bound.name, self._run_state.status)
        return Result(bound.name, outcome, done=self._run_state.done, failed=failing, error=error)

    def _failing(self, connection: Connection) -> int:
        """Returns the number of recorded failures that still fail; of all if ``pending`` fails for a row."""
        bound = self._migration
        try:
            return len(
                self._in_read_transaction(
                    connection, lambda: still_failing(connection, bound.migration, bound.subject)
                )
            )
        except exceptions.PendingUnreadable as error:
            events.emit(_log, events.FailuresNotCounted(bound.name, f"{error}"))
        return len(self._in_read_transaction(connection, lambda: state.failed_keys(connection, bound.name)))

    # --- transactions ----------------------------------------------------------------------------

    def _in_transaction(self, connection: Connection, work: Callable[[], T]) -> T:
        return run_transaction(self._context.clock, self._dialect, connection, work)

    def _in_read_transaction(self, connection: Connection, read: Callable[[], T]) -> T:
        return run_read_transaction(self._context.clock, self._dialect, connection, read)


def _resume_hint(name: str, status: Status) -> str:
    return f"it is {status.value}; to continue: online-migrate resume {name}"


def check(engine: Engine, migrations: Iterable[DataMigration]) -> None:
    """Checks the definitions of data migrations before any of them changes a row.

    Raises :class:`~online_migrate.exceptions.DataMigrationBroken`, or
    :class:`~online_migrate.exceptions.RowsHidden`. A table or a column that does not exist is no such error:
    only the data migration that needs it fails.
    """
    with connect(engine) as connection:
        for migration in migrations:
            with contextlib.suppress(exceptions.PendingUnreadable):
                if migration.table is not None or migration.has_pending:
                    subject = migration.subject(connection)
                    require_visible(connection, migration, subject)
                    migration.check(subject.table)


def run_one(context: RunContext, migration: DataMigration) -> Result:
    """Runs one data migration that walks a table, and returns its result.

    Raises errors of the server or of the connection that are not those of the data migration.
    """
    try:
        runner = _reconnecting(context, lambda connection: Runner(context, migration, connection))
    except (exceptions.PendingUnreadable, exceptions.DataMigrationBroken) as error:
        return Result(migration.name, Outcome.FAILED, error=f"{error}")
    held = _reconnecting(context, runner.start)
    if held is not None:
        return held
    # The start and the end use one connection each: an idle one would be closed during a run of hours.
    runner.work()
    return _reconnecting(context, runner.end)


def _reconnecting(context: RunContext, work: Callable[[Connection], T]) -> T:
    """Runs *work* on a connection of its own and returns its result; reconnects when the connection is lost.

    *work* must be repeatable.
    """
    pauses = reconnect_pauses()
    while True:
        try:
            with data_connection(context.engine, context.lease) as connection:
                return work(connection)
        except (*CLEANUP_ERRORS, exceptions.ServerDown) as error:
            lost = isinstance(error, exceptions.ServerDown) or dialect_of(context.engine).is_connection_lost(
                error
            )
            pause = next(pauses, None)
            if not lost or pause is None or context.stop.requested:
                raise
            events.emit(_log, events.Reconnecting("start or end of a run", pause, error_message(error)))
            context.clock.wait(pause, context.stop)


def each(results: Iterator[Result], listener: Listener) -> list[Result]:
    """Returns all results, and notifies *listener* of each."""
    found = []
    for result in results:
        listener.finished(result)
        found.append(result)
    return found
