"""PostgreSQL, 14 to 18."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate import exceptions
from online_migrate.dialects import postgresql_rows
from online_migrate.dialects import postgresql_session as sessions
from online_migrate.dialects.base import Dialect, LockTarget
from online_migrate.dialects.blame import Blame
from online_migrate.dialects.bulk import ArrayWriter, BulkWriter, plain_name
from online_migrate.dialects.catalog import Catalog
from online_migrate.dialects.errors import driver_error_of, words_of
from online_migrate.dialects.postgresql_catalog import PostgreSQLCatalog
from online_migrate.dialects.postgresql_publication import publication_problem
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.statement import dropped, first_word, identifiers, tokens
from online_migrate.dialects.values import postgresql as postgresql_values

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from online_migrate.dialects.values.exact import Codec
_BLOCKERS = """
    SELECT DISTINCT a.pid, a.usename, a.application_name, a.state,
           round(extract(epoch FROM clock_timestamp() - a.xact_start))::bigint AS seconds,
           left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 80) AS query
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    JOIN pg_class c ON c.oid = l.relation
    WHERE l.granted AND a.pid <> pg_backend_pid() AND c.relname = ANY(:names)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY seconds DESC NULLS LAST LIMIT 5
"""
_PREPARED = """
    SELECT quote_literal(x.gid) AS gid, x.owner,
           round(extract(epoch FROM clock_timestamp() - x.prepared))::bigint AS seconds
    FROM pg_prepared_xacts x
    WHERE x.database = current_database() AND EXISTS (
        SELECT FROM pg_locks own
        JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction AND l.pid IS NULL
        JOIN pg_class c ON c.oid = l.relation
        WHERE own.transactionid = x.transaction AND own.pid IS NULL AND c.relname = ANY(:names))
    ORDER BY x.prepared LIMIT 5
"""


_OID = "SELECT CAST(CAST(to_regclass(:name) AS oid) AS bigint)"
_TRANSACTION = """
    SELECT l.virtualtransaction, current_setting('transaction_isolation')
    FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'virtualxid' AND l.granted
"""
_LOCKED = """
    SELECT count(DISTINCT l.relation) FROM pg_locks l
    WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation'
      AND l.mode = 'AccessExclusiveLock' AND l.virtualtransaction = :transaction
      AND l.relation = ANY(CAST(:oids AS oid[]))
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TRIGGER = """
    SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgname = :name AND c.relname = ANY(:names) AND NOT t.tgisinternal
"""
_FUNCTION = """
    SELECT pg_get_functiondef(oid) FROM pg_proc
    WHERE proname = :name AND prokind = 'f' AND pg_function_is_visible(oid)
"""
_INVALID_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE x.relname = ANY(:names) AND NOT i.indisvalid
"""
_BARE_TYPES = """
    SELECT a.attname AS name, format_type(a.atttypid, -1) AS type
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
    WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
      AND t.typcategory <> 'A' AND coalesce(b.typcategory, 'U') <> 'A' AND t.typtype IN ('b', 'e', 'd')
"""
_LOAD = """
    SELECT count(*) FILTER (WHERE state = 'active') AS active_backends,
           count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_backends,
           count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
           (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables) AS dead_tuples
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_REPLICAS = """
    SELECT r.application_name AS name, r.state, r.replay_lsn - '0/0'::pg_lsn AS place
    FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
    WHERE s.slot_type IS DISTINCT FROM 'logical'
"""
"""Who has a state and no place only keeps the log (pg_receivewal, a backup); no state: we may not see it."""
_LOCATION = """
    SELECT current_database() AS database, current_user AS role,
           replace(replace(current_setting('search_path'), '"', ''), ' ', '') AS search_path
"""
_BLOCKED = """
    SELECT count(*) FROM pg_locks
    WHERE NOT granted AND pid <> ALL(:sessions) AND pg_blocking_pids(pid) && CAST(:sessions AS int[])
"""
_SYSTEMIC = frozenset({"0A", "25", "28", "3D", "3F", "42", "53", "57", "58", "F0"})
"""Classes of SQLSTATE: syntax and access, resources, the operator, the system, features that are missing."""
_OF_VALUES = frozenset({"42804", "42846"})
"""A value of a type that the column does not take; psycopg2 writes values into the statement."""
_LIMITS = "54"
"""A class of SQLSTATE: an index entry, a row, a text or a statement that is too large for the server."""
_BY_USER = "user request"
"""What pg_cancel_backend says; every other 57014 is of a timeout."""
_OF_A_ROW = frozenset({"ExecWithCheckOptions"})
"""The server's functions that refuse a row by a policy, with the code of a missing right."""
_OF_THE_TABLE = frozenset({"CheckCmdReplicaIdentity"})
"""Those that refuse every UPDATE of a table: it is published, and has no replica identity."""
_LARGEST_MESSAGE = 0x3FFFFFFE
"""Bytes; at a larger one the server closes the connection."""
_CONCURRENTLY = 1800.0
"""Seconds that a CONCURRENTLY statement may wait for transactions that are older than it."""


@dataclasses.dataclass(frozen=True)
class _LockProof:
    transaction: str
    oids: frozenset[int]


class PostgreSQL(Dialect):
    """DDL is transactional; locks are taken and freed with the transaction."""

    name: ClassVar[str] = "postgresql"
    catalog: ClassVar[type[Catalog]] = PostgreSQLCatalog
    streams: ClassVar[bool] = True
    extra: ClassVar[str] = "postgresql"
    # Under REPEATABLE READ the look after LOCK TABLE would see the rows of before it.
    ddl_isolation: ClassVar[IsolationLevel | None] = "READ COMMITTED"
    update_returning: ClassVar[bool] = True
    location_hint: ClassVar[str] = (
        "set it for every connection: in the URL (?options=-csearch_path%3DSCHEMA, ?options=-crole%3DROLE), "
        "or by ALTER ROLE ... SET search_path = SCHEMA"
    )
    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset({"55P03"})
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({"57014"})
    conflict_codes: ClassVar[frozenset[object]] = frozenset({"40001", "40P01", "72000"})
    missing_codes: ClassVar[frozenset[object]] = frozenset({"42703", "42P01", "42883", "42704", "3F000"})
    connection_codes: ClassVar[frozenset[object]] = frozenset(
        {"57P01", "57P02", "57P03", "57P05", "08000", "08001", "08003", "08004", "08006", "08007", "08P01"}
        # An idle transaction, or a long one, that the server ends; no session is left; PgBouncer's own.
        | {"25P03", "25P04", "53300"}
    )
    # Memory, temporary files; the other limits are a class of their own.
    size_codes: ClassVar[frozenset[object]] = frozenset({"53200", "53400"})

    def create_engine(self, url: sa.URL) -> Engine:
        if "application_name" not in url.query:
            url = url.update_query_dict({"application_name": "online-migrate"})
        if "connect_timeout" not in url.query:
            url = url.update_query_dict({"connect_timeout": "10"})
        engine = super().create_engine(sessions.url_of(url))
        sessions.install(engine)
        self.refuse_large_statements(engine)
        return engine

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        return sessions.exact(connection)

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        # A setting lasts only if the transaction that made it commits.
        sessions.for_scripts(connection)
        connection.execute(sa.text(f"SET lock_timeout = {_ms(lock_timeout)}"))
        connection.execute(sa.text(f"SET idle_in_transaction_session_timeout = {_ms(session_timeout)}"))
        connection.commit()

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, lasting: bool = True
    ) -> None:
        super().prepare_data_session(connection, idle_timeout=idle_timeout, lasting=lasting)
        connection.execute(sa.text("SET lock_timeout = '10s'"))
        if not lasting:
            connection.execute(sa.text("SET synchronous_commit = off"))
        connection.execute(sa.text(f"SET idle_in_transaction_session_timeout = {_ms(idle_timeout)}"))
        connection.commit()

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        row = connection.execute(sa.text(_LOAD)).one()
        return {name: float(value) for name, value in row._mapping.items()}

    def replayed(self, connection: Connection) -> tuple[int, dict[str, int | None]]:
        rows = self.rows(connection, _REPLICAS)
        found = [row for row in rows if row.state is None or row.place is not None]
        if not found:
            return 0, {}
        # After the replicas: nobody is then ahead of the primary.
        here = connection.scalar(sa.text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))
        return int(here or 0), {row.name: None if row.place is None else int(row.place) for row in found}

    def session_id(self, connection: Connection) -> int:
        return int(connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0)

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        if not sessions:
            return 0
        return int(connection.scalar(sa.text(_BLOCKED), {"sessions": list(sessions)}) or 0)

    def epoch(self) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp())), sa.BigInteger)

    def read_only(self, connection: Connection) -> None:
        # BEGIN READ ONLY, each time: a setting of the session would be the next client's behind PgBouncer.
        connection.execution_options(postgresql_readonly=True)

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        before = connection.scalar(sa.text("SELECT current_setting('statement_timeout')"))
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {_ms(seconds)}"))
        yield
        # Not in a ``finally``: after an error the transaction takes no statement, and its end resets this.
        connection.execute(sa.text(f"SET LOCAL statement_timeout = '{before}'"))

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        taken = connection.scalar(sa.text(f"SELECT pg_try_advisory_lock({_advisory_key(name)})"))
        connection.commit()
        return bool(taken)

    def free_named_lock(self, connection: Connection, name: str) -> None:
        connection.execute(sa.text(f"SELECT pg_advisory_unlock({_advisory_key(name)})"))
        connection.commit()

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        listed = ", ".join(_quoted(connection, targets))
        connection.execute(sa.text(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE"))

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """The transaction, and the number of each table: that stays when our own statement drops it."""
        transaction, isolation = connection.execute(sa.text(_TRANSACTION)).one()
        if isolation != "read committed":
            # What is read under the lock would be as old as the transaction.
            raise exceptions.NotUnderLock(
                statement=f"SET TRANSACTION ISOLATION LEVEL {isolation}".upper(),
                reason="rows that were written before the lock was taken would not be seen",
                hint="take it out of the script",
            )
        names = _quoted(connection, targets)
        oids = frozenset(int(connection.scalar(sa.text(_OID), {"name": name}) or 0) for name in names)
        return _LockProof(transaction, oids)

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        assert isinstance(proof, _LockProof)
        parameters = {"transaction": proof.transaction, "oids": sorted(proof.oids)}
        return int(connection.scalar(sa.text(_LOCKED), parameters) or 0) == len(proof.oids)

    def blocking_sessions(self, connection: Connection, tables: Sequence[str]) -> list[str]:
        return [
            f"pid {row.pid} ({row.usename}, {row.application_name or 'no application name'}, {row.state}, "
            f"in a transaction for {row.seconds or 0} s): {row.query}; "
            f"SELECT pg_terminate_backend({row.pid}) ends it"
            for row in self.rows(connection, _BLOCKERS, names=list(tables))
        ] + [
            f"prepared transaction {row.gid} ({row.owner}, prepared {row.seconds} s ago); "
            f"ROLLBACK PREPARED {row.gid} (or COMMIT PREPARED) ends it"
            for row in self.rows(connection, _PREPARED, names=list(tables))
        ]

    @contextlib.contextmanager
    def patience(self, connection: Connection, statement: str) -> Iterator[None]:
        if not _is_concurrent(statement):
            yield
            return
        # It waits for every transaction that is older, and nobody who reads or writes waits for it.
        before = connection.scalar(sa.text("SELECT current_setting('lock_timeout')"))
        connection.execute(sa.text(f"SET lock_timeout = {_ms(_CONCURRENTLY)}"))
        try:
            yield
        finally:
            connection.execute(sa.text(f"SET lock_timeout = '{before}'"))

    def tidy(self, connection: Connection, statement: str) -> None:
        """Drops the invalid index of a CREATE INDEX CONCURRENTLY that failed; IF NOT EXISTS would take it."""
        if not _is_concurrent(statement) or first_word(statement) != "CREATE":
            return
        for row in self.rows(connection, _INVALID_INDEXES, names=identifiers(statement)):
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {row.name}")

    def code_of(self, error: BaseException) -> object:
        return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)

    def blame(self, error: BaseException) -> Blame:
        found = super().blame(error)
        code = str(self._code(error) or "")
        if found is not Blame.ROW or not code:
            return found
        if code[:2] == _LIMITS:
            return Blame.SIZE
        if code in self.statement_timeout_codes:
            return Blame.MIGRATION if _BY_USER in words_of(error) else Blame.SIZE
        source = getattr(getattr(driver_error_of(error), "diag", None), "source_function", None)
        if source in _OF_THE_TABLE:
            return Blame.MIGRATION
        if code[:2] in _SYSTEMIC and code not in _OF_VALUES and source not in _OF_A_ROW:
            return Blame.MIGRATION
        return Blame.ROW

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        return _LARGEST_MESSAGE, "the largest message of the protocol"

    def is_connection_lost(self, error: BaseException) -> bool:
        if super().is_connection_lost(error):
            return True
        # A connection that never came about has no SQLSTATE.
        module = type(error).__module__
        code = self._code(error)
        return code is None and "DBConnectionError" in type(error).__name__ and "oslo_db" in module

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        trigger, function = dropped(drop, "TRIGGER"), dropped(drop, "FUNCTION")
        if trigger is not None:
            found = self.rows(connection, _TRIGGER, name=trigger, names=identifiers(drop))
        elif function is not None:
            found = self.rows(connection, _FUNCTION, name=function)
        else:
            return None
        return [str(row[0]) for row in found] or None

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        # Every version of a row has the number of the transaction that wrote it.
        return f"CAST({name}.xmin AS text)"

    def table_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        name = plain_name(connection, schema, table)
        return publication_problem(connection, name) or postgresql_rows.walk_problem(connection, name)

    def visibility_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return postgresql_rows.visibility_problem(connection, plain_name(connection, schema, table))

    def functions_problem(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        return postgresql_rows.functions_problem(connection, called, words, text)

    def folded(self, name: str, *, quoted: bool) -> str:
        return name if quoted else name.lower()

    def location(self, connection: Connection) -> dict[str, str]:
        row = connection.execute(sa.text(_LOCATION)).one()
        return {str(name): str(value) for name, value in row._mapping.items()}

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        name = plain_name(connection, table.schema, table.name)
        types = {row.name: row.type for row in self.rows(connection, _BARE_TYPES, table=name)}
        return ArrayWriter(table, key, constant, types)

    def text_encoding(self, connection: Connection) -> str:
        return sessions.python_encoding(str(connection.scalar(sa.text("SHOW server_encoding"))))

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        found = {key: postgresql_values.codec_of(column.type) for key, column in table.c.items()}
        return {key: codec for key, codec in found.items() if codec is not None}


def _is_concurrent(statement: str) -> bool:
    return any(token.word == "CONCURRENTLY" for token in tokens(statement))


def _quoted(connection: Connection, targets: Sequence[LockTarget]) -> list[str]:
    """The names of the tables, each once, sorted."""
    quote = connection.dialect.identifier_preparer.quote
    tables = sorted({(target.schema or "", target.table) for target in targets})
    return [".".join(quote(part) for part in table if part) for table in tables]


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _advisory_key(name: str) -> int:
    digest = hashlib.sha256(f"online_migrate/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
