"""Processes one chunk after the other, on the connection of the worker.

Invariant: a chunk and the advance of its lease commit together. After a kill at any moment both are
committed, or neither.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

from online_migrate import state
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.kinds.prepared import PreparedRows
from online_migrate.kinds.result import RowsChanged, UserError
from online_migrate.migrate.budget import Budget
from online_migrate.migrate.executor.prefetch import PreparedChunk
from online_migrate.migrate.executor.result import ChunkError, CommittedChunk
from online_migrate.migrate.executor.tools import ChunkTools
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.migrate.worker.recorded_error import truncate_error
from online_migrate.observe import events

Failures = Mapping[str, str]
"""Encoded key -> error, of rows that are recorded as failed."""
_log = logging.getLogger(__name__)


class SerialExecutor:
    """Processes the chunks of one worker, one after the other.

    *run*: the id of the run, with which failures are recorded.
    """

    def __init__(self, tools: ChunkTools, budget: Budget, run: str) -> None:
        self._tools = tools
        self._migration = tools.migration
        self._connection = tools.transactions.connection
        self._budget = budget
        self._run = run
        self._attempted: ChunkPlan | None = None
        """The plan of the current attempt; None while it is not planned."""
        self._hidden = 0.0
        """Seconds for which the rows of the current chunk were read in the background."""

    def commit_next(self, key_range: KeyRange, size: int, next_size: int) -> CommittedChunk | None:
        """Processes the first *size* rows of *key_range*, and commits them with the advance of the lease.

        *next_size*: the rows of the chunk after it, which may be prefetched. Returns None if the row limit of
        the run is reached. Raises :class:`ChunkError` for an error of the server or of the user's code, and
        :class:`~online_migrate.migrate.worker.lease.LeaseLost`.
        """
        reserved = self._budget.reserve(size)
        if not reserved:
            return None
        migrated = 0
        self._attempted, self._hidden = None, 0.0
        try:
            committed = self._process(key_range, reserved, next_size)
            migrated = committed.done
            return committed
        except (UserError, *DATABASE_ERRORS) as error:
            raise ChunkError(self._attempted, error, hidden_seconds=self._hidden) from error
        finally:
            self._budget.settle(reserved, migrated)

    def _process(self, key_range: KeyRange, size: int, next_size: int) -> CommittedChunk:
        tools = self._tools
        ready = tools.prefetcher.result(key_range, tools.keepalive)
        self._hidden = 0.0 if ready is None else ready.seconds
        if ready is None and self._migration.prepares_rows:
            self._attempted = tools.reader.plan(self._connection, key_range, size)
            ready = tools.reader.read(self._connection, self._attempted, tools.keepalive)
        if ready is None:
            plan, done, failures = tools.transactions.run(lambda: self._plan_and_apply(key_range, size))
            return self._committed(plan, done, failures)
        self._attempted = ready.plan
        self._prefetch_after(key_range, ready.plan, next_size)
        done, failures = self._write(key_range, ready)
        return self._committed(ready.plan, done, failures, ready.seconds)

    def _prefetch_after(self, key_range: KeyRange, plan: ChunkPlan, size: int) -> None:
        """Starts the prefetch of the chunk after *plan*, where one connection does not block another."""
        alone = self._migration.dialect.single_writer or self._tools.planner.uses_key_list(key_range)
        if not alone and plan.upper != key_range.upper:
            self._tools.prefetcher.submit(dataclasses.replace(key_range, lower=plan.upper), size)

    def _plan_and_apply(self, key_range: KeyRange, size: int) -> tuple[ChunkPlan, int, Failures]:
        """Plans and applies a chunk in one transaction."""
        # An error in planning must not be attributed to the plan of an attempt that was rolled back.
        self._attempted = None
        plan = self._attempted = self._tools.planner.plan(self._connection, key_range, size)
        return plan, *self._apply(key_range, plan, None)

    def _committed(
        self, plan: ChunkPlan, done: int, failures: Failures, read_seconds: float = 0.0
    ) -> CommittedChunk:
        """Logs the failures of a committed chunk, and returns it."""
        for key, error in failures.items():
            events.emit(_log, events.RowFailed(self._migration.name, key, error))
        return CommittedChunk(plan, done, len(failures), read_seconds, self._hidden)

    def _write(self, key_range: KeyRange, ready: PreparedChunk) -> tuple[int, Failures]:
        """Writes a prepared chunk. Returns the number of rows done, and the failures."""
        run, prepared = self._tools.transactions.run, ready.prepared
        try:
            return run(lambda: self._apply(key_range, ready.plan, prepared))
        except RowsChanged:
            assert prepared is not None
            self._tools.prefetcher.wait(self._tools.keepalive)
            locked = prepared.locked()
            return run(lambda: self._apply(key_range, ready.plan, locked))

    def _apply(
        self, key_range: KeyRange, plan: ChunkPlan, prepared: PreparedRows | None
    ) -> tuple[int, Failures]:
        """Migrates the chunk, records its failures and advances the lease, all in the open transaction.

        Returns the number of rows done, and the failures.
        """
        connection, timer, leases = self._connection, self._tools.timer, self._tools.leases
        if plan.chunk is None:
            leases.advance(connection, key_range, plan.upper, 0)
            return 0, {}
        timer.begin()
        result = self._migration.apply(connection, plan.chunk, prepared)
        failures = {key: truncate_error(error) for key, error in result.failures.items()}
        state.record_failures(connection, self._migration.name, self._run, failures)
        recorded = result.done if result.recorded is None else result.recorded
        timer.rows_written()
        leases.advance(connection, key_range, plan.upper, recorded)
        timer.lease_advanced()
        return result.done, failures
