"""Cancels a statement that stands in the lock queue for too long, where a lock timeout has whole seconds."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from online_migrate.ddl.wait_watch import INTERVAL, WaitNamer
from online_migrate.dialects import Dialect
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
from online_migrate.observe import events
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

logger = logging.getLogger(__name__)
_POLL = 0.02
"""Seconds between two looks at the state of the statement."""


class QueueWatch:
    """Watches the statement of another session during the ``with`` block, in a thread.

    A statement that still waits for its first lock after *limit* seconds, or when a stop is requested, is
    cancelled. One that has begun to execute is not: it would lose its work. The lock timeout of its session
    limits how long it waits for a further lock, and *namer* names what it waits for then. *beside*: a
    connection that the thread alone uses meanwhile.
    """

    def __init__(
        self,
        dialect: Dialect,
        beside: Connection,
        session: int,
        namer: WaitNamer,
        *,
        limit: float,
        clock: Clock,
        stop: Stop,
    ) -> None:
        self.cancelled = False
        """True if the statement was cancelled. It may have succeeded at that moment all the same."""
        self._dialect = dialect
        self._beside = beside
        self._session = session
        self._namer = namer
        self._limit = limit
        self._clock = clock
        self._stop = stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lock queue watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        # Not before the thread has ended: a late cancellation would reach the next statement.
        self._thread.join()

    def _run(self) -> None:
        try:
            self._watch()
            self._beside.rollback()
        except CLEANUP_ERRORS as error:
            # Without the watch the lock timeout of the session remains.
            events.emit(logger, events.QueueWatchFailed(error_message(error)))

    def _watch(self) -> None:
        end = self._clock.monotonic() + self._limit
        while not self._over.wait(min(_POLL, self._limit)):
            late = self._clock.monotonic() >= end or self._stop.requested
            if not late:
                continue
            if self._dialect.is_queued(self._beside, self._session):
                self.cancelled = True
                self._dialect.cancel_statement(self._beside, self._session)
                return
            break
        self._beside.rollback()
        while not self._over.wait(INTERVAL):
            self._namer.look(self._beside)
