"""The queue for a metadata lock on MariaDB: the difference from MySQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.mysql_errors import LOCK_WAIT_TIMEOUT, error_code
from online_migrate.dialects.mysql_holders import tables_of
from online_migrate.dialects.mysql_lock_queue import MySQLLockQueues
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.sql.table_lock import Strength, TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MariaDBLockQueues(MySQLLockQueues):
    """Tries a lock with LOCK TABLES ... NOWAIT."""

    def is_free(self, connection: Connection, locks: Sequence[TableLock]) -> bool | None:
        """Tries LOCK TABLES ... NOWAIT. It commits, as the DDL statement that follows does."""
        tables = tables_of(connection, locks)
        if not tables:
            return None
        quote = connection.dialect.identifier_preparer.quote
        listed = []
        for table in tables:
            name = ".".join(quote(part) for part in (table.schema, table.name) if part)
            listed.append(f"{name} {'WRITE' if table.strength is Strength.EXCLUSIVE else 'READ'}")
        try:
            connection.execute(sa.text(f"LOCK TABLES {', '.join(listed)} NOWAIT"))
        except DATABASE_ERRORS as error:
            if connection.invalidated:
                raise
            # Any other error: a table does not exist, or this user lacks the privilege LOCK TABLES.
            return False if error_code(error) == LOCK_WAIT_TIMEOUT else None
        connection.execute(sa.text("UNLOCK TABLES"))
        return True
