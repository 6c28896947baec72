"""Runs a data migration that walks a table: its beginning, its workers in this process, its end."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from online_migrate import exceptions, state
from online_migrate.counting import RowCounts, count_rows, still_failing
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.dialects.blame import Blame
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS, error_message
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.definition import Backfill, DataMigration
from online_migrate.kinds.execution import UserError
from online_migrate.kinds.visibility import require_visible
from online_migrate.migrate.progress import Listener, RateMeter
from online_migrate.migrate.run.context import RunContext, RunState
from online_migrate.migrate.run.finalizer import Finalizer, NotConverging, any_range_held
from online_migrate.migrate.status import Outcome, Result
from online_migrate.migrate.worker.heartbeat import Heartbeat
from online_migrate.migrate.worker.lease import AcquireResult, LeaseLost, LeaseManager
from online_migrate.migrate.worker.session import data_connection, run_read_transaction, run_transaction
from online_migrate.migrate.worker.worker import TooManyFailures, Worker, truncate_error
from online_migrate.state import Status
from online_migrate.waiting import backoff
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.chunker import KeyUnreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")
_log = logging.getLogger(__name__)
_COUNT_TIMEOUT = 0.05
"""Seconds for which a run waits to know how many rows there are."""
_MAX_RECONNECTS = 12
"""How often a worker asks for a new connection after it lost one, until rows move again: for about half a
minute."""


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
"""What ends one data migration and lets the others run."""


class Runner:
    """Runs one data migration in this process. Use :func:`run_one`."""

    def __init__(self, context: RunContext, migration: DataMigration, connection: Connection) -> None:
        self._context = context
        with dialect_of(connection).read_transaction(connection), connection.begin():
            self._migration = BoundMigration.bind(connection, migration)
        self._dialect = self._migration.dialect
        meter, self._totals_known = _new_meter(context, self._migration, connection)
        self._run_state = RunState(context, migration.name, meter)
        self._finalizer_lock = threading.Lock()

    # --- its beginning ---------------------------------------------------------------------------

    def start(self, connection: Connection) -> Result | None:
        """Begins a run, or joins the one that others are at; gives a result if it must not."""
        leases = LeaseManager(self._migration, "", self._context.lease)
        with leases.lock_dead_workers(connection, self._context.clock) as dead:
            work = lambda: self._start(connection, dead)  # noqa: E731
            try:
                held = self._in_transaction(connection, work)
            except DATABASE_ERRORS as error:
                if self._dialect.is_connection_lost(error):
                    raise
                # Another runner wrote the record between our look and our INSERT: now it is there.
                held = self._in_transaction(connection, work)
        if held is not None:
            return Result(
                self._migration.name, Outcome.SUSPENDED, error=_resume_hint(self._migration.name, held)
            )
        self._run_state.show_start()
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
        """On from where the last run was; or from the start again, for what is pending behind it."""
        name = self._migration.name
        if old is None:
            return state.Walk(name, self._run_state.run, sweep=0, frontier=None, handed_out=False, extents=0)
        new = dataclasses.replace(old, run=self._run_state.run, handed_out=False)
        walked = old.handed_out and self._migration.pending is not None and not any_range_held(workers)
        if not old.sweep and not walked:
            return new
        for worker in workers:
            # What they held is in the sweep again.
            state.add_done(connection, name, state.delete_worker(connection, worker.id))
        return dataclasses.replace(new, sweep=old.sweep + 1, frontier=None)

    # --- its workers -----------------------------------------------------------------------------

    def work(self) -> None:
        """Until all is done, or no more is to be."""
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
        """Counts the rows beside the work, where that takes long: nobody waits for a number to be shown."""
        thread = threading.Thread(target=self._count_rows, name="online-migrate-count", daemon=True)
        if not self._totals_known:
            thread.start()
        yield
        if not self._totals_known:
            thread.join(timeout=5.0)

    def _count_rows(self) -> None:
        # It is only shown; what is wrong with the server the workers say.
        with (
            contextlib.suppress(*DATABASE_ERRORS, exceptions.Failed),
            data_connection(self._context.engine, self._context.lease) as connection,
            connection.begin(),
        ):
            moved = self._run_state.done
            counts = _count_rows(self._migration, connection)
            self._run_state.set_totals(counts.total, counts.done, moved=moved)

    def _run_worker(self, heartbeat: Heartbeat) -> None:
        """One worker to the end; what ends it ends the others after their chunk."""
        try:
            self._run_worker_with_reconnect(heartbeat)
        except (KeyboardInterrupt, SystemExit):
            self._run_state.stop()
            raise
        except BaseException as error:  # noqa: BLE001 - raised again, or said, when all of them are back
            self._run_state.stop(error)

    def _run_worker_with_reconnect(self, heartbeat: Heartbeat) -> None:
        """Another worker takes its place when its lease or its connection is lost."""
        pauses: Iterator[float] = iter(())
        progress = -1
        # What was learned of the rows does not depend on the connection.
        size = self._context.pace.controller(self._migration.largest_chunk)
        while not self._run_state.should_stop:
            if self._run_state.progress != progress:
                # Chunks were committed since: what is lost now has nothing to do with what was lost before.
                pauses = _reconnects()
                progress = self._run_state.progress
            try:
                # A chunk that a crash of the server takes back goes with its checkpoint, and is done again.
                with data_connection(self._context.engine, self._context.lease, lasting=False) as connection:
                    while not self._run_state.should_stop:
                        if self._work_on_connection(connection, heartbeat, size):
                            return
            except (*CLEANUP_ERRORS, exceptions.ServerDown) as error:
                lost = isinstance(error, exceptions.ServerDown) or self._dialect.is_connection_lost(error)
                pause = next(pauses, None)
                if not lost or pause is None:
                    raise
                _log.info(
                    "%s: the connection was lost; reconnecting in %.1f s: %s",
                    *(self._migration.name, pause, error_message(error)),
                )
                self._context.clock.wait(pause, self._context.stop)

    def _work_on_connection(self, connection: Connection, heartbeat: Heartbeat, size: ChunkSize) -> bool:
        """True if there is nothing left to do for this worker."""
        worker = Worker(self._run_state, self._migration, connection, heartbeat, size)
        try:
            answer = worker.work()
            if answer is AcquireResult.EXHAUSTED:
                with self._finalizer_lock:
                    return Finalizer(self._migration, self._run_state, connection).finish_pass()
        except LeaseLost:
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

    # --- its end ---------------------------------------------------------------------------------

    def end(self, connection: Connection) -> Result:
        """What came of it, after all that was committed is on the disk."""
        self._in_transaction(connection, lambda: state.add_done(connection, self._migration.name, 0))
        problem = self._run_state.problem
        if problem is None:
            return self._result(
                connection, Finalizer(self._migration, self._run_state, connection).finalize()
            )
        if isinstance(problem, NotConverging):
            return self._result(connection, Outcome.NOT_CONVERGING)
        if isinstance(problem, MIGRATION_ERRORS):
            error = truncate_error(problem)
            name = self._migration.name
            self._in_transaction(
                connection, lambda: state.set_status(connection, name, Status.FAILED, error=error)
            )
            return self._result(connection, Outcome.FAILED)
        raise problem

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
        """Rows that are recorded as failed; all of them where ``pending`` cannot be evaluated for one."""
        bound = self._migration
        try:
            return len(
                self._in_read_transaction(
                    connection, lambda: still_failing(connection, bound.migration, bound.subject)
                )
            )
        except exceptions.PendingUnreadable as error:
            _log.info("%s: %s", bound.name, error)
        return len(self._in_read_transaction(connection, lambda: state.failed_keys(connection, bound.name)))

    # --- one transaction each --------------------------------------------------------------------

    def _in_transaction(self, connection: Connection, work: Callable[[], T]) -> T:
        return run_transaction(self._context.clock, self._dialect, connection, work)

    def _in_read_transaction(self, connection: Connection, read: Callable[[], T]) -> T:
        return run_read_transaction(self._context.clock, self._dialect, connection, read)


def _reconnects() -> Iterator[float]:
    """The pauses before each new connection: none before the first, because the network may be back."""
    yield 0.0
    yield 0.1
    yield from backoff(waited=0.2, attempts=_MAX_RECONNECTS, longest=5.0, jitter=random.Random())


def _new_meter(context: RunContext, bound: BoundMigration, connection: Connection) -> tuple[RateMeter, bool]:
    """What measures; and True if it knows how many rows there are, or nobody can know."""
    with bound.dialect.read_transaction(connection), connection.begin():
        done = _recorded(bound, connection)
    if bound.pending is None:
        return RateMeter(bound.name, total=None, done=done, clock=context.clock), True
    try:
        with bound.dialect.read_transaction(connection), connection.begin():
            if bound.dialect.single_writer:
                counts = _count_rows(bound, connection)
            else:
                with bound.dialect.statement_timeout(connection, _COUNT_TIMEOUT):
                    counts = _count_rows(bound, connection)
    except exceptions.PendingUnreadable as error:
        if error.__cause__ is None or not _may_be_of_a_row(bound, error.__cause__):
            raise
        return RateMeter(bound.name, total=None, done=done, clock=context.clock), False
    return RateMeter(bound.name, total=counts.total, done=counts.done, clock=context.clock), True


def _may_be_of_a_row(bound: BoundMigration, error: BaseException) -> bool:
    """The rows could not be counted, and may be migrated all the same: it takes long, or a row is broken."""
    dialect = bound.dialect
    return dialect.is_statement_timeout(error) or dialect.blame(error) in (Blame.ROW, Blame.SIZE)


def _recorded(bound: BoundMigration, connection: Connection) -> int:
    record = state.get_record(connection, bound.name)
    return (record.done if record is not None else 0) + state.unrecorded_done(connection, bound.name)


def _count_rows(bound: BoundMigration, connection: Connection) -> RowCounts:
    moved = _recorded(bound, connection) if bound.migration.kind == "batch" else 0
    return count_rows(connection, bound.migration, recorded_done=moved, subject=bound.subject)


def _resume_hint(name: str, status: Status) -> str:
    return f"it is {status.value}; to continue: online-migrate resume {name}"


def check(engine: Engine, migrations: Iterable[DataMigration]) -> None:
    """Refuses what is wrong in how data migrations are written, before any of them changes a row.

    Raises :class:`~online_migrate.exceptions.DataMigrationBroken`, or
    :class:`~online_migrate.exceptions.RowsHidden`. A table or a column that is not there is no such thing:
    only the data migration that needs it fails.
    """
    with connect(engine) as connection:
        for migration in migrations:
            with contextlib.suppress(exceptions.PendingUnreadable):
                if migration.table is not None or migration.has_pending:
                    subject = migration.subject(connection)
                    require_visible(connection, migration, subject)
                    if isinstance(migration, Backfill):
                        migration.values_for(subject.table)


def run_one(context: RunContext, migration: DataMigration) -> Result:
    """Runs one data migration that walks a table, and says what came of it."""
    try:
        runner = _reconnecting(context, lambda connection: Runner(context, migration, connection))
    except (exceptions.PendingUnreadable, exceptions.DataMigrationBroken) as error:
        return Result(migration.name, Outcome.FAILED, error=f"{error}")
    held = _reconnecting(context, runner.start)
    if held is not None:
        return held
    # A connection that does nothing for hours would not be there any more at the end.
    runner.work()
    return _reconnecting(context, runner.end)


def _reconnecting(context: RunContext, work: Callable[[Connection], T]) -> T:
    """*work*, which can be repeated, on a connection of its own; on another one when that is lost."""
    pauses = _reconnects()
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
            _log.info("reconnecting in %.1f s: %s", pause, error_message(error))
            context.clock.wait(pause, context.stop)


def each(results: Iterator[Result], listener: Listener) -> list[Result]:
    """All results, each shown as it comes."""
    found = []
    for result in results:
        listener.finished(result)
        found.append(result)
    return found
