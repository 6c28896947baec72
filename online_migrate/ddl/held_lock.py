"""A lock on tables, and the proof that it has been held ever since it was taken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from online_migrate.dialects.base import Dialect, LockTarget
from online_migrate.dialects.errors import AnyFault

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class HeldLock:
    """The lock of :meth:`~online_migrate.dialects.Dialect.lock_tables`, taken when this is made.

    A script can lose it in more ways than a client can see: by a commit, by a savepoint that is rolled back,
    by a procedure. So before each statement that relies on it the server is asked.
    """

    def __init__(self, dialect: Dialect, connection: Connection, targets: Sequence[LockTarget]) -> None:
        self._dialect = dialect
        self._connection = connection
        self._targets = tuple(targets)
        dialect.lock_tables(connection, targets)
        self._transaction = connection.get_transaction()
        self._proof = dialect.lock_proof(connection, targets)

    def is_held(self) -> bool:
        """True if the server says that no other session could have written to the tables since."""
        ends_with_transaction = not self._dialect.metadata_only_under_lock
        if ends_with_transaction and self._transaction is not self._connection.get_transaction():
            return False
        return self._dialect.is_locked(self._connection, self._targets, self._proof)

    def forget_missing(self, exists: Callable[[LockTarget], bool]) -> None:
        """No more proof is asked for tables that the statement sent last, under this lock, has removed."""
        self._targets = tuple(target for target in self._targets if exists(target))

    def free(self) -> None:
        """Ends the lock, where the end of the transaction does not."""
        with contextlib.suppress(*AnyFault):
            # A session that is gone has already freed its locks.
            self._dialect.unlock_tables(self._connection)
