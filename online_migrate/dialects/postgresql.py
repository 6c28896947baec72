"""The dialect of PostgreSQL, 14 to 18."""

from __future__ import annotations

from typing import ClassVar

from online_migrate.dialects.base import Dialect
from online_migrate.dialects.postgresql_barriers import PostgreSQLBarriers
from online_migrate.dialects.postgresql_catalog import PostgreSQLCatalogObjects
from online_migrate.dialects.postgresql_checks import PostgreSQLChecks
from online_migrate.dialects.postgresql_engine import PostgreSQLEngines
from online_migrate.dialects.postgresql_errors import PostgreSQLErrors
from online_migrate.dialects.postgresql_load import PostgreSQLLoad
from online_migrate.dialects.postgresql_lock_queue import PostgreSQLLockQueues
from online_migrate.dialects.postgresql_locks import PostgreSQLLocks
from online_migrate.dialects.postgresql_revisions import PostgreSQLRevisions
from online_migrate.dialects.postgresql_row_access import PostgreSQLRowAccess
from online_migrate.dialects.postgresql_sessions import PostgreSQLSessions
from online_migrate.dialects.postgresql_soaks import PostgreSQLSoaks
from online_migrate.dialects.postgresql_statements import PostgreSQLStatements
from online_migrate.dialects.postgresql_sync import PostgreSQLSyncTriggers
from online_migrate.dialects.postgresql_table_facts import PostgreSQLTableFacts


class PostgreSQL(
    PostgreSQLEngines,
    PostgreSQLSessions,
    PostgreSQLSoaks,
    PostgreSQLLocks,
    PostgreSQLLockQueues,
    PostgreSQLErrors,
    PostgreSQLLoad,
    PostgreSQLRowAccess,
    PostgreSQLChecks,
    PostgreSQLBarriers,
    PostgreSQLCatalogObjects,
    PostgreSQLStatements,
    PostgreSQLSyncTriggers,
    PostgreSQLTableFacts,
    PostgreSQLRevisions,
    Dialect,
):
    """The dialect of PostgreSQL. DDL is transactional, and the end of the transaction releases its locks."""

    name: ClassVar[str] = "postgresql"
