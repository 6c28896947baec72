"""Named locks and table locks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class LockTarget:
    """A table to lock, and the alias under which a query reads it; None: under its own name."""

    table: str
    schema: str | None = None
    alias: str | None = None


class Locks:
    """Takes locks, and proves that a table lock is held."""

    metadata_only_under_lock: ClassVar[bool] = False
    """Only statements that change metadata run under the lock of :meth:`lock_tables`, because that lock
    blocks readers for as long as a statement under it runs."""
    table_lock: ClassVar[str] = ""
    """The server's name of the lock of :meth:`lock_tables`, if statements that read all rows run under it."""
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
