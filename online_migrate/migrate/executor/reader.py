"""Plans a chunk, reads its rows and calls the row function for them, in transactions that lock no row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.prepared import ReadSession
from online_migrate.migrate.executor.prefetch import PreparedChunk
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan, Planner
from online_migrate.migrate.worker.session import run_read_transaction
from online_migrate.throttle.activity import Activity
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class ChunkReader:
    """Prepares the chunks of one worker, on any of its connections."""

    def __init__(self, bound: BoundMigration, planner: Planner, clock: Clock, activity: Activity) -> None:
        self._migration = bound
        self._planner = planner
        self._clock = clock
        self._activity = activity

    def prepare(
        self, connection: Connection, key_range: KeyRange, size: int, keepalive: Callable[[], None]
    ) -> PreparedChunk:
        """Plans the first *size* rows of *key_range*, reads them, and calls the row function for them.

        *keepalive*: called about every 0.5 s while the function is called.
        """
        plan = self.plan(connection, key_range, size)
        return self.read(connection, plan, keepalive)

    def plan(self, connection: Connection, key_range: KeyRange, size: int) -> ChunkPlan:
        """Plans a chunk in a transaction of its own."""
        with self._activity:
            work = lambda: self._planner.plan(connection, key_range, size)  # noqa: E731
            return run_read_transaction(self._clock, self._migration.dialect, connection, work)

    def read(self, connection: Connection, plan: ChunkPlan, keepalive: Callable[[], None]) -> PreparedChunk:
        """Reads the rows of a planned chunk, and calls the row function for them.

        Reads nothing if the kind of data migration needs no rows.
        """
        began, clock, dialect = self._clock.monotonic(), self._clock, self._migration.dialect
        run = lambda read: run_read_transaction(clock, dialect, connection, read)  # noqa: E731
        with self._activity:
            session = ReadSession(connection, run, keepalive)
            prepared = None if plan.chunk is None else self._migration.prepare(session, plan.chunk)
            return PreparedChunk(plan, prepared, clock.monotonic() - began)
