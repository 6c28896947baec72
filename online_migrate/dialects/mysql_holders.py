"""The sessions that hold the locks for which a DDL statement on MySQL or MariaDB waits.

The view of metadata locks (MySQL: performance_schema, MariaDB: the same, or the plugin metadata_lock_info)
lists all of them. A server without such a view shows its open transactions, and that a table is in use, but
not by which session: then all sessions that may hold the lock are listed. A prepared XA transaction no longer
has a session.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects.base import OWN_SESSIONS
from online_migrate.dialects.facets.holder import Holder
from online_migrate.dialects.mysql_transactions import open_transactions, optional_rows, rows_of
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.sql.table_lock import Locked, TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

_UNSURE = "the server does not show which session holds the lock"
HIDDEN = "this user may not see it"
_LOCKED = {
    "performance_schema": """
        SELECT DISTINCT t.processlist_id AS id, m.object_name AS name
        FROM performance_schema.metadata_locks m
        JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
        WHERE m.lock_status = 'GRANTED' AND m.object_type = 'TABLE' AND m.object_name IN :names
          AND (m.object_schema IN :schemas OR m.object_schema = DATABASE())
          AND t.processlist_id <> CONNECTION_ID()
    """,
    "metadata_lock_info": """
        SELECT DISTINCT m.thread_id AS id, m.table_name AS name
        FROM information_schema.metadata_lock_info m
        WHERE m.table_name IN :names AND (m.table_schema IN :schemas OR m.table_schema = DATABASE())
          AND m.thread_id <> CONNECTION_ID()
    """,
}
"""The views of metadata locks: the sessions that hold one, and the table."""
_BACKUP_LOCKS = """
    SELECT DISTINCT t.processlist_id AS id, 'every table' AS name
    FROM performance_schema.metadata_locks m
    JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
    WHERE m.lock_status = 'GRANTED' AND m.lock_type = 'SHARED'
      AND m.object_type IN ('GLOBAL', 'COMMIT', 'BACKUP LOCK') AND t.processlist_id <> CONNECTION_ID()
"""
"""MySQL: the sessions with FLUSH TABLES WITH READ LOCK, which stops every write, or LOCK INSTANCE FOR BACKUP,
which stops DDL. A write holds these locks as INTENTION_EXCLUSIVE."""
_PROCESSES = """
    SELECT p.id, p.user, p.host, p.db, p.command, p.time AS seconds, LEFT(p.info, 120) AS query,
           DATABASE() AS current_db
    FROM information_schema.processlist p WHERE p.id <> CONNECTION_ID()
"""
_LAST_STATEMENTS = """
    SELECT t.processlist_id AS id, LEFT(e.sql_text, 120) AS query,
           (SELECT a.attr_value FROM performance_schema.session_connect_attrs a
            WHERE a.processlist_id = t.processlist_id AND a.attr_name = 'program_name') AS program
    FROM performance_schema.threads t
    JOIN performance_schema.events_statements_current e ON e.thread_id = t.thread_id
    WHERE t.processlist_id IN :ids
"""
_PRIVILEGES = "SELECT grantee, privilege_type FROM information_schema.user_privileges"
_TRIGGERS = """
    SELECT event_object_table AS name, event_object_schema AS schema_name FROM information_schema.triggers
    WHERE trigger_name IN :names AND (trigger_schema IN :schemas OR trigger_schema = DATABASE())
"""
_SUPER = frozenset({"SUPER", "CONNECTION_ADMIN", "CONNECTION ADMIN", "SYSTEM_USER"})
_REPLICATION = re.compile(r"Binlog Dump|Slave|Replica|^Connect$", re.IGNORECASE)
_SYSTEM_USERS = frozenset(
    {"system user", "event_scheduler", "mysql.session", "mysql.sys", "mysql.infoschema"}
)
_DUMP = re.compile(r"/\*!40001 SQL_NO_CACHE \*/", re.IGNORECASE)
_DUMP_PROGRAM = re.compile(r"dump|mydumper|backup", re.IGNORECASE)


def tables_of(connection: Connection, locks: Sequence[TableLock]) -> list[TableLock]:
    """Returns the locks on tables that *locks* are, with the tables of the triggers among them."""
    tables = [lock for lock in locks if lock.kind is Locked.TABLE]
    triggers = [lock for lock in locks if lock.kind is Locked.TRIGGER]
    if triggers:
        found = rows_of(connection, _TRIGGERS, **_names(triggers))
        tables += [TableLock(row.name, row.schema_name) for row in found]
    return list(dict.fromkeys(tables))


def lock_holders(connection: Connection, locks: Sequence[TableLock], *, blocked: bool) -> list[Holder]:
    """Returns the sessions that hold a lock on the tables of *locks*.

    *blocked*: a statement is known to wait for them. Then the sessions that may hold a lock are listed too,
    on a server that does not show the locks, and the prepared XA transactions on every server.
    """
    tables = tables_of(connection, locks)
    found = _shown(connection, tables, blocked=blocked)
    if found is None:
        found = _possible(connection, tables) if blocked else []
    return [*found, *prepared_transactions(connection)] if blocked else found


def _shown(connection: Connection, tables: Sequence[TableLock], *, blocked: bool) -> list[Holder] | None:
    """Returns the holders in a view of metadata locks; None if there is no view that this user may read."""
    for query in _LOCKED.values():
        try:
            found = rows_of(connection, query, **_names(tables))
        except DATABASE_ERRORS:
            # This server does not have that view, or this user may not read it.
            connection.rollback()
            continue
        if blocked and "performance_schema" in query:
            found += rows_of(connection, _BACKUP_LOCKS)
        if found or "performance_schema" not in query or _is_on(connection):
            return _sessions(connection, {row.id: str(row.name) for row in found}, spared="")
    return None


def _is_on(connection: Connection) -> bool:
    """Returns True if performance_schema is on: while it is off, its tables are empty."""
    return bool(connection.scalar(sa.text("SELECT @@performance_schema")))


def _possible(connection: Connection, tables: Sequence[TableLock]) -> list[Holder]:
    """Returns the sessions that may hold a lock on *tables*, on a server that does not show the locks.

    These are the sessions of this database with an open transaction; if a table is in use, also the idle
    ones. A session that has the only open transaction of the server holds the lock.
    """
    in_use = _in_use(connection, tables)
    here = {
        row.id: row.command
        for row in optional_rows(connection, _PROCESSES)
        if row.db in (None, row.current_db)
    }
    idle = [session for session, command in here.items() if in_use and command == "Sleep"]
    own = connection.info.get(OWN_SESSIONS, ())
    transactions = [session for session in open_transactions(connection) if session not in own]
    candidates = dict.fromkeys([*(s for s in transactions if s in here), *idle], "")
    certain = len(transactions) == 1 and not in_use
    found = _sessions(connection, candidates, spared="" if certain else _UNSURE)
    return [dataclasses.replace(holder, is_certain=certain) for holder in found]


def _sessions(connection: Connection, locked: Mapping[int, str], *, spared: str) -> list[Holder]:
    """Returns the holders with the given session ids, the oldest first.

    *locked*: the table for each of them. *spared*: the reason why none of them is ended.
    """
    own = connection.info.get(OWN_SESSIONS, ())
    wanted = {session: table for session, table in locked.items() if session not in own}
    if not wanted:
        return []
    transactions = open_transactions(connection)
    last = {row.id: row for row in optional_rows(connection, _LAST_STATEMENTS, ids=list(wanted))}
    privileges = optional_rows(connection, _PRIVILEGES)
    found = []
    for row in optional_rows(connection, _PROCESSES):
        if row.id in wanted:
            age, table = transactions.get(row.id), wanted.pop(row.id)
            holder = session_holder(row, table, age, last.get(row.id), privileges)
            found.append(dataclasses.replace(holder, spared=holder.spared or spared))
    hidden = [Holder(id=f"{id_}", description=f"connection {id_} ({HIDDEN}", spared=HIDDEN) for id_ in wanted]
    return sorted(found, key=lambda holder: -(holder.seconds or 0.0)) + hidden


def session_holder(
    row: Row[Any] | Any,
    table: str,
    transaction: float | None,
    last: Row[Any] | Any | None,
    privileges: Iterable[Sequence[Any]],
) -> Holder:
    """Returns the holder that a row of the process list describes. Pure.

    *transaction*: the age of its transaction; None: it has none, or this user may not see it. *last*: its
    last statement and its program. *privileges*: the grantees on the server and their privileges.
    """
    idle = row.command == "Sleep"
    query = row.query or getattr(last, "query", None) or "no statement is shown"
    if transaction is None:
        state = f"{'idle' if idle else row.command}, with a lock on {table or 'a table'}"
    else:
        state = "idle in transaction" if idle else f"{row.command}, in a transaction"
    return Holder(
        id=str(row.id),
        description=f"connection {row.id} ({row.user}@{row.host}",
        state=state,
        table=table,
        seconds=float(row.seconds or 0) if transaction is None else transaction,
        idle=float(row.seconds or 0) if idle else 0.0,
        statement=" ".join(str(query).split()),
        ends=f"KILL {row.id}",
        spared=_spared(row, f"{query}", getattr(last, "program", None) or "", privileges),
    )


def _spared(row: Row[Any] | Any, query: str, program: str, privileges: Iterable[Sequence[Any]]) -> str:
    if _REPLICATION.search(row.command or ""):
        return "it replicates"
    if row.user in _SYSTEM_USERS or row.command == "Daemon":
        return "it is a session of the server"
    if _DUMP.search(query) or _DUMP_PROGRAM.search(program):
        return f"it is a dump ({program or 'its statement is that of mysqldump'})"
    granted = {right for grantee, right in privileges if str(grantee).startswith(f"'{row.user}'@")}
    if not granted:
        return "this user may not see its privileges"
    return "it is a session of an administrator" if granted & _SUPER else ""


def _in_use(connection: Connection, tables: Sequence[TableLock]) -> bool:
    names = {table.name for table in tables}
    shown = connection.execute(sa.text("SHOW OPEN TABLES WHERE `Database` = DATABASE() AND In_use > 0"))
    return any(row[1] in names for row in shown.all())


def prepared_transactions(connection: Connection) -> list[Holder]:
    """Returns the prepared XA transactions: the end of its session does not end one of them."""
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    query = "XA RECOVER FORMAT='SQL'" if is_mariadb else "XA RECOVER CONVERT XID"
    found = optional_rows(connection, query)
    return [
        Holder(
            id=f"xa {name}",
            description="a prepared XA transaction (it may hold the lock",
            ends=f"XA ROLLBACK {name} (or XA COMMIT {name})",
            spared="it is a prepared transaction",
        )
        for name in map(_xid, found)
    ]


def _xid(row: Row[Any]) -> str:
    """Returns the identifier of an XA transaction in the form that XA ROLLBACK accepts."""
    data = row.data.decode() if isinstance(row.data, bytes) else str(row.data)
    if not data.startswith("0x"):
        return data
    digits = data[2:]
    middle, end = 2 * row.gtrid_length, 2 * (row.gtrid_length + row.bqual_length)
    return f"X'{digits[:middle]}',X'{digits[middle:end]}',{row.formatID}"


def _names(locks: Sequence[TableLock]) -> dict[str, list[str]]:
    return {
        "names": [lock.name for lock in locks] or [""],
        "schemas": [lock.schema for lock in locks if lock.schema] or [""],
    }
