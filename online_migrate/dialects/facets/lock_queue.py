"""The queue for a table lock: the sessions ahead of a statement, and its time in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.facets.holder import Holder
from online_migrate.sql.table_lock import TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class LockQueues:
    """Looks at the queue before a statement stands in it, and limits its time there."""

    queue_is_limited: ClassVar[bool] = True
    """A wait in the lock queue may be shorter than the lock timeout of the session: see
    :meth:`limit_queue` and :attr:`queue_is_watched`."""
    queue_is_watched: ClassVar[bool] = False
    """A lock timeout has whole seconds here. So another session cancels a statement that waits for longer."""

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

    def waits_inside(self, statement: str) -> bool:
        """Returns True for a statement that may wait for long once it runs, while no session waits for it.

        Such a statement is not looked at before it is sent; a look while it waits needs a connection.
        """
        return False

    def awaited(self, connection: Connection, session: int, locks: Sequence[TableLock]) -> list[Holder]:
        """Returns the sessions that the statement of *session* waits for now; none while it works.

        *locks*: those of the statement. Raises one of :data:`~online_migrate.driver_errors.DATABASE_ERRORS`
        if they cannot be read.
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
