"""The sessions and prepared transactions that hold the locks of a table on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects.facets.holder import Holder
from online_migrate.dialects.query import rows
from online_migrate.sql.table_lock import Locked, Strength, TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_CONFLICTS: Mapping[Strength, Sequence[str]] = {
    Strength.EXCLUSIVE: _MODES,
    Strength.WRITE: _MODES[2:],
    Strength.BUILD: [mode for mode in _MODES[2:] if mode != "ShareLock"],
    Strength.MAINTENANCE: _MODES[3:],
}
"""The modes with which each lock of a statement conflicts."""

_TARGETS = """
    WITH RECURSIVE named AS (
        SELECT CAST(to_regclass(n.name) AS oid) AS oid, n.mode, n.dropped
        FROM unnest(CAST(:names AS text[]), CAST(:modes AS text[]), CAST(:dropped AS text[]))
             AS n(name, mode, dropped)
    ), located AS (
        SELECT oid, mode FROM named UNION
        SELECT i.indrelid, mode FROM named JOIN pg_index i ON i.indexrelid = named.oid UNION
        SELECT c.confrelid, mode FROM named JOIN pg_constraint c ON c.conrelid = named.oid
        AND c.contype = 'f' AND (c.conname = named.dropped OR named.dropped = '*')
    ), targets AS (
        SELECT oid, mode FROM located UNION
        SELECT i.inhrelid, t.mode FROM targets t JOIN pg_inherits i ON i.inhparent = t.oid
    )
"""
"""A statement on an index locks its table, one on a parent its partitions, and one that drops a foreign key
the table that the key refers to."""
_COLUMNS = """
           a.usename, a.application_name, a.backend_type, a.state, a.leader_pid,
           extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds,
           extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS unchanged,
           extract(epoch FROM a.backend_start)::numeric::text AS started,
           left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 120) AS query,
           coalesce(r.rolsuper, false) AS superuser,
           (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS can_cancel_vacuum
"""
"""What :func:`session_holder` needs, beside the process id and the table."""
_SESSIONS = (
    _TARGETS
    + """
    SELECT DISTINCT ON (l.pid) l.pid, CAST(l.relation AS regclass)::text AS "table",
"""
    + _COLUMNS
    + """
    FROM targets t JOIN pg_locks l ON l.relation = t.oid AND l.mode = t.mode
    JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_roles r ON r.oid = a.usesysid
    WHERE l.granted AND l.locktype = 'relation' AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY l.pid
"""
)
_BLOCKING = (
    "SELECT a.pid, '' AS table,"
    + _COLUMNS
    + """
    FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.pid = ANY(pg_blocking_pids(:session))
"""
)
_PREPARED_BLOCKS = """
    SELECT quote_literal(x.gid) AS gid, x.owner,
           extract(epoch FROM clock_timestamp() - x.prepared)::float8 AS seconds
    FROM pg_prepared_xacts x WHERE x.database = current_database() AND 0 = ANY(pg_blocking_pids(:session))
"""
"""The server shows the process id 0 for a prepared transaction, and not which one it is."""
_PREPARED = (
    _TARGETS
    + """
    SELECT DISTINCT quote_literal(x.gid) AS gid, x.owner,
           extract(epoch FROM clock_timestamp() - x.prepared)::float8 AS seconds
    FROM pg_prepared_xacts x
    JOIN pg_locks own ON own.transactionid = x.transaction AND own.pid IS NULL
    JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction AND l.pid IS NULL
    JOIN targets t ON l.relation = t.oid AND l.mode = t.mode
    WHERE x.database = current_database()
"""
)
_DUMP = re.compile(r"pg_dump|pg_dumpall|pg_restore|pg_basebackup|pgbackrest|barman", re.IGNORECASE)
_WRAPAROUND = "to prevent wraparound"


def lock_holders(connection: Connection, locks: Sequence[TableLock]) -> list[Holder]:
    """Returns the sessions and the prepared transactions with locks that conflict with *locks*."""
    tables = [lock for lock in locks if lock.kind is not Locked.TRIGGER]
    wanted = [
        (_quoted(connection, lock), mode, dropped)
        for lock in tables
        for mode in _CONFLICTS[lock.strength]
        for dropped in lock.constraints or ("",)
    ]
    if not wanted:
        return []
    # The view shows what it showed at its first use in the transaction, unless that is cleared.
    connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
    values = dict(zip(("names", "modes", "dropped"), map(list, zip(*wanted, strict=True)), strict=True))
    sessions = [holder for row in rows(connection, _SESSIONS, **values) for holder in [session_holder(row)]]
    prepared = [_prepared_holder(row) for row in rows(connection, _PREPARED, **values)]
    found = [holder for holder in sessions if holder is not None] + prepared
    return sorted(found, key=lambda holder: -(holder.seconds or 0.0))


def blocking(connection: Connection, session: int) -> list[Holder]:
    """Returns the sessions and prepared transactions that the statement of *session* waits for now."""
    connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
    sessions = [session_holder(row) for row in rows(connection, _BLOCKING, session=session)]
    prepared = [_prepared_holder(row) for row in rows(connection, _PREPARED_BLOCKS, session=session)]
    found = [holder for holder in sessions if holder is not None] + prepared
    return sorted(found, key=lambda holder: -(holder.seconds or 0.0))


def session_holder(row: Row[Any] | Any) -> Holder | None:
    """Returns the holder that a row of the catalog describes; None if it yields to the statement. Pure.

    The server cancels an autovacuum that does not prevent wraparound as soon as a statement has waited for
    ``deadlock_timeout``. Only a superuser can set that below the time that a statement waits.
    """
    vacuum = row.backend_type == "autovacuum worker"
    wraparound = vacuum and _WRAPAROUND in row.query
    if row.backend_type == "parallel worker" or (vacuum and not wraparound and row.can_cancel_vacuum):
        return None
    state = str(row.state or "state not shown to this user")
    transaction = state if "transaction" in state else f"{state}, in a transaction"
    return Holder(
        id=f"{row.pid}/{row.started}",
        description=f"pid {row.pid} ({row.usename or row.backend_type}, "
        f"{row.application_name or 'no application name'}",
        state=transaction,
        table=row.table,
        seconds=row.seconds,
        idle=(row.unchanged or 0.0) if state.startswith("idle") else 0.0,
        statement=row.query,
        ends=f"SELECT pg_terminate_backend({row.pid})",
        spared=_spared(row),
        never_yields=wraparound,
    )


def _spared(row: Row[Any] | Any) -> str:
    if row.backend_type == "walsender" or "logical replication" in str(row.backend_type):
        return "it replicates"
    if row.backend_type is None:
        return "this user may not see what it is"
    if row.backend_type != "client backend":
        return f"it is a process of the server ({row.backend_type})"
    if _DUMP.search(row.application_name or ""):
        return f"it is a dump ({row.application_name})"
    return "it is a session of a superuser" if row.superuser else ""


def _prepared_holder(row: Row[Any]) -> Holder:
    return Holder(
        id=f"prepared {row.gid}",
        description=f"prepared transaction {row.gid} ({row.owner}, prepared",
        seconds=row.seconds,
        ends=f"ROLLBACK PREPARED {row.gid} (or COMMIT PREPARED)",
        spared="it is a prepared transaction",
        never_yields=True,
    )


def end_session(connection: Connection, holder: Holder) -> bool:
    """Ends the session of *holder*, unless another session has its process id by now."""
    pid, _, started = holder.id.partition("/")
    ended = connection.scalar(
        sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid = :pid AND extract(epoch FROM backend_start)::numeric::text = :started"
        ),
        {"pid": int(pid), "started": started},
    )
    return bool(ended)


def _quoted(connection: Connection, lock: TableLock) -> str:
    quote = connection.dialect.identifier_preparer.quote_identifier
    return ".".join(quote(part) for part in (lock.schema, lock.name) if part)
