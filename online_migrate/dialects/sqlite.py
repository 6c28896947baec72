"""The dialect of SQLite, 3.35 and later."""

from __future__ import annotations

from typing import ClassVar

from online_migrate.dialects.base import Dialect
from online_migrate.dialects.sqlite_catalog import SQLiteCatalogObjects
from online_migrate.dialects.sqlite_checks import SQLiteChecks
from online_migrate.dialects.sqlite_engine import SQLiteEngines
from online_migrate.dialects.sqlite_errors import SQLiteErrors
from online_migrate.dialects.sqlite_load import SQLiteLoad
from online_migrate.dialects.sqlite_lock_queue import SQLiteLockQueues
from online_migrate.dialects.sqlite_locks import SQLiteLocks
from online_migrate.dialects.sqlite_revisions import SQLiteRevisions
from online_migrate.dialects.sqlite_row_access import SQLiteRowAccess
from online_migrate.dialects.sqlite_sessions import SQLiteSessions
from online_migrate.dialects.sqlite_soaks import SQLiteSoaks
from online_migrate.dialects.sqlite_sync import SQLiteSyncTriggers
from online_migrate.dialects.sqlite_table_facts import SQLiteTableFacts


class SQLite(
    SQLiteCatalogObjects,
    SQLiteEngines,
    SQLiteSessions,
    SQLiteSyncTriggers,
    SQLiteSoaks,
    SQLiteTableFacts,
    SQLiteLocks,
    SQLiteLockQueues,
    SQLiteErrors,
    SQLiteLoad,
    SQLiteRowAccess,
    SQLiteChecks,
    SQLiteRevisions,
    Dialect,
):
    """The dialect of SQLite.

    The database has one writer at a time. An immediate transaction is the lock of the revision, and all
    statements in it commit together.
    """

    name: ClassVar[str] = "sqlite"
