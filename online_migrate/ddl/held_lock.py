"""A lock on tables, and the proof that it has been held without interruption."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from online_migrate.ddl.lock_queue import LockQueue
from online_migrate.dialects import Dialect, LockTarget
from online_migrate.driver_errors import CLEANUP_ERRORS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class HeldLock:
    """The lock of :meth:`~online_migrate.dialects.Dialect.lock_tables`, taken by the constructor.

    The constructor looks at the tables first, and raises :class:`~online_migrate.ddl.lock_queue.LockNotFree`
    while an old transaction holds one of them.

    A script can lose the lock in more ways than a client can detect: by a commit, by a savepoint that is
    rolled back, by a procedure. Therefore the server is asked before each statement that relies on the lock.
    """

    def __init__(
        self, dialect: Dialect, connection: Connection, queue: LockQueue, targets: Sequence[LockTarget]
    ) -> None:
        self._dialect = dialect
        self._connection = connection
        self._queue = queue
        self._targets = tuple(targets)
        queue.lock_tables(targets)
        self._transaction = connection.get_transaction()
        self._proof = dialect.lock_proof(connection, targets)

    def is_held(self) -> bool:
        """Returns True if the server confirms that no other session can have written to the tables since."""
        ends_with_transaction = not self._dialect.metadata_only_under_lock
        if ends_with_transaction and self._transaction is not self._connection.get_transaction():
            return False
        return self._dialect.is_locked(self._connection, self._targets, self._proof)

    def covers(self, tables: Collection[str]) -> bool:
        """Returns True if one of *tables* is locked."""
        return any(target.table in tables for target in self._targets)

    def skip_look(self) -> None:
        """Tells the lock queue that the next statement finds the tables locked, because that was proved."""
        self._queue.expect_locked(self._targets)

    def forget_missing(self, exists: Callable[[LockTarget], bool]) -> None:
        """Requires no proof any more for tables that the last statement, under this lock, has removed.

        *exists*: returns True if a table exists.
        """
        self._targets = tuple(target for target in self._targets if exists(target))

    def free(self) -> None:
        """Releases the lock, where the end of the transaction does not."""
        self._queue.tables_are_locked = False
        with contextlib.suppress(*CLEANUP_ERRORS):
            # The locks of a lost session are already released.
            self._dialect.unlock_tables(self._connection)
