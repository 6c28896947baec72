"""Errors of chunks: attributed to a row, to the size of the chunk, to the migration, or to the connection.

Invariant: a chunk that fails is bisected until the failing row is isolated; the other rows are migrated.
"""

from __future__ import annotations

import dataclasses
import logging

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.dialects.blame import Blame
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.kinds.result import UserError
from online_migrate.migrate.executor.tools import ChunkTools
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.migrate.worker.recorded_error import truncate_error
from online_migrate.observe import events
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.key import Key

_log = logging.getLogger(__name__)
_ALL = 2**31 - 1
_PATIENCE = 32
"""The number of chunks after which a chunk size that was too large is tried again."""
_AFTER_LOSS = 8
"""The divisor of the chunk size after a connection was lost."""


class TooManyFailures(exceptions.Failed):
    """{count:,} row(s) could not be migrated; the limit is {limit:,} (--max-failures)."""


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A part of a key range that is done, although its chunk failed."""

    upper: Key
    """The last key of the part."""
    failed: int
    """Rows recorded as failed."""


class ChunkFailures:
    """Handles the errors of one worker's chunks. *size*: its chunk size controller."""

    def __init__(self, run_state: RunState, tools: ChunkTools, size: ChunkSize) -> None:
        self._run_state = run_state
        self._migration = tools.migration
        self._transactions = tools.transactions
        self._leases = tools.leases
        self._planner = tools.planner
        self._bisector = tools.bisector
        self._size = size
        self._tools = tools
        self._too_large = 0
        """The number of rows of a range that is bisected because it was too large.

        0: there is no such range, or one of its rows has failed by itself.
        """

    @property
    def next_size(self) -> int:
        """The number of rows of the next chunk."""
        if self._bisector.active:
            return min(self._bisector.limit, self._size.limits.largest)
        return self._size.size

    @property
    def bisecting(self) -> bool:
        """True while the rows of a chunk that failed are tried in smaller parts."""
        return self._bisector.active

    def blame(self, error: BaseException) -> Blame:
        """Returns what *error* is attributed to."""
        if isinstance(error, UserError):
            return Blame.ROW if error.of_rows else Blame.MIGRATION
        return self._migration.dialect.blame(error)

    def handle(self, key_range: KeyRange, plan: ChunkPlan | None, error: BaseException) -> Skipped | None:
        """Handles the error of the first chunk of *key_range* according to its cause.

        *plan*: of that chunk; None if its planning failed. Returns None if the chunk must be tried again,
        with fewer rows; or the part of the range that is done, because its failing row is recorded. Raises
        *error* if it is not one of single rows.
        """
        blame = self.blame(error)
        if self.record_loss(key_range, plan, error) or blame not in (Blame.ROW, Blame.SIZE):
            raise error
        if plan is None:
            if self._planner.blind:
                raise error
            self._plan_by_key(error)
            return None
        if plan.chunk is None:
            raise error
        return self._bisect(key_range, plan, plan.chunk, error, blame)

    def passed(self, upper: Key, *, at_end: bool) -> None:
        """Registers that everything up to *upper* is done; *at_end*: that is the end of the key range."""
        self._bisector.passed(upper)
        if not self._bisector.active or at_end:
            self._planner.blind = False
        if self._too_large and not self._bisector.active:
            # No row of the range failed by itself: the chunk was too large.
            self._size.limit(self._too_large // 2, patience=_PATIENCE)
            self._too_large = 0

    def count(self, failures: int) -> None:
        """Adds rows that were recorded as failed.

        Raises :class:`TooManyFailures` if the run has more of them than it may have.
        """
        if failures and not self._run_state.count_failures(failures):
            raise TooManyFailures(count=self._run_state.failures, limit=self._run_state.context.max_failures)

    # --- lost connections ------------------------------------------------------------------------

    def record_loss(self, key_range: KeyRange, plan: ChunkPlan | None, error: BaseException) -> bool:
        """Records the first chunk of *key_range* as lost if *error* is that of a lost connection.

        Returns False if it is another error.
        """
        if isinstance(error, UserError) or not self._migration.dialect.is_connection_lost(error):
            return False
        self._run_state.lost_chunks.record(key_range, plan, self._bisector, error)
        return True

    def resume(self, key_range: KeyRange) -> Skipped | None:
        """Applies the consequences of a lost connection to the first chunk of *key_range*, now acquired.

        Returns what :meth:`handle` returns.
        """
        lost = self._run_state.lost_chunks.find(key_range)
        if lost is None:
            return None
        plan = lost.plan
        if plan is not None and plan.chunk is not None and self.blame(lost.error) is Blame.SIZE:
            self._bisector.adopt(lost.bisection)
            return self._bisect(key_range, plan, plan.chunk, lost.error, Blame.SIZE)
        # The connection may be lost again. A shorter chunk may be committed before that, or may be small
        # enough for a limit of a proxy or of the server. After a few chunks the size is as before.
        size = self._size.limit(self._size.size // _AFTER_LOSS, patience=1)
        events.emit(_log, events.ChunkShortened(self._migration.name, lost.losses, f"{key_range}", size))
        return None

    # --- bisection -------------------------------------------------------------------------------

    def _plan_by_key(self, error: BaseException) -> None:
        """Plans chunks by key only, after ``pending`` failed for a row during planning."""
        events.emit(_log, events.PlannedByKey(self._migration.name, f"{error}"))
        self._planner.blind = True

    def _bisect(
        self, key_range: KeyRange, plan: ChunkPlan, chunk: Chunk, error: BaseException, blame: Blame
    ) -> Skipped | None:
        """Returns what :meth:`handle` returns."""
        # A running prefetch must end before the bisection starts, because it plans by key ranges.
        self._tools.prefetcher.wait(self._tools.keepalive)
        self._run_state.progressed()
        keys = self._keys_of(chunk)
        connection = self._transactions.connection
        if not keys:
            # The row that caused the error no longer exists, and all other rows of the chunk are done.
            self._transactions.run(lambda: self._leases.advance(connection, key_range, plan.upper, 0))
            return Skipped(plan.upper, 0)
        if blame is Blame.SIZE and not self._bisector.active:
            self._too_large = len(keys)
        if not self._bisector.failed(len(keys), plan.upper):
            events.emit(_log, events.ChunkBisected(self._migration.name, len(keys), f"{error}"))
            return None
        self._too_large = 0
        text = truncate_error(f"{error}" if isinstance(error, UserError) else error_message(error))
        self._transactions.run(lambda: self._record(key_range, keys[0], text, plan.upper))
        events.emit(_log, events.RowFailed(self._migration.name, encode_key(keys[0]), text))
        return Skipped(plan.upper, 1)

    def _keys_of(self, chunk: Chunk) -> list[Key]:
        """Returns the keys of the rows of a failed chunk; all in its range if ``pending`` fails for a row."""
        chunker, connection = self._migration.chunker, self._transactions.connection

        def keys(condition: sa.ColumnElement[bool]) -> list[Key]:
            read = lambda: chunker.next_keys(connection, chunk.lower, _ALL, condition)  # noqa: E731
            return self._transactions.run_read_only(read)

        if not self._planner.blind:
            try:
                return keys(chunk.where)
            except DATABASE_ERRORS as error:
                if self.blame(error) not in (Blame.ROW, Blame.SIZE):
                    raise
                self._plan_by_key(error)
        return keys(chunk.range)

    def _record(self, key_range: KeyRange, key: Key, error: str, upper: Key) -> None:
        connection, name = self._transactions.connection, self._migration.name
        state.record_failures(connection, name, self._run_state.run, {encode_key(key): error})
        self._leases.advance(connection, key_range, upper, 0)
