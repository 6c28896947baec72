"""Names the sessions that a statement waits for while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from online_migrate.dialects import Dialect
from online_migrate.dialects.facets.holder import Holder
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
from online_migrate.observe import events
from online_migrate.sql.table_lock import TableLock
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

logger = logging.getLogger(__name__)
INTERVAL = 0.5
"""Seconds between two looks at a statement that runs."""
_TOLD_AFTER = 1.0
"""Seconds of waiting after which the sessions are named."""

Tell = Callable[[str, float, Sequence[Holder]], None]
"""Is called with the statement, the seconds for which it has waited, and the sessions that it waits for."""


class WaitNamer:
    """Names what one statement of *session* waits for, each session once.

    *locks*: those of the statement.
    """

    def __init__(
        self,
        dialect: Dialect,
        session: int,
        statement: str,
        locks: Sequence[TableLock],
        *,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self._dialect = dialect
        self._session = session
        self._statement = statement
        self._locks = locks
        self._clock = clock
        self._tell = tell
        self._since: float | None = None
        self._told: set[str] = set()

    def look(self, connection: Connection) -> None:
        """Reads what the statement waits for now, on *connection*, whose transaction it ends."""
        try:
            holders = self._dialect.awaited(connection, self._session, self._locks)
        finally:
            # An old snapshot of this look would be one of the transactions that CONCURRENTLY waits for.
            connection.rollback()
        now = self._clock.monotonic()
        if not holders:
            self._since = None
            return
        self._since = now if self._since is None else self._since
        named = {holder.id for holder in holders}
        if now - self._since >= _TOLD_AFTER and not named <= self._told:
            self._told |= named
            self._tell(self._statement, now - self._since, holders)


class WaitWatch:
    """Looks with *namer* during the ``with`` block, in a thread, on a connection of *engine* of its own.

    The connection is opened when the statement has run for a while. Without it the statement runs all the
    same, and what it waits for is not named.
    """

    def __init__(self, engine: Engine, namer: WaitNamer) -> None:
        self._engine = engine
        self._namer = namer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statement watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        if self._over.wait(INTERVAL):
            return
        try:
            with self._engine.connect() as connection:
                self._namer.look(connection)
                while not self._over.wait(INTERVAL):
                    self._namer.look(connection)
        except CLEANUP_ERRORS as error:
            events.emit(logger, events.QueueWatchFailed(error_message(error)))
