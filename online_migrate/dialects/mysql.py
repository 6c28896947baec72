"""MySQL, 8.4 and 9.x; the dialect of MariaDB overrides the differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects import mysql_sessions as sessions
from online_migrate.dialects.base import Dialect
from online_migrate.dialects.mysql_barriers import MySQLBarriers
from online_migrate.dialects.mysql_catalog import MySQLCatalogObjects
from online_migrate.dialects.mysql_checks import MySQLChecks
from online_migrate.dialects.mysql_copied_table import MySQLCopiedTables
from online_migrate.dialects.mysql_engine import MySQLEngines
from online_migrate.dialects.mysql_errors import MySQLErrors
from online_migrate.dialects.mysql_load import MySQLLoad
from online_migrate.dialects.mysql_lock_queue import MySQLLockQueues
from online_migrate.dialects.mysql_locks import MySQLLocks
from online_migrate.dialects.mysql_row_access import MySQLRowAccess
from online_migrate.dialects.mysql_sessions import MySQLSessions
from online_migrate.dialects.mysql_soaks import MySQLSoaks
from online_migrate.dialects.mysql_statements import MySQLStatements
from online_migrate.dialects.mysql_sync import MySQLSyncTriggers
from online_migrate.dialects.mysql_table_facts import MySQLTableFacts

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MySQL(
    MySQLEngines,
    MySQLSessions,
    MySQLSoaks,
    MySQLLocks,
    MySQLLockQueues,
    MySQLErrors,
    MySQLLoad,
    MySQLRowAccess,
    MySQLChecks,
    MySQLBarriers,
    MySQLCatalogObjects,
    MySQLCopiedTables,
    MySQLStatements,
    MySQLSyncTriggers,
    MySQLTableFacts,
    Dialect,
):
    """The dialect of MySQL.

    A DDL statement commits implicitly. Only LOCK TABLES blocks writers between the verification of the rows
    and an ALTER TABLE.
    """

    name: ClassVar[str] = "mysql"
    transactional_ddl: ClassVar[bool] = False

    def before_statement(self, connection: Connection, statement: str) -> None:
        sessions.before_script_statement(connection, statement, self.name)
