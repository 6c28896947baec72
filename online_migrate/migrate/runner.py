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
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.dialects.blame import Blame
from online_migrate.dialects.errors import AnyFault, ServerFault, words_of
from online_migrate.evidence.pending import Census, still_failing, take_census
from online_migrate.evidence.visibility import require_visible
from online_migrate.migrate.claims import Claim, Claims, LeaseLost
from online_migrate.migrate.crew import Crew, Workplace
from online_migrate.migrate.ending import Chased, Ending, holds
from online_migrate.migrate.job import Job
from online_migrate.migrate.progress import Listener, Meter
from online_migrate.migrate.pulse import Pulse
from online_migrate.migrate.run import Outcome, Result
from online_migrate.migrate.transaction import committed, data_connection, looked
from online_migrate.migrate.work import UserError
from online_migrate.migrate.worker import TooManyFailures, Worker, short
from online_migrate.revision.data_migration import Backfill, DataMigration
from online_migrate.state import Status
from online_migrate.waiting import backoff
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.chunker import KeyUnreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")
_log = logging.getLogger(__name__)
_QUICKLY = 0.05
"""Seconds for which a run waits to know how many rows there are."""
_RECONNECTS = 12
"""How often a worker asks for a new connection after it lost one, until rows move again: for about half a
minute."""


class EndedByServer(exceptions.Failed):
    """{message}"""


_OF_THIS_MIGRATION = (
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

    def __init__(self, place: Workplace, migration: DataMigration, connection: Connection) -> None:
        self._place = place
        with dialect_of(connection).looking(connection), connection.begin():
            self._job = Job.at(connection, migration)
        self._dialect = self._job.dialect
        meter, self._counted = _new_meter(place, self._job, connection)
        self._crew = Crew(place, migration.name, meter)
        self._at_the_end = threading.Lock()

    # --- its beginning ---------------------------------------------------------------------------

    def start(self, connection: Connection) -> Result | None:
        """Begins a run, or joins the one that others are at; gives a result if it must not."""
        claims = Claims(self._job, "", self._place.lease)
        with claims.dead_sessions(connection, self._place.clock) as dead:
            work = lambda: self._start(connection, dead)  # noqa: E731
            try:
                held = self._committed(connection, work)
            except ServerFault as error:
                if self._dialect.is_connection_lost(error):
                    raise
                # Another runner wrote the record between our look and our INSERT: now it is there.
                held = self._committed(connection, work)
        if held is not None:
            return Result(self._job.name, Outcome.HELD, error=_how_to_go_on(self._job.name, held))
        self._crew.begin()
        return None

    def _start(self, connection: Connection, dead: frozenset[str]) -> Status | None:
        name = self._job.name
        record = state.get_record(connection, name, for_update=True)
        if record is not None and record.status in (Status.PAUSED, Status.CANCELLED):
            return record.status
        walk = state.get_walk(connection, name, for_update=True)
        workers = state.workers_of(connection, name, self._dialect.epoch())
        alive = [one for one in workers if one.silence <= self._place.lease and one.id not in dead]
        joined = record is not None and record.status is Status.RUNNING and bool(alive)
        state.start_record(connection, name)
        if joined and walk is not None:
            self._crew.run = walk.run
            return None
        self._crew.run = secrets.token_hex(8)
        state.put_walk(connection, self._new_walk(connection, walk, workers), known=walk is not None)
        return None

    def _new_walk(
        self, connection: Connection, old: state.Walk | None, workers: list[state.Worker]
    ) -> state.Walk:
        """On from where the last run was; or from the start again, for what is pending behind it."""
        name = self._job.name
        if old is None:
            return state.Walk(name, self._crew.run, sweep=0, frontier=None, handed_out=False, extents=0)
        new = dataclasses.replace(old, run=self._crew.run, handed_out=False)
        walked = old.handed_out and self._job.pending is not None and not holds(workers)
        if not old.sweep and not walked:
            return new
        for worker in workers:
            # What they held is in the sweep again.
            state.add_done(connection, name, state.dismiss(connection, worker.id))
        return dataclasses.replace(new, sweep=old.sweep + 1, frontier=None)

    # --- its workers -----------------------------------------------------------------------------

    def work(self) -> None:
        """Until all is done, or no more is to be."""
        number = 1 if self._dialect.single_writer else self._place.workers
        with Pulse(self._crew, self._place.engine, self._dialect) as pulse, self._counting():
            threads = [
                threading.Thread(target=self._man, args=(pulse,), name=f"worker-{i}", daemon=True)
                for i in range(1, number)
            ]
            for thread in threads:
                thread.start()
            self._man(pulse)
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        """Counts the rows beside the work, where that takes long: nobody waits for a number to be shown."""
        thread = threading.Thread(target=self._count, name="online-migrate-count", daemon=True)
        if not self._counted:
            thread.start()
        yield
        if not self._counted:
            thread.join(timeout=5.0)

    def _count(self) -> None:
        # It is only shown; what is wrong with the server the workers say.
        with (
            contextlib.suppress(*ServerFault, exceptions.Failed),
            data_connection(self._place.engine, self._place.lease) as connection,
            connection.begin(),
        ):
            moved = self._crew.done
            census = _census(self._job, connection)
            self._crew.learn(census.total, census.done, moved=moved)

    def _man(self, pulse: Pulse) -> None:
        """One worker to the end; what ends it ends the others after their chunk."""
        try:
            self._man_again_and_again(pulse)
        except (KeyboardInterrupt, SystemExit):
            self._crew.halt()
            raise
        except BaseException as error:  # noqa: BLE001 - raised again, or said, when all of them are back
            self._crew.halt(error)

    def _man_again_and_again(self, pulse: Pulse) -> None:
        """Another worker takes its place when its lease or its connection is lost."""
        pauses: Iterator[float] = iter(())
        progress = -1
        # What was learned of the rows does not depend on the connection.
        size = self._place.pace.controller(self._job.largest_chunk)
        while not self._crew.over:
            if self._crew.progress != progress:
                # Chunks were committed since: what is lost now has nothing to do with what was lost before.
                pauses = _reconnects()
                progress = self._crew.progress
            try:
                # A chunk that a crash of the server takes back goes with its checkpoint, and is done again.
                with data_connection(self._place.engine, self._place.lease, lasting=False) as connection:
                    while not self._crew.over:
                        if self._work_on(connection, pulse, size):
                            return
            except (*AnyFault, exceptions.ServerDown) as error:
                lost = isinstance(error, exceptions.ServerDown) or self._dialect.is_connection_lost(error)
                pause = next(pauses, None)
                if not lost or pause is None:
                    raise
                _log.info(
                    "%s: the connection was lost, connecting again in %.1f s: %s",
                    *(self._job.name, pause, words_of(error)),
                )
                self._place.clock.wait(pause, self._place.stop)

    def _work_on(self, connection: Connection, pulse: Pulse, size: ChunkSize) -> bool:
        """True if there is nothing left to do for this worker."""
        worker = Worker(self._crew, self._job, connection, pulse, size)
        try:
            answer = worker.work()
            if answer is Claim.PASS_OVER:
                with self._at_the_end:
                    return Ending(self._job, self._crew, connection).after_pass()
        except LeaseLost:
            return False
        except AnyFault as error:
            if self._dialect.is_connection_lost(error):
                raise
            raise EndedByServer(message=f"{words_of(error)}{worker.place}") from error
        if answer is not Claim.HELD:
            return True
        record = self._looked(connection, lambda: state.get_record(connection, self._job.name))
        self._crew.heard(None if record is None else record.status)
        return False

    # --- its end ---------------------------------------------------------------------------------

    def end(self, connection: Connection) -> Result:
        """What came of it, after all that was committed is on the disk."""
        self._committed(connection, lambda: state.add_done(connection, self._job.name, 0))
        problem = self._crew.problem
        if problem is None:
            return self._result(connection, Ending(self._job, self._crew, connection).leave())
        if isinstance(problem, Chased):
            return self._result(connection, Outcome.CHASED)
        if isinstance(problem, _OF_THIS_MIGRATION):
            error = short(problem)
            set_failed = lambda: state.set_status(connection, self._job.name, Status.FAILED, error=error)  # noqa: E731
            self._committed(connection, set_failed)
            return self._result(connection, Outcome.FAILED)
        raise problem

    def _result(self, connection: Connection, outcome: Outcome) -> Result:
        job = self._job
        failing = self._failing(connection)
        record = self._looked(connection, lambda: state.get_record(connection, job.name))
        error = None
        if outcome is Outcome.FAILED and record is not None:
            error = record.error
        if outcome is Outcome.HELD:
            error = _how_to_go_on(job.name, self._crew.status)
        return Result(job.name, outcome, done=self._crew.done, failed=failing, error=error)

    def _failing(self, connection: Connection) -> int:
        """Rows that are recorded as failed; all of them where ``pending`` cannot be evaluated for one."""
        job = self._job
        try:
            return len(
                self._looked(connection, lambda: still_failing(connection, job.migration, job.subject))
            )
        except exceptions.PendingUnreadable as error:
            _log.info("%s: %s", job.name, error)
        return len(self._looked(connection, lambda: state.failed_keys(connection, job.name)))

    # --- one transaction each --------------------------------------------------------------------

    def _committed(self, connection: Connection, work: Callable[[], T]) -> T:
        return committed(self._place.clock, self._dialect, connection, work)

    def _looked(self, connection: Connection, look: Callable[[], T]) -> T:
        return looked(self._place.clock, self._dialect, connection, look)


def _reconnects() -> Iterator[float]:
    """The pauses before each new connection: none before the first, because the network may be back."""
    yield 0.0
    yield 0.1
    yield from backoff(waited=0.2, attempts=_RECONNECTS, longest=5.0, jitter=random.Random())


def _new_meter(place: Workplace, job: Job, connection: Connection) -> tuple[Meter, bool]:
    """What measures; and True if it knows how many rows there are, or nobody can know."""
    with job.dialect.looking(connection), connection.begin():
        done = _recorded(job, connection)
    if job.pending is None:
        return Meter(job.name, total=None, done=done, clock=place.clock), True
    try:
        with job.dialect.looking(connection), connection.begin():
            if job.dialect.single_writer:
                census = _census(job, connection)
            else:
                with job.dialect.statement_timeout(connection, _QUICKLY):
                    census = _census(job, connection)
    except exceptions.PendingUnreadable as error:
        if error.__cause__ is None or not _may_be_of_a_row(job, error.__cause__):
            raise
        return Meter(job.name, total=None, done=done, clock=place.clock), False
    return Meter(job.name, total=census.total, done=census.done, clock=place.clock), True


def _may_be_of_a_row(job: Job, error: BaseException) -> bool:
    """The rows could not be counted, and may be migrated all the same: it takes long, or a row is broken."""
    dialect = job.dialect
    return dialect.is_statement_timeout(error) or dialect.blame(error) in (Blame.ROW, Blame.SIZE)


def _recorded(job: Job, connection: Connection) -> int:
    record = state.get_record(connection, job.name)
    return (record.done if record is not None else 0) + state.uncounted(connection, job.name)


def _census(job: Job, connection: Connection) -> Census:
    moved = _recorded(job, connection) if job.migration.kind == "batch" else 0
    return take_census(connection, job.migration, recorded_done=moved, subject=job.subject)


def _how_to_go_on(name: str, status: Status) -> str:
    return f"it is {status.value}; online-migrate resume {name} lets it go on"


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


def run_one(place: Workplace, migration: DataMigration) -> Result:
    """Runs one data migration that walks a table, and says what came of it."""
    try:
        runner = _reconnecting(place, lambda connection: Runner(place, migration, connection))
    except (exceptions.PendingUnreadable, exceptions.DataMigrationBroken) as error:
        return Result(migration.name, Outcome.FAILED, error=f"{error}")
    held = _reconnecting(place, runner.start)
    if held is not None:
        return held
    # A connection that does nothing for hours would not be there any more at the end.
    runner.work()
    return _reconnecting(place, runner.end)


def _reconnecting(place: Workplace, work: Callable[[Connection], T]) -> T:
    """*work*, which can be repeated, on a connection of its own; on another one when that is lost."""
    pauses = _reconnects()
    while True:
        try:
            with data_connection(place.engine, place.lease) as connection:
                return work(connection)
        except (*AnyFault, exceptions.ServerDown) as error:
            lost = isinstance(error, exceptions.ServerDown) or dialect_of(place.engine).is_connection_lost(
                error
            )
            pause = next(pauses, None)
            if not lost or pause is None or place.stop.requested:
                raise
            _log.info("connecting again in %.1f s: %s", pause, words_of(error))
            place.clock.wait(pause, place.stop)


def each(results: Iterator[Result], listener: Listener) -> list[Result]:
    """All results, each shown as it comes."""
    found = []
    for result in results:
        listener.finished(result)
        found.append(result)
    return found
