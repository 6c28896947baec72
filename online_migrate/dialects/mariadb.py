"""MariaDB, 10.6 to 11.x: the differences from MySQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.catalog import Catalog
from online_migrate.dialects.mariadb_lock_queue import MariaDBLockQueues
from online_migrate.dialects.mariadb_locks import MariaDBLocks
from online_migrate.dialects.mariadb_soaks import MariaDBSoaks
from online_migrate.dialects.mysql import MySQL
from online_migrate.dialects.mysql_barriers import MariaDBBarriers
from online_migrate.dialects.mysql_catalog import MariaDBCatalog
from online_migrate.dialects.mysql_copied_table import MariaDBCopiedTables
from online_migrate.writers.bulk import UnionWriter, ValuesWriter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MariaDB(MariaDBBarriers, MariaDBCopiedTables, MariaDBLocks, MariaDBLockQueues, MariaDBSoaks, MySQL):
    """The dialect of MariaDB.

    Its statement timeout is max_statement_time, in seconds, and applies to every kind of statement.
    """

    name: ClassVar[str] = "mariadb"
    catalog: ClassVar[type[Catalog]] = MariaDBCatalog
    writer: ClassVar[type[UnionWriter]] = ValuesWriter
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({1969, 1317})
    sync_breaks_enums: ClassVar[bool] = True

    def history_length(self, connection: Connection) -> float:
        rows = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")).all()
        return float(rows[0][1]) if rows else 0.0

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        before = connection.scalar(sa.text("SELECT @@SESSION.max_statement_time"))
        connection.execute(sa.text(f"SET SESSION max_statement_time = {seconds:.3f}"))
        try:
            yield
        finally:
            if not connection.invalidated:
                connection.execute(sa.text(f"SET SESSION max_statement_time = {before}"))
