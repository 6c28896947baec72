"""The queue for a metadata lock on MySQL and MariaDB."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects import mysql_holders
from online_migrate.dialects.facets.holder import Holder
from online_migrate.dialects.facets.lock_queue import LockQueues
from online_migrate.dialects.mysql_errors import error_code
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.sql.table_lock import TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_NO_SUCH_SESSION = 1094
_STATE = "SELECT state FROM information_schema.processlist WHERE id = :session"


class MySQLLockQueues(LockQueues):
    """Reads the metadata locks; another session cancels a statement that waits for too long."""

    queue_is_watched: ClassVar[bool] = True

    def lock_holders(
        self, connection: Connection, locks: Sequence[TableLock], *, blocked: bool = False
    ) -> list[Holder]:
        return mysql_holders.lock_holders(connection, locks, blocked=blocked)

    def awaited(self, connection: Connection, session: int, locks: Sequence[TableLock]) -> list[Holder]:
        if not self.is_queued(connection, session):
            return []
        return mysql_holders.lock_holders(connection, locks, blocked=True)

    def end_session(self, connection: Connection, holder: Holder) -> bool:
        try:
            connection.execute(sa.text(f"KILL {int(holder.id)}"))
        except DATABASE_ERRORS as error:
            if error_code(error) != _NO_SUCH_SESSION:
                raise
            return False
        return True

    def is_queued(self, connection: Connection, session: int) -> bool:
        state = connection.scalar(sa.text(_STATE), {"session": session})
        return "metadata lock" in str(state or "")

    def cancel_statement(self, connection: Connection, session: int) -> None:
        connection.execute(sa.text(f"KILL QUERY {int(session)}"))

    def after_cancel(self, connection: Connection) -> None:
        with contextlib.suppress(*DATABASE_ERRORS):
            connection.exec_driver_sql("DO 0")
