"""Locks on MariaDB: the differences from MySQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.facets.locks import LockTarget
from online_migrate.dialects.mysql_errors import LOCK_WAIT_TIMEOUT, error_code
from online_migrate.dialects.mysql_locks import MySQLLocks
from online_migrate.driver_errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MariaDBLocks(MySQLLocks):
    """Tries LOCK TABLES ... NOWAIT, which never stands in the queue."""

    blocked: ClassVar[str] = """
        SELECT count(DISTINCT w.requesting_trx_id)
        FROM information_schema.innodb_lock_waits w
        JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id
        JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id
        WHERE b.trx_mysql_thread_id IN :sessions AND r.trx_mysql_thread_id NOT IN :sessions
    """

    def try_lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> bool | None:
        try:
            self._lock_tables(connection, targets, suffix=" NOWAIT")
        except DATABASE_ERRORS as error:
            if error_code(error) != LOCK_WAIT_TIMEOUT:
                raise
            return False
        return True
