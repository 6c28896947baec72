"""Named locks, table locks, and the sessions that hold locks or wait for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.facets.holder import Holder
from online_migrate.sql.table_locks import TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class LockTarget:
    """A table to lock, and the alias under which a query reads it; None: under its own name."""

    table: str
    schema: str | None = None
    alias: str | None = None


class Locks:
    """Takes locks, proves that a table lock is held, and names the sessions in the way."""

    metadata_only_under_lock: ClassVar[bool] = False
    """Only statements that change metadata run under the lock of :meth:`lock_tables`, because that lock
    blocks readers for as long as a statement under it runs."""
    queue_is_limited: ClassVar[bool] = True
    """A wait in the lock queue may be shorter than the lock timeout of the session: see
    :meth:`limit_queue` and :attr:`queue_is_watched`."""
    queue_is_watched: ClassVar[bool] = False
    """A lock timeout has whole seconds here. So another session cancels a statement that waits for longer."""
    lock_is_of_a_name: ClassVar[bool] = False
    """:meth:`lock_tables` locks a table under one name or alias, and a query may use that name once."""

    def session_id(self, connection: Connection) -> int:
        """Returns the session id that the server uses in its lock views; 0 if the server has none."""
        return 0

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        """Returns the number of other sessions that wait for locks held by *sessions*.

        *sessions*: session ids, see :meth:`session_id`.
        """
        return 0

    def is_free(self, connection: Connection, locks: Sequence[TableLock]) -> bool | None:
        """Tries to lock the tables of *locks*, without waiting, and releases them again.

        None: this server has no such statement, or this user lacks the privilege.
        """
        return None

    def lock_holders(
        self, connection: Connection, locks: Sequence[TableLock], *, blocked: bool = False
    ) -> list[Holder]:
        """Returns the other sessions whose locks a statement that takes *locks* would wait for.

        *blocked*: a statement is known to wait; then sessions that may hold such a lock are listed as well. A
        table that does not exist has no holder, and a session that would yield to the statement is left out.
        Raises one of :data:`~online_migrate.driver_errors.DATABASE_ERRORS` if they cannot be read.
        """
        return []

    def end_session(self, connection: Connection, holder: Holder) -> bool:
        """Ends the session of *holder*; returns False if that session has ended, or has other work by now."""
        raise NotImplementedError

    def limit_queue(self, connection: Connection, seconds: float) -> None:
        """Sets the time that a statement of a script may wait for a table lock, where the server can."""

    def is_queued(self, connection: Connection, session: int) -> bool:
        """Returns True if *session* waits for a table lock; see :attr:`queue_is_watched`."""
        raise NotImplementedError

    def cancel_statement(self, connection: Connection, session: int) -> None:
        """Cancels the statement that *session* executes."""
        raise NotImplementedError

    def after_cancel(self, connection: Connection) -> None:
        """Is called on a session whose statement was cancelled: a late cancellation must not reach the next
        statement."""

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        """Tries to take the named lock *name* for the session of *connection*, without waiting.

        Returns False if another session holds it. The server releases the lock when the session ends, for
        whatever reason.
        """
        raise NotImplementedError

    def sees_all_sessions(self, connection: Connection) -> bool:
        """Returns True if a free named lock proves that the session that took it has ended.

        False where named locks are local to one node of a cluster.
        """
        return True

    def free_named_lock(self, connection: Connection, name: str) -> None:
        """Releases the named lock *name* that :meth:`try_named_lock` took."""
        raise NotImplementedError

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        """Locks the tables: no other session reads or writes them until :meth:`unlock_tables`.

        Raises an error for which :meth:`is_lock_timeout` is true if another session holds a lock for longer
        than the lock timeout of the session.
        """
        raise NotImplementedError

    def try_lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> bool | None:
        """Does the same as :meth:`lock_tables` without waiting; returns False if a table is not free.

        None: nothing was tried, because this server has no such statement.
        """
        return None

    def unlock_tables(self, connection: Connection) -> None:
        """Releases the locks of :meth:`lock_tables`, where the end of the transaction does not."""

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """Returns the value with which :meth:`is_locked` compares; call it directly after
        :meth:`lock_tables`."""
        raise NotImplementedError

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        """Returns True if the server confirms that this session has held the lock since *proof* was taken.

        *proof*: the result of :meth:`lock_proof`.
        """
        raise NotImplementedError
