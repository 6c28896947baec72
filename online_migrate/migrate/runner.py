"""Runs data migrations to their end, chunk by chunk.

Invariants:

* A chunk and its checkpoint commit together. A kill at any moment leaves both or neither.
* Runners share the record of a data migration: who works on a chunk holds it until the commit, so a
  second runner goes on from the checkpoint of the first and does no work twice.
* Complete means counted: no row is pending, in the data, at the moment when it is written down.
* A row that is pending after its chunk is recorded as failed and is not tried again in the same run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from online_migrate import exceptions, state
from online_migrate.ddl.session import connect, server_down
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.errors import AnyFault, ServerFault, words_of
from online_migrate.evidence.pending import is_pending, still_failing, take_census
from online_migrate.migrate.progress import Listener, Meter
from online_migrate.migrate.run import Budget, Outcome, Result
from online_migrate.migrate.work import NOT_VERIFIED, UserError, do_chunk
from online_migrate.revision.data_migration import Backfill, DataMigration, Subject
from online_migrate.state import Status
from online_migrate.waiting import Clock, Stop, backoff
from online_migrate.walk.checkpoint import decode_key, encode_key, show_key
from online_migrate.walk.chunker import Chunk, Chunker, Key, KeyUnreadable, is_beyond

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")
_REPEATS = 10
"""How often a chunk is tried that the server rolls back: a deadlock, a lock timeout."""
_LONGEST_ERROR = 2_000
"""Characters of an error that are kept: whoever raises may put a whole file into it."""
_IN_VAIN = 5
"""How often we go back for rows that became pending behind us and find no fewer than before."""


@dataclasses.dataclass(frozen=True)
class Workplace:
    """What running data migrations needs, put together once for a command."""

    engine: Engine
    batch_size: int
    budget: Budget
    clock: Clock
    stop: Stop
    listener: Listener

    @property
    def over(self) -> bool:
        """True if no further chunk may be begun."""
        return self.stop.requested or self.budget.exhausted


class Runner:
    """Runs one data migration that walks a table. Use :func:`run_one`."""

    def __init__(self, place: Workplace, migration: DataMigration, connection: Connection) -> None:
        self._place = place
        self._migration = migration
        self._connection = connection
        self._dialect: Dialect = dialect_of(connection)
        self._run = secrets.token_hex(8)
        self._done = 0
        self._at: Chunk | None = None
        self._uncounted: tuple[int, Chunk] | None = None
        with connection.begin():
            self._subject: Subject = migration.subject(connection)
            table = self._subject.table
            problem = self._dialect.table_problem(connection, table.name, table.schema)
            if problem is not None:
                raise exceptions.Refused(reason=problem.reason, hint=problem.hint)
            self._chunker = Chunker(connection, table)
            self._meter = self._new_meter()
        pending = self._subject.pending
        self._pending = None if pending is None else is_pending(pending)

    def _new_meter(self) -> Meter:
        record = state.get_record(self._connection, self._migration.name)
        recorded = record.done if record is not None else 0
        total, done = None, recorded
        if self._migration.has_pending:
            census = take_census(self._connection, self._migration, recorded_done=self._moved_away(recorded))
            total, done = census.total, census.done
        return Meter(self._migration.name, total=total, done=done, clock=self._place.clock)

    def _moved_away(self, recorded: int) -> int:
        return recorded if self._migration.kind == "batch" else 0

    def run(self) -> Result:
        """To the end, to a limit, or to an error."""
        name = self._migration.name
        self._place.listener.started(self._meter.snapshot())
        try:
            self._committed(self._start)
        except ServerFault as error:
            if self._dialect.is_connection_lost(error):
                raise server_down(self._connection.engine.url, error) from error
            # Another runner wrote the record between our look and our INSERT: now it is there.
            self._committed(self._start)
        try:
            outcome = self._to_the_end()
        except (
            UserError,
            KeyUnreadable,
            exceptions.DataMigrationBroken,
            exceptions.PendingUnreadable,
        ) as error:
            return self._failed(str(error))
        except AnyFault as error:
            if self._dialect.is_connection_lost(error):
                raise server_down(self._connection.engine.url, error) from error
            place = f" ({self._at})" if self._at is not None else ""
            return self._failed(f"{words_of(error)}{place}")
        failed = len(self._committed(lambda: still_failing(self._connection, self._migration, self._subject)))
        if outcome in (Outcome.REMAINING, Outcome.CHASED):
            self._committed(self._stopped)
        why = f"{failed:,} row(s) could not be migrated" if outcome is Outcome.FAILED else None
        return Result(name, outcome, done=self._done, failed=failed, error=why)

    def _start(self) -> None:
        state.start_record(self._connection, self._migration.name)

    def _stopped(self) -> None:
        """Unless another runner has come to the end in the meantime."""
        if self._locked_record().status is Status.RUNNING:
            state.set_status(self._connection, self._migration.name, Status.STOPPED)

    def _failed(self, error: str) -> Result:
        name = self._migration.name
        self._connection.rollback()
        error = error if len(error) <= _LONGEST_ERROR else f"{error[:_LONGEST_ERROR]} ..."
        self._committed(lambda: state.set_status(self._connection, name, Status.FAILED, error=error))
        return Result(name, Outcome.FAILED, done=self._done, error=error)

    def _to_the_end(self) -> Outcome:
        while not self._place.over:
            if not self._committed(self._walk_on):
                break
        return self._chase()

    def _chase(self) -> Outcome:
        """Goes back for rows that became pending behind us, as long as they get fewer."""
        fewest, in_vain = None, 0
        while True:
            if not self._place.over and self._pending is not None:
                self._sweep()
            outcome, left = self._committed(self._finish)
            if outcome is not Outcome.REMAINING or self._place.over:
                return outcome
            in_vain = 0 if fewest is None or left < fewest else in_vain + 1
            fewest = left if fewest is None else min(left, fewest)
            if in_vain >= _IN_VAIN:
                return Outcome.CHASED

    # --- one transaction each --------------------------------------------------------------------

    def _committed(self, work: Callable[[], T]) -> T:
        """*work* in a transaction, again when the server rolled it back."""
        pauses = backoff(waited=0.05, attempts=_REPEATS, longest=2.0, jitter=random.Random())
        while True:
            self._uncounted = None
            try:
                with self._connection.begin():
                    result = work()
            except ServerFault as error:
                pause = next(pauses, None)
                if pause is None or not self._dialect.is_transient(error):
                    raise
                self._place.clock.wait(pause, Stop())
            else:
                self._count()
                return result

    def _walk_on(self) -> bool:
        """The next chunk after the checkpoint; False at the end of the table."""
        record = self._locked_record()
        if record.walked:
            return False
        lower = None if record.checkpoint is None else decode_key(record.checkpoint)
        size = self._place.budget.chunk(self._place.batch_size)
        only = None
        if self._place.budget.limited:
            # By name: a row that is inserted between them just now would be one too many.
            only = self._chunker.next_keys(self._connection, lower, size)
            upper = only[-1] if only else None
        else:
            upper = self._chunker.next_upper(self._connection, lower, size)
        if upper is None:
            state.advance(self._connection, record.name, checkpoint=record.checkpoint, done=0, walked=True)
            return False
        checkpoint = self._moved_on(lower, upper)
        self._work_on(self._chunker.chunk(lower, upper, pending=self._pending, only=only), checkpoint)
        return True

    def _moved_on(self, lower: Key | None, upper: Key) -> str:
        """The checkpoint at *upper*; refuses a step that goes nowhere, or back: it would have no end."""
        if lower is not None and not is_beyond(lower, upper):
            raise exceptions.DataMigrationBroken(
                name=self._migration.name,
                reason=f"{self._subject.table.name} cannot be walked: its key {show_key(upper)} does not "
                "come back from the driver as it is stored, as floating-point numbers do not",
                hint="add a unique key of another type: op.create_unique_constraint(...)",
            )
        try:
            return encode_key(upper)
        except TypeError as error:
            raise exceptions.DataMigrationBroken(
                name=self._migration.name, reason=f"{self._subject.table.name} cannot be walked: {error}"
            ) from None

    def _sweep(self) -> None:
        """Once over all rows that are pending, wherever they are."""
        lower: Key | None = None
        while not self._place.over:
            lower = self._committed(lambda lower=lower: self._sweep_on(lower))  # type: ignore[misc]
            if lower is None:
                return

    def _sweep_on(self, lower: Key | None) -> Key | None:
        """The next pending rows after *lower*; gives their last key, None at the end of the table."""
        record = self._locked_record()
        assert self._pending is not None
        size = self._place.budget.chunk(self._place.batch_size)
        keys = self._chunker.next_keys(self._connection, lower, size, self._pending)
        if not keys:
            return None
        self._moved_on(lower, keys[-1])
        failed = {
            key for key, _error, _run in state.failed_keys(self._connection, record.name, run=self._run)
        }
        excluding = [key for key in keys if encode_key(key) in failed]
        if len(excluding) < len(keys):
            only = keys if self._place.budget.limited else None
            chunk = self._chunker.chunk(
                lower, keys[-1], pending=self._pending, excluding=excluding, only=only
            )
            self._work_on(chunk, record.checkpoint)
        return keys[-1]

    def _work_on(self, chunk: Chunk, checkpoint: str | None) -> None:
        """The chunk, its failures and its checkpoint: all in the transaction that is open."""
        self._at = chunk
        effect = do_chunk(self._connection, self._migration, self._subject, self._chunker, chunk)
        name = self._migration.name
        state.record_failures(self._connection, name, self._run, effect.failures)
        recorded = effect.done if effect.recorded is None else effect.recorded
        state.advance(self._connection, name, checkpoint=checkpoint, done=recorded)
        self._uncounted = (effect.done, chunk)

    def _count(self) -> None:
        """Counts the chunk that was just committed; one that was rolled back never gets here."""
        if self._uncounted is None:
            return
        rows, chunk = self._uncounted
        self._uncounted = None
        self._done += rows
        self._place.budget.spend(rows)
        self._meter.add(rows)
        self._place.listener.advanced(self._meter.snapshot(str(chunk)))
        if self._dialect.courtesy:
            self._place.clock.wait(self._dialect.courtesy, self._place.stop)

    def _finish(self) -> tuple[Outcome, int]:
        """Counts what is left, writes down what that means, and gives both."""
        name = self._migration.name
        record = self._locked_record()
        failing = still_failing(self._connection, self._migration, self._subject)
        recorded = state.failed_keys(self._connection, name)
        mended = {key for key, _error, _run in recorded} - set(failing)
        state.forget_failures(self._connection, name, mended)
        if self._pending is None:
            if not record.walked and self._is_above(record.checkpoint):
                return Outcome.REMAINING, 1
        else:
            census = take_census(self._connection, self._migration, recorded_done=0)
            if census.pending or (self._untried(recorded, failing) and not self._place.over):
                return Outcome.REMAINING, census.pending
        if failing:
            error = f"{len(failing):,} row(s) could not be migrated"
            state.set_status(self._connection, name, Status.FAILED, error=error)
            return Outcome.FAILED, 0
        state.set_status(self._connection, name, Status.COMPLETE)
        return Outcome.COMPLETE, 0

    def _is_above(self, checkpoint: str | None) -> bool:
        lower = None if checkpoint is None else decode_key(checkpoint)
        return self._chunker.next_upper(self._connection, lower, 1) is not None

    def _untried(self, recorded: Sequence[tuple[str, str, str]], failing: Mapping[str, str]) -> bool:
        """True if rows that failed in an earlier run were not tried again in this one."""
        return any(
            key in failing and run != self._run and error != NOT_VERIFIED for key, error, run in recorded
        )

    def _locked_record(self) -> state.Record:
        record = state.get_record(self._connection, self._migration.name, for_update=True)
        if record is None:
            raise exceptions.Failed(
                message=f"the record of {self._migration.name!r} was deleted while it ran"
            )
        return record


def data_connection(engine: Engine) -> Connection:
    """A connection for chunks: its isolation level, and bounded lock waits."""
    connection = connect(engine)
    dialect = dialect_of(connection)
    problem = dialect.data_problem(connection)
    connection.rollback()
    if problem is not None:
        connection.close()
        raise exceptions.Refused(reason=problem.reason, hint=problem.hint)
    dialect.prepare_data_session(connection)
    return connection


def check(engine: Engine, migrations: Iterable[DataMigration]) -> None:
    """Refuses what is wrong in how data migrations are written, before any of them changes a row.

    Raises :class:`~online_migrate.exceptions.DataMigrationBroken`. A table or a column that is not there
    is no such thing: only the data migration that needs it fails.
    """
    with connect(engine) as connection:
        for migration in migrations:
            with contextlib.suppress(exceptions.PendingUnreadable):
                if migration.table is not None or migration.has_pending:
                    subject = migration.subject(connection)
                    if isinstance(migration, Backfill):
                        migration.values_for(subject.table)


def run_one(place: Workplace, migration: DataMigration) -> Result:
    """Runs one data migration that walks a table, and says what came of it."""
    with data_connection(place.engine) as connection:
        try:
            runner = Runner(place, migration, connection)
        except (exceptions.PendingUnreadable, exceptions.DataMigrationBroken) as error:
            return Result(migration.name, Outcome.FAILED, error=f"{error}")
        return runner.run()


def each(results: Iterator[Result], listener: Listener) -> list[Result]:
    """All results, each shown as it comes."""
    found = []
    for result in results:
        listener.finished(result)
        found.append(result)
    return found
