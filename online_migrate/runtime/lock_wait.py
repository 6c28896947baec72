"""Waits, outside of every lock queue, until the tables of a revision are free.

Invariants:

* The wait has an end: ``lock_attempts`` attempts, with their growing pauses. An attempt that did not queue
  because a table was not free counts as one when its pause has passed without a change.
* A session is ended only if ``kill_blockers`` is set, only after it has certainly held its lock for longer,
  and never one that has a reason to be spared.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.ddl.lock_queue import LockNotFree
from online_migrate.ddl.session import Session
from online_migrate.dialects import Dialect
from online_migrate.dialects.facets.holder import Holder
from online_migrate.driver_errors import (
    CLEANUP_ERRORS,
    DATABASE_ERRORS,
    error_message,
    find_cause,
    statement_of,
)
from online_migrate.observe import events
from online_migrate.sql.statement import identifiers, shorten
from online_migrate.sql.table_lock import TableLock
from online_migrate.sql.table_locks import table_locks
from online_migrate.waiting import Clock, Stop, backoff

logger = logging.getLogger(__name__)
LONGEST_PAUSE = 10.0
"""The longest pause between two attempts, in seconds.

It is below the session timeout, so that the server does not end the session during a pause.
"""
_LOOK = 0.05
"""Seconds between two looks at a table that is not free."""
_SHORTEST = 0.03
"""Seconds that the first attempt stands in the lock queue; each further one for half as long again."""
_SAID_AFTER = 1.0
"""Seconds of waiting after which the holders are named."""
_SHOWN = 5


def is_lock_timeout(dialect: Dialect, error: Exception) -> bool:
    """Returns True if *error* says that the tables of a statement were not free.

    Where DDL is transactional, a deadlock with the application as well: the whole revision was rolled back.
    """
    if find_cause(error, LockNotFree) is not None:
        return True
    if not isinstance(error, CLEANUP_ERRORS):
        return False
    return dialect.is_lock_timeout(error) or (dialect.transactional_ddl and dialect.is_transient(error))


class LockWait:
    """The waits of one run of one revision for its locks.

    *tables*: the tables that are named and looked at if the error names no statement. *kill_after*: see
    :attr:`~online_migrate.config.Settings.kill_blockers`.
    """

    def __init__(
        self,
        revision: str,
        session: Session,
        settings: Settings,
        *,
        tables: Sequence[str] = (),
        kill_after: float | None = None,
        clock: Clock,
        stop: Stop,
        echo: Callable[[str], None],
    ) -> None:
        shortest = _SHORTEST if session.dialect.queue_is_limited else settings.lock_timeout
        self.queue_limit = min(shortest, settings.lock_timeout)
        """Seconds for which a statement of the next attempt may stand in the lock queue."""
        self._revision = revision
        self._session = session
        self._longest = settings.lock_timeout
        self._timeout = session.dialect.lock_wait(settings.lock_timeout)
        self._pauses = backoff(
            waited=self._timeout,
            attempts=settings.lock_attempts,
            longest=LONGEST_PAUSE,
            jitter=random.Random(),
        )
        self._tables = tables
        self._kill_after = kill_after
        self._clock = clock
        self._stop = stop
        self._echo = echo
        self._needed: dict[TableLock, None] = {}
        self._attempts = 0
        self._left = 0.0
        self._waited = 0.0
        self._said: set[str] | None = None
        self._judged: set[str] = set()

    def tell_awaited(self, statement: str, seconds: float, holders: Sequence[Holder]) -> None:
        """Names the sessions that a statement waits for while it runs."""
        text = shorten(statement, 80)
        lines = "".join(f"\n  waits for {holder}" for holder in holders[:_SHOWN])
        self._echo(f"{self._revision}: {text} is not finished{lines}")
        about = "; ".join(map(str, holders[:_SHOWN]))
        events.emit(logger, events.StatementWaited(self._revision, text, seconds, about))

    def after(self, error: Exception) -> None:
        """Waits after an attempt that failed because of *error*; the transaction has been rolled back.

        Raises :class:`~online_migrate.exceptions.LockGivenUp` after the last attempt, or on a stop.
        """
        refused = find_cause(error, LockNotFree)
        statement = statement_of(error) or ""
        self._needed |= dict.fromkeys(refused.locks if refused else self._locks_of(statement))
        if refused is None or refused.waited:
            self._pause_after_queue(error, statement)
        self._wait_outside(error, statement)

    def _locks_of(self, statement: str) -> Sequence[TableLock]:
        server = self._session.dialect.name
        known = table_locks(statement, server)
        return known or [TableLock(name) for name in self._tables]

    def _pause_after_queue(self, error: Exception, statement: str) -> None:
        """Pauses for longer than the attempt stood in the queue: those behind it need time."""
        waited = min(self.queue_limit, self._longest)
        self.queue_limit = min(self.queue_limit * 1.5, self._longest)
        holders = self._named(statement)
        self._left = 0.0
        pause = self._next_pause(error, holders, statement)
        shown = f" ({holders[0]})" if holders else ""
        self._echo(f"{self._revision}: no lock after {waited:g} s{shown}; next try in {pause:.1f} s")
        about = "; ".join(map(str, holders)) or "not known"
        events.emit(logger, events.LockTimedOut(self._revision, waited, pause, about))
        if self._clock.wait(pause, self._stop):
            raise self._given_up(error, holders, statement)

    def _wait_outside(self, error: Exception, statement: str) -> None:
        """Returns when no old transaction holds a table that the revision has needed so far."""
        self._waited = 0.0
        while holders := self._old_holders():
            self._end_blockers(holders)
            self._say(holders)
            if self._left <= 0:
                self._left = self._next_pause(error, holders, statement)
            step = min(_LOOK, self._left)
            if self._clock.wait(step, self._stop):
                raise self._given_up(error, holders, statement)
            self._left -= step
            self._waited += step

    def _next_pause(self, error: Exception, holders: Sequence[Holder], statement: str) -> float:
        self._attempts += 1
        pause = next(self._pauses, None)
        if pause is None or self._stop.requested:
            raise self._given_up(error, holders, statement)
        return pause

    def _given_up(
        self, error: Exception, holders: Sequence[Holder], statement: str
    ) -> exceptions.LockGivenUp:
        tables = self._tables or sorted({lock.name for lock in self._needed})
        what = ", ".join(tables) or shorten(statement, 60) or f"the objects of revision {self._revision}"
        given_up = exceptions.LockGivenUp(
            what=what,
            attempts=max(1, self._attempts),
            timeout=self._longest,
            blockers="".join(f"\n  held by {holder}" for holder in holders[:_SHOWN]),
        )
        given_up.__cause__ = error
        return given_up

    # --- the holders of the locks --------------------------------------------------------------------

    def _old_holders(self) -> list[Holder]:
        try:
            return self._session.queue.old_holders(list(self._needed))
        finally:
            self._reset()

    def _named(self, statement: str) -> list[Holder]:
        """Returns the holders of the locks for which a statement has waited without getting them."""
        names = identifiers(statement, self._session.dialect.name)
        needed = list(self._needed) or [TableLock(name) for name in names]
        try:
            return self._session.queue.holders(needed, blocked=True)
        finally:
            self._reset()

    def _reset(self) -> None:
        for connection in (self._session.connection, self._session.journal_connection):
            if connection is not None:
                try:
                    connection.rollback()
                except CLEANUP_ERRORS:
                    # The next attempt reports that the session has ended.
                    logger.debug("rollback after a look at the locks", exc_info=True)

    def _say(self, holders: Sequence[Holder]) -> None:
        """Names the holders when the wait has lasted for a second, and again for another long transaction.

        Short transactions of the application, and sessions that only may hold the lock, come and go while the
        command waits.
        """
        certain = [holder for holder in holders if holder.is_certain]
        long = {holder.id for holder in certain if holder.seconds is None or holder.seconds >= _SAID_AFTER}
        if self._waited < _SAID_AFTER or (self._said is not None and long <= self._said):
            return
        self._said = (self._said or set()) | {holder.id for holder in holders}
        shown = holders[:_SHOWN]
        tables = ", ".join(sorted({lock.name for lock in self._needed}))
        lines = "".join(f"\n  held by {holder}" for holder in shown)
        self._echo(f"{self._revision}: waiting until {tables} is free, outside of the lock queue{lines}")
        about = "; ".join(map(str, shown))
        events.emit(logger, events.LockWaited(self._revision, self._waited, about))

    def _end_blockers(self, holders: Sequence[Holder]) -> None:
        if self._kill_after is None:
            return
        for holder in holders:
            held = self._session.queue.observed.held(holder)
            if held >= self._kill_after and holder.id not in self._judged:
                self._judged.add(holder.id)
                self._end(holder, held)

    def _end(self, holder: Holder, held: float) -> None:
        reason = holder.spared
        if not reason:
            try:
                if not self._session.queue.end(holder):
                    return
            except DATABASE_ERRORS as error:
                reason = error_message(error)
        if reason:
            self._echo(f"{self._revision}: not ended, because {reason}: {holder}")
            events.emit(logger, events.BlockerSpared(self._revision, f"{holder}", reason))
            return
        self._echo(f"{self._revision}: ended a session that had held its lock for {held:.0f} s: {holder}")
        events.emit(logger, events.BlockerEnded(self._revision, held, f"{holder}"))
