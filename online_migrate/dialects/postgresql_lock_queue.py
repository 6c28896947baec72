"""The queue for a table lock on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects import postgresql_holders
from online_migrate.dialects.facets.holder import Holder
from online_migrate.dialects.facets.lock_queue import LockQueues
from online_migrate.dialects.postgresql_sessions import milliseconds
from online_migrate.sql.statement import is_concurrent
from online_migrate.sql.table_lock import TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_LIMIT = """
    SELECT set_config('lock_timeout', :lock, false),
           CASE WHEN rolsuper THEN set_config('deadlock_timeout', :deadlock, false) END
    FROM pg_roles WHERE rolname = current_user
"""


class PostgreSQLLockQueues(LockQueues):
    """Reads pg_locks, and limits the queue by lock_timeout."""

    def lock_holders(
        self, connection: Connection, locks: Sequence[TableLock], *, blocked: bool = False
    ) -> list[Holder]:
        return postgresql_holders.lock_holders(connection, locks)

    def waits_inside(self, statement: str) -> bool:
        """Returns True for CONCURRENTLY: it waits for old transactions of all tables."""
        return is_concurrent(statement, "postgresql")

    def awaited(self, connection: Connection, session: int, locks: Sequence[TableLock]) -> list[Holder]:
        return postgresql_holders.blocking(connection, session)

    def end_session(self, connection: Connection, holder: Holder) -> bool:
        return postgresql_holders.end_session(connection, holder)

    def limit_queue(self, connection: Connection, seconds: float) -> None:
        """Sets lock_timeout; as a superuser also deadlock_timeout, after which an autovacuum yields."""
        limits = {"lock": f"{milliseconds(seconds)}ms", "deadlock": f"{milliseconds(seconds / 3)}ms"}
        connection.execute(sa.text(_LIMIT), limits)
