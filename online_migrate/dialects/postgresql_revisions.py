"""Statements of revisions on PostgreSQL that run CONCURRENTLY."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects.facets.revisions import Revisions
from online_migrate.dialects.postgresql_sessions import milliseconds
from online_migrate.dialects.query import rows
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS
from online_migrate.sql.statement import first_word, identifiers, is_concurrent

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_INVALID_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE x.relname = ANY(:names) AND t.relname = ANY(:names) AND x.relkind = 'i' AND NOT i.indisvalid
      AND (pg_table_is_visible(t.oid) OR n.nspname = ANY(:names))
      AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
"""
"""Invalid indexes with a name and on a table that the statement names, and that no session builds now."""
_CONCURRENTLY = 1800.0
"""Seconds for which a CONCURRENTLY statement may wait for older transactions."""


class PostgreSQLRevisions(Revisions):
    """Waits longer for a CONCURRENTLY statement, and removes the invalid index that a failed one leaves."""

    @contextlib.contextmanager
    def lock_timeout_for(self, connection: Connection, statement: str) -> Iterator[None]:
        if not is_concurrent(statement, self.name):
            yield
            return
        # It waits for every older transaction, and no session that reads or writes rows waits for it.
        before = connection.scalar(sa.text("SELECT current_setting('lock_timeout')"))
        connection.execute(sa.text(f"SET lock_timeout = {milliseconds(_CONCURRENTLY)}"))
        try:
            yield
        finally:
            connection.execute(sa.text(f"SET lock_timeout = '{before}'"))

    def clean_up(self, connection: Connection, statement: str) -> None:
        """Drops the invalid index that a failed CREATE INDEX CONCURRENTLY leaves.

        A repeated CREATE INDEX ... IF NOT EXISTS would otherwise accept the invalid index.
        """
        if not is_concurrent(statement, self.name) or first_word(statement, self.name) != "CREATE":
            return
        for row in rows(connection, _INVALID_INDEXES, names=identifiers(statement, self.name)):
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {row.name}")

    @contextlib.contextmanager
    def outside_transaction(self, connection: Connection) -> Iterator[None]:
        session: Any = connection.connection.dbapi_connection
        dialect = connection.dialect
        dialect.set_isolation_level(session, "AUTOCOMMIT")
        try:
            yield
        finally:
            with contextlib.suppress(*CLEANUP_ERRORS, *DATABASE_ERRORS):
                # The session may be lost; then its settings are lost as well.
                dialect.set_isolation_level(session, "READ COMMITTED")
