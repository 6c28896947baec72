"""Which sessions hold what a DDL statement on MySQL or MariaDB waits for, and what ends them.

A transaction is in information_schema.innodb_trx. LOCK TABLES ... READ is none: only a table of metadata
locks shows it, and a server without one says no more than that a table is in use. A prepared XA
transaction has no session any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects.base import OWN_SESSIONS
from online_migrate.dialects.errors import ServerFault

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

_SHOWN = 5
_TRANSACTIONS = """
    SELECT t.trx_mysql_thread_id AS id, p.user, p.host, p.command,
           TIMESTAMPDIFF(SECOND, t.trx_started, CONVERT_TZ(NOW(), @@time_zone, 'SYSTEM')) AS seconds,
           LEFT(p.info, 80) AS query
    FROM information_schema.innodb_trx t
    JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
    WHERE p.id <> CONNECTION_ID() AND (p.db = DATABASE() OR p.db IS NULL)
    ORDER BY t.trx_started
"""
_PERFORMANCE_SCHEMA = """
    SELECT DISTINCT t.processlist_id AS id, t.processlist_user AS user, t.processlist_host AS host,
           t.processlist_command AS command, LEFT(t.processlist_info, 80) AS query,
           m.object_name AS name, m.lock_type AS mode
    FROM performance_schema.metadata_locks m
    JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
    WHERE m.lock_status = 'GRANTED' AND m.object_type = 'TABLE' AND m.object_schema = DATABASE()
      AND m.object_name IN :names AND t.processlist_id <> CONNECTION_ID()
"""
_PLUGIN = """
    SELECT DISTINCT p.id, p.user, p.host, p.command, LEFT(p.info, 80) AS query,
           m.table_name AS name, m.lock_mode AS mode
    FROM information_schema.metadata_lock_info m
    JOIN information_schema.processlist p ON p.id = m.thread_id
    WHERE m.table_schema = DATABASE() AND m.table_name IN :names AND p.id <> CONNECTION_ID()
"""
_IDLE = """
    SELECT p.id, p.user, p.host, p.command, p.time AS seconds, LEFT(p.info, 80) AS query
    FROM information_schema.processlist p
    WHERE p.id <> CONNECTION_ID() AND p.db = DATABASE() AND p.command = 'Sleep'
      AND p.id NOT IN (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx)
    ORDER BY p.time DESC
"""


def holders(connection: Connection, tables: Sequence[str]) -> list[str]:
    """A line for each session or prepared transaction that may hold a lock on *tables*."""
    lines = {}
    for row in _rows(connection, _TRANSACTIONS):
        lines[row.id] = (
            f"connection {row.id} ({row.user}@{row.host}, {row.command}, "
            f"in a transaction for {row.seconds} s): {row.query or 'idle'}; KILL {row.id} ends it"
        )
    for row in _of_metadata_locks(connection, tables):
        lines.setdefault(row.id, _line(row))
    for own in connection.info.get(OWN_SESSIONS, ()):
        lines.pop(own, None)
    return [*list(lines.values())[:_SHOWN], *_prepared(connection)[:_SHOWN]]


def _line(row: Row[Any]) -> str:
    name, mode = row._mapping.get("name"), row._mapping.get("mode")
    what = (
        f"holds {mode} on {name}" if name else "a table is in use, and this idle session may have locked it"
    )
    return (
        f"connection {row.id} ({row.user}@{row.host}, {row.command}, {what}): "
        f"{row.query or 'idle'}; KILL {row.id} ends it"
    )


def _of_metadata_locks(connection: Connection, tables: Sequence[str]) -> list[Row[Any]]:
    for query in (_PERFORMANCE_SCHEMA, _PLUGIN):
        try:
            found = _rows(connection, query, names=list(tables) or [""])
        except ServerFault:
            # This product has not that table, or this user may not read it.
            connection.rollback()
        else:
            if found:
                return found
    return _rows(connection, _IDLE) if _in_use(connection, tables) else []


def _in_use(connection: Connection, tables: Sequence[str]) -> bool:
    rows = connection.execute(sa.text("SHOW OPEN TABLES WHERE `Database` = DATABASE() AND In_use > 0")).all()
    return any(row[1] in tables for row in rows)


def _prepared(connection: Connection) -> list[str]:
    """The XA transactions that were prepared: the end of their session does not end them."""
    for query in ("XA RECOVER FORMAT='SQL'", "XA RECOVER CONVERT XID"):
        try:
            rows = connection.execute(sa.text(query)).all()
        except ServerFault:
            # The other product's spelling; or this user may not see them.
            connection.rollback()
        else:
            names = [_xid(row) for row in rows]
            return [
                f"a prepared XA transaction may hold it; XA ROLLBACK {name} (or XA COMMIT {name}) ends it"
                for name in names
            ]
    return []


def _xid(row: Row[Any]) -> str:
    """The name of an XA transaction as XA ROLLBACK takes it."""
    data = row.data.decode() if isinstance(row.data, bytes) else str(row.data)
    if not data.startswith("0x"):
        return data
    digits = data[2:]
    middle, end = 2 * row.gtrid_length, 2 * (row.gtrid_length + row.bqual_length)
    return f"X'{digits[:middle]}',X'{digits[middle:end]}',{row.formatID}"


def _rows(connection: Connection, query: str, **parameters: Any) -> list[Row[Any]]:
    statement = sa.text(query)
    if parameters:
        statement = statement.bindparams(*(sa.bindparam(name, expanding=True) for name in parameters))
    return list(connection.execute(statement, parameters).all())
