"""Acquires the next key range of a worker."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from online_migrate.dialects.blame import Blame
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.migrate.executor.tools import ChunkTools
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.worker.failures import ChunkFailures
from online_migrate.migrate.worker.lease import (
    AcquireResult,
    KeyRange,
    RangeCandidate,
    range_size,
)
from online_migrate.observe import events
from online_migrate.walk.chunk_size import ChunkSize, ResizeReason

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_CHUNKS_OF_FIRST_RANGE = 16
"""The maximum number of chunks in the first key range of a worker, in chunks of the initial size."""
_log = logging.getLogger(__name__)


class RangeAcquirer:
    """Acquires key ranges for one worker. *size*: its chunk size controller."""

    def __init__(
        self,
        run_state: RunState,
        tools: ChunkTools,
        size: ChunkSize,
        failures: ChunkFailures,
    ) -> None:
        self._run_state = run_state
        self._transactions = tools.transactions
        self._leases = tools.leases
        self._size = size
        self._failures = failures
        self.candidate: RangeCandidate | None = None
        """The next key range, if already looked up; valid if no range was acquired since."""

    def acquire(self) -> KeyRange | AcquireResult:
        """Acquires the range of a dead worker, or the next range; returns the reason if there is none."""
        connection = self._transactions.connection
        with self._leases.lock_dead_workers(connection, self._transactions.clock) as dead:
            seen = self.candidate or self._find_on_own_connection()
            self.candidate = None
            now = dataclasses.replace(seen, dead=dead)
            answer = self._transactions.run(lambda: self._leases.acquire(connection, now))
        if self._leases.taken_over is not None:
            events.emit(_log, self._leases.taken_over)
        return answer

    def find(self, connection: Connection) -> RangeCandidate:
        """Finds the next key range, in the open transaction of *connection*. Locks nothing."""
        share = self._run_state.reporter.fair_share_rows
        # The target of the moment: a longer range than intended takes the server long to find the end of.
        target = None if self._run_state.context.pace.batch_size is not None else self._size.target
        rows = range_size(self._size.size, target, share)
        if self._size.resize_reason is ResizeReason.START:
            # No chunk was measured yet. A long range would only delay the first chunk: its end is found by
            # reading the keys of the whole range.
            rows = min(rows, self._size.size * _CHUNKS_OF_FIRST_RANGE)
        return self._leases.find_candidate(connection, rows)

    def _find_on_own_connection(self) -> RangeCandidate:
        find = lambda: self.find(self._transactions.connection)  # noqa: E731
        try:
            return self._transactions.run_read_only(find)
        except DATABASE_ERRORS as error:
            if self._leases.blind or self._failures.blame(error) not in (Blame.ROW, Blame.SIZE):
                raise
            events.emit(_log, events.SweptBlindly(self._run_state.name, error_message(error)))
            self._leases.blind = True
        return self._transactions.run_read_only(find)
