"""Sends a DDL statement only when its tables are free, and limits its time in the lock queue.

Invariants:

* While an old transaction holds a table, no statement stands in the queue of that table: every later session
  would wait behind it.
* No statement stands in the queue without a limit, the last attempt included. The session that executes the
  statement has the limit, or a watch beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from online_migrate.ddl.queue_watch import QueueWatch
from online_migrate.ddl.wait_watch import Tell, WaitNamer, WaitWatch
from online_migrate.dialects import Dialect, LockTarget
from online_migrate.dialects.facets.holder import Holder
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.sql.table_lock import Locked, TableLock
from online_migrate.sql.table_locks import table_locks
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_UNKNOWN = Holder(
    id="?", description="a session (this user may not see which", spared="this user may not see it"
)


class LockNotFree(Exception):
    """A statement was not sent, or was cancelled in the lock queue.

    *locks*: the locks that it needs. *waited*: seconds in the queue; 0 if it was not sent.
    """

    def __init__(self, locks: Sequence[TableLock], *, waited: float = 0.0) -> None:
        super().__init__(f"not free: {', '.join(sorted({lock.name for lock in locks}))}")
        self.locks = tuple(locks)
        self.waited = waited


class ObservedHolders:
    """For how long each holder of a lock has been observed, beside what the server tells of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def update(self, holders: Sequence[Holder]) -> None:
        """Takes the holders that were found now; another one is forgotten."""
        now = self._clock.monotonic()
        self._since = {holder.id: self._since.get(holder.id, now) for holder in holders}

    def age(self, holder: Holder) -> float:
        """Returns the age of the holder's transaction in seconds, at least as long as it was observed."""
        return max(holder.seconds or 0.0, self._seconds(holder))

    def held(self, holder: Holder) -> float:
        """Returns the seconds for which *holder* has certainly held its lock.

        The age of its transaction does not tell: the lock may be that of its last statement.
        """
        return max(holder.idle, self._seconds(holder))

    def _seconds(self, holder: Holder) -> float:
        now = self._clock.monotonic()
        return now - self._since.get(holder.id, now)


class LockQueue:
    """Looks at the tables of each statement of one session before it is sent, and limits its wait for them.

    *beside*: a second connection of the command, on servers where DDL commits implicitly. *session*: the id
    of the session that executes the statements. *old*: the age of an old transaction, in seconds.
    """

    def __init__(
        self,
        dialect: Dialect,
        connection: Connection,
        beside: Connection | None,
        *,
        session: int,
        old: float,
        clock: Clock,
        stop: Stop,
    ) -> None:
        self.tables_are_locked = False
        """The session holds LOCK TABLES: its statements find their tables locked already."""
        self.tell: Tell = lambda statement, seconds, holders: None
        """Is told what a statement waits for while it runs."""
        self.observed = ObservedHolders(clock)
        self._dialect = dialect
        self._connection = connection
        self._beside = beside
        self._session = session
        self._old = old
        self._clock = clock
        self._stop = stop
        self._limit = old
        self._proved: frozenset[tuple[str | None, str]] = frozenset()

    def limit(self, seconds: float) -> None:
        """Sets how long a statement may stand in the queue, for the statements from now on."""
        self._limit = seconds
        self._dialect.limit_queue(self._connection, seconds)

    @contextlib.contextmanager
    def entered(self, statement: str) -> Iterator[None]:
        """Looks whether the tables of *statement* are free, and keeps the limit while the block executes it.

        Raises :class:`LockNotFree`.
        """
        proved, self._proved = self._proved, frozenset()
        if self._dialect.waits_inside(statement):
            with WaitWatch(self._connection.engine, self._namer(statement, ())):
                yield
            return
        locks = () if self.tables_are_locked else table_locks(statement, self._dialect.name)
        if not locks:
            yield
            return
        if not all(_is_on(lock, proved) for lock in locks) and self.old_holders(locks):
            raise LockNotFree(locks)
        # Again for each statement: the script may have changed the setting of the session.
        self._dialect.limit_queue(self._connection, self._limit)
        with self._watched(statement, locks):
            yield

    def expect_locked(self, targets: Sequence[LockTarget]) -> None:
        """Leaves out the look of the next statement for *targets*, which this session is proved to lock."""
        self._proved = frozenset((target.schema, target.table) for target in targets)

    def lock_tables(self, targets: Sequence[LockTarget]) -> None:
        """Locks the tables for the verification of rows. Raises :class:`LockNotFree`."""
        locks = [TableLock(target.table, target.schema) for target in targets]
        taken = self._dialect.try_lock_tables(self._connection, targets)
        if not taken:
            if self._old_among(self._found(locks, free=taken)):
                raise LockNotFree(locks)
            with self._watched("LOCK TABLES", locks):
                self._dialect.lock_tables(self._connection, targets)
        # Only such a lock would have to be released for a look at the tables.
        self.tables_are_locked = self._dialect.metadata_only_under_lock

    @contextlib.contextmanager
    def _watched(self, statement: str, locks: Sequence[TableLock]) -> Iterator[None]:
        """Keeps the limit in the queue where the session itself cannot."""
        if self._beside is None or not self._dialect.queue_is_watched:
            yield
            return
        watch = QueueWatch(
            self._dialect,
            self._beside,
            self._session,
            self._namer(statement, locks),
            limit=self._limit,
            clock=self._clock,
            stop=self._stop,
        )
        try:
            with watch:
                yield
        except Exception as error:
            # The driver's own error: the statement of a script is sent below SQLAlchemy.
            if watch.cancelled:
                raise LockNotFree(locks, waited=self._limit) from error
            raise
        finally:
            if watch.cancelled:
                self._dialect.after_cancel(self._connection)

    def _namer(self, statement: str, locks: Sequence[TableLock]) -> WaitNamer:
        return WaitNamer(self._dialect, self._session, statement, locks, clock=self._clock, tell=self.tell)

    def old_holders(self, locks: Sequence[TableLock]) -> list[Holder]:
        """Returns the holders of the tables for which a statement would stand in the queue for long."""
        return self._old_among(self.holders(locks))

    def _old_among(self, holders: Sequence[Holder]) -> list[Holder]:
        return [h for h in holders if h.never_yields or self.observed.age(h) >= self._old]

    def holders(self, locks: Sequence[TableLock], *, blocked: bool = False) -> list[Holder]:
        """Returns the sessions that hold the tables; none if this user may not see them.

        *blocked*: a statement has just left the queue without its lock.
        """
        try:
            free = None if self.tables_are_locked else self._dialect.is_free(self._connection, locks)
        except CLEANUP_ERRORS:
            # SQLAlchemy would replace the session, by one without the lock of the command and its settings.
            if self._connection.invalidated:
                raise
            return []
        return [] if free else self._found(locks, free=free, blocked=blocked)

    def _found(self, locks: Sequence[TableLock], *, free: bool | None, blocked: bool = False) -> list[Holder]:
        """Returns the holders; *free*: False if the tables are known not to be free."""
        try:
            found = self._holders(locks, blocked=blocked or free is False)
        except CLEANUP_ERRORS:
            # The look is a precaution: without it the limit in the queue remains.
            if self._connection.invalidated:
                raise
            found = []
        if free is False and not found:
            found = [_UNKNOWN]
        self.observed.update(found)
        return found

    def _holders(self, locks: Sequence[TableLock], *, blocked: bool) -> list[Holder]:
        reader = self._connection if self._beside is None else self._beside
        try:
            return self._dialect.lock_holders(reader, locks, blocked=blocked)
        finally:
            if reader is self._beside:
                reader.rollback()

    def end(self, holder: Holder) -> bool:
        """Ends the session of *holder*. Raises the error of the server if this user may not."""
        reader = self._connection if self._beside is None else self._beside
        try:
            return self._dialect.end_session(reader, holder)
        finally:
            with contextlib.suppress(*CLEANUP_ERRORS):
                reader.rollback()


def _is_on(lock: TableLock, tables: Collection[tuple[str | None, str]]) -> bool:
    """Returns True if *lock* is on one of *tables*, and on no other table."""
    on_table = lock.kind is Locked.TABLE and not lock.constraints
    return on_table and (lock.schema, lock.name) in tables
