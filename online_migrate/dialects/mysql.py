"""MySQL, 8.4 and 9.x; MariaDB overrides what it does otherwise."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import mysql

from online_migrate import exceptions
from online_migrate.dialects import mysql_charsets as charsets
from online_migrate.dialects import mysql_ddl, mysql_holders, mysql_privileges, mysql_rows
from online_migrate.dialects import mysql_session as sessions
from online_migrate.dialects.base import Dialect, LockTarget
from online_migrate.dialects.blame import Blame
from online_migrate.dialects.bulk import BulkWriter, UnionWriter, plain_name
from online_migrate.dialects.catalog import Catalog
from online_migrate.dialects.errors import AnyFault, ServerFault, words_of
from online_migrate.dialects.mysql_catalog import MySQLCatalog
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.statement import Kind, dropped, first_word, identifiers
from online_migrate.dialects.values import mysql as mysql_values
from online_migrate.sql.effect import Effect
from online_migrate.sql.verdict import Impact
from online_migrate.waiting import backoff

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from online_migrate.dialects.values.exact import Codec
_INDEXES_OF_COLUMN = """
    SELECT DISTINCT index_name FROM information_schema.statistics
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND column_name = :column
"""

_COLLATIONS = """
    SELECT column_name AS name, character_set_name AS charset, collation_name AS collation
    FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND collation_name IS NOT NULL
"""
_DATA_TYPES = """
    SELECT column_name AS name, data_type AS type FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_SELF_UPDATING = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND LOWER(extra) LIKE '%on update current_timestamp%'
"""
_ENGINES = """
    SELECT DISTINCT engine FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND table_name IN :names
"""
_LOCATION = "SELECT DATABASE() AS `database`, CURRENT_USER() AS user, CURRENT_ROLE() AS role"
_BEING_CHANGED = 1684
"""Somebody is creating, changing or dropping the table that DESCRIBE is about."""
_HISTORY = "history_list_length"
_HISTORY_LENGTH = """
    SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'
"""

_TRANSACTIONAL = frozenset({"INNODB", "NDBCLUSTER", "ROCKSDB", "TOKUDB"})
_NO_SUCH_KEY = 1176
"""There is no index of that name, or it is invisible."""
_SYSTEMIC = frozenset(
    # The disk is full; a table, column, function or right is missing; the server or the session is
    # read-only; an operator has stopped the statement (1317).
    {3, 1005, 1016, 1021, 1030, 1034, 1044, 1045, 1046, 1052, 1054, 1060, 1064, 1099, 1100}
    | {1109, 1114, 1142, 1143, 1146, 1149, 1193, 1210, 1227, 1235, 1290, 1305, 1317, 1318, 1356, 1370}
    | {_NO_SUCH_KEY}
    | {1243, 1295, 1449, 1582, 1598, 1630, 1665, 1792, 1836, 1906, 1907, 3105}
)
_NOT_LOCKED = 1100
_NO_LOCK = frozenset({_NOT_LOCKED, 1099, 1109, 1146, 1356})
"""Not locked, locked for reading only, or not there."""
_NEVER_LOCKED = "online_migrate_never_locked"
_TOO_LARGE = 1153
"""A packet is larger than max_allowed_packet; the server closes the connection after it."""
_SIZE = frozenset(
    # The packet (2020 is the client's word), a string, the placeholders, memory, the lock table.
    {_TOO_LARGE, 2020, 1162, 1390, 5, 1037, 1038, 1041, 1206, 1436}
    # The caches of the binary log, the write set of a group, the time of a statement.
    | {1197, 1705, 3100, 1969, 3024}
)
_AT_COMMIT = 1180
"""Got error NUMBER during COMMIT: the number is of the operating system, or of the storage engine."""
_COMMIT_CAUSES = {90: Blame.SIZE, 139: Blame.SIZE, 149: Blame.REPEAT, 146: Blame.REPEAT}
"""EMSGSIZE of Galera's largest write set, a row that is too long; a deadlock, a lock timeout."""
_SESSION_TIMEOUT = "online_migrate_session_timeout"
_IDLE = 3600
"""Seconds for which a migrator that holds no table may be idle: while rows are counted elsewhere."""


class MySQL(Dialect):
    """DDL commits by itself; only LOCK TABLES keeps writers out between a look and an ALTER."""

    name: ClassVar[str] = "mysql"
    catalog: ClassVar[type[Catalog]] = MySQLCatalog
    writer: ClassVar[type[UnionWriter]] = UnionWriter
    has_history: ClassVar[bool] = True
    extra: ClassVar[str] = "mysql"
    transactional_ddl: ClassVar[bool] = False
    metadata_only_under_lock: ClassVar[bool] = True
    lock_is_of_a_name: ClassVar[bool] = True
    row_value_ranges: ClassVar[bool] = False
    location_hint: ClassVar[str] = (
        "give the database in the URL (--url), and a role by SET DEFAULT ROLE ... TO the user of the URL"
    )
    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset({1205, 3572})
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({3024, 1317})
    # A definition, or a row, changed since the transaction began; a group chose another transaction.
    conflict_codes: ClassVar[frozenset[object]] = frozenset({1213, _BEING_CHANGED, 1020, 1412, 1615, 3101})
    existing_codes: ClassVar[frozenset[object]] = frozenset({1050, 1060, 1061, 1062})
    connection_codes: ClassVar[frozenset[object]] = frozenset(
        {1053, 2002, 2003, 2006, 2013, 2055, 4031, 1040, 1927}
        # A node that is not in the cluster; too many sessions; network errors; a packet that is too large.
        | {1047, 1203, 1226, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 2014, 2027, _TOO_LARGE, 2020}
    )
    missing_codes: ClassVar[frozenset[object]] = frozenset({1049, 1054, 1109, 1146, 1305, 1356})
    size_codes: ClassVar[frozenset[object]] = _SIZE
    migration_codes: ClassVar[frozenset[object]] = _SYSTEMIC
    blocked: ClassVar[str] = """
        SELECT count(DISTINCT w.requesting_thread_id)
        FROM performance_schema.data_lock_waits w
        JOIN performance_schema.threads b ON b.thread_id = w.blocking_thread_id
        JOIN performance_schema.threads r ON r.thread_id = w.requesting_thread_id
        WHERE b.processlist_id IN :sessions AND r.processlist_id NOT IN :sessions
    """
    """How many sessions wait for row locks of :sessions."""
    refused_algorithm_codes: ClassVar[frozenset[object]] = frozenset({1845, 1846, 1221, 4092})

    def __init__(self) -> None:
        self._other_charsets: dict[tuple[str | None, str], dict[str, str]] = {}
        """Of tables that were looked at; see :mod:`.mysql_charsets`."""

    def create_engine(self, url: sa.URL) -> Engine:
        if "connect_timeout" not in url.query:
            url = url.update_query_dict({"connect_timeout": "10"})
        engine = super().create_engine(sessions.url_of(url))
        dialect: Any = engine.dialect
        dialect.ischema_names = mysql_values.TypeNames(dialect.ischema_names)
        if engine.dialect.driver == "pymysql":
            _share_tls_context(engine)
        sessions.install(engine)
        self.refuse_large_statements(engine)
        return engine

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        return sessions.exact(connection)

    def before_statement(self, connection: Connection, statement: str) -> None:
        sessions.before_script_statement(connection, statement)

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        cursor = connection.connection.cursor()
        try:
            cursor.execute("SELECT @@max_allowed_packet")
            row = cursor.fetchone()
        finally:
            cursor.close()
        return None if row is None else (int(row[0]), "max_allowed_packet")

    def too_large_error(self, reason: str) -> tuple[Any, ...]:
        return (_TOO_LARGE, reason)

    def lock_wait(self, seconds: float) -> float:
        return max(1, math.ceil(seconds))

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        sessions.for_scripts(connection)
        seconds = self.lock_wait(lock_timeout)
        for setting, value in (
            ("lock_wait_timeout", seconds),
            ("innodb_lock_wait_timeout", seconds),
            ("wait_timeout", _IDLE),
        ):
            connection.execute(sa.text(f"SET SESSION {setting} = {value}"))
        connection.commit()
        connection.info[_SESSION_TIMEOUT] = max(1, math.ceil(session_timeout))

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, lasting: bool = True
    ) -> None:
        super().prepare_data_session(connection, idle_timeout=idle_timeout, lasting=lasting)
        connection.execute(
            sa.text(
                "SET SESSION lock_wait_timeout = 10, innodb_lock_wait_timeout = 10, "
                f"wait_timeout = {max(1, math.ceil(idle_timeout))}"
            )
        )
        connection.commit()

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        query = sa.text("SHOW GLOBAL STATUS WHERE Variable_name IN :names")
        rows = connection.execute(
            query.bindparams(sa.bindparam("names", expanding=True)), {"names": list(names)}
        )
        wanted = {name.lower(): name for name in names}
        found = {wanted[str(name).lower()]: float(value) for name, value in rows if _is_number(value)}
        if _HISTORY in names:
            found[_HISTORY] = self._history_length(connection)
        return found

    def _history_length(self, connection: Connection) -> float:
        # Not in SHOW GLOBAL STATUS, as MariaDB has it.
        return float(connection.scalar(sa.text(_HISTORY_LENGTH)) or 0)

    def session_id(self, connection: Connection) -> int:
        return int(connection.scalar(sa.text("SELECT CONNECTION_ID()")) or 0)

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        query = sa.text(self.blocked).bindparams(sa.bindparam("sessions", expanding=True))
        return int(connection.scalar(query, {"sessions": list(sessions) or [0]}) or 0)

    def flow_control(self, connection: Connection) -> float | None:
        rows = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'wsrep_flow_control_paused_ns'")).all()
        return float(rows[0][1]) / 1e9 if rows else None

    def epoch(self) -> sa.ColumnElement[int]:
        return sa.func.unix_timestamp(type_=sa.BigInteger())

    def read_only(self, connection: Connection) -> None:
        connection.execute(sa.text("SET SESSION TRANSACTION READ ONLY"))
        connection.commit()

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        before = connection.scalar(sa.text("SELECT @@SESSION.max_execution_time"))
        connection.execute(sa.text(f"SET SESSION max_execution_time = {math.ceil(seconds * 1000)}"))
        try:
            yield
        finally:
            if not connection.invalidated:
                connection.execute(sa.text(f"SET SESSION max_execution_time = {before}"))

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        taken = connection.scalar(
            sa.text("SELECT GET_LOCK(:name, 0)"), {"name": _lock_name(connection, name)}
        )
        connection.commit()
        return bool(taken)

    def free_named_lock(self, connection: Connection, name: str) -> None:
        connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": _lock_name(connection, name)})
        connection.commit()

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        listed = [f"{name} WRITE" for name in _named(connection, targets)]
        # Before the lock, not after: from then on a host that vanishes holds it for no longer than this.
        seconds = connection.info.get(_SESSION_TIMEOUT, _IDLE)
        connection.execute(sa.text(f"SET SESSION wait_timeout = {seconds}"))
        try:
            connection.execute(sa.text(f"LOCK TABLES {', '.join(listed)}"))
        except ServerFault as error:
            if self._code(error) not in mysql_privileges.DENIED:
                raise
            raise self._lock_denied(connection, error) from error

    @staticmethod
    def _lock_denied(connection: Connection, error: BaseException) -> exceptions.Refused:
        database, user = connection.execute(sa.text("SELECT DATABASE(), CURRENT_USER()")).one()
        return exceptions.Refused(
            reason=f"LOCK TABLES, under which rows are counted, is denied: {words_of(error)}",
            hint=mysql_privileges.grant(str(database), str(user)),
        )

    def unlock_tables(self, connection: Connection) -> None:
        connection.execute(sa.text("UNLOCK TABLES"))
        connection.execute(sa.text(f"SET SESSION wait_timeout = {_IDLE}"))

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        # LOCK TABLES is of the session, not of a transaction: there is nothing to compare with.
        return None

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        """Not from performance_schema, which is off on MariaDB and need not be readable.

        While a session holds LOCK TABLES, any name that is not among them gives error 1100, also one that
        does not exist; and one that is locked for reading alone gives error 1099 to FOR UPDATE.
        """
        if self._locked_code(connection, f"SELECT 1 FROM {_NEVER_LOCKED} LIMIT 0") != _NOT_LOCKED:
            return False
        reads = [f"SELECT 1 FROM {name} LIMIT 0 FOR UPDATE" for name in _named(connection, targets)]
        return all(self._locked_code(connection, read) is None for read in reads)

    def _locked_code(self, connection: Connection, read: str) -> object:
        """The server's error for *read*, if it is one of a name that is not there or not locked."""
        try:
            connection.execute(sa.text(read))
        except ServerFault as error:
            if self._code(error) not in _NO_LOCK:
                raise
            return self._code(error)
        return None

    def blocking_sessions(self, connection: Connection, tables: Sequence[str]) -> list[str]:
        return mysql_holders.holders(connection, tables)

    def code_of(self, error: BaseException) -> object:
        return error.args[0] if error.args and isinstance(error.args[0], int) else None

    def blame(self, error: BaseException) -> Blame:
        if self._code(error) != _AT_COMMIT:
            return super().blame(error)
        # The number stands in the message, whatever its language.
        found = re.search(r"\b\d+\b", words_of(error))
        return _COMMIT_CAUSES.get(int(found.group()) if found else 0, Blame.MIGRATION)

    def is_transient(self, error: BaseException) -> bool:
        return super().is_transient(error) or (
            self._code(error) == _AT_COMMIT and self.blame(error) is Blame.REPEAT
        )

    def sees_all_sessions(self, connection: Connection) -> bool:
        # GET_LOCK is of one node of a Galera cluster.
        return self._variables(connection, "wsrep_on").get("wsrep_on") != "ON"

    def no_form(self, statement: str) -> Problem:
        if not self.classify(statement).in_place:
            return super().no_form(statement)
        return Problem(
            reason="the server cannot do it without converting values, which may lose them",
            hint="add a column of the new type in an expand revision and fill it by a data migration; or, if "
            "no value can be lost, move it into a contract revision after this one, with requires = ()",
        )

    def is_refused_algorithm(self, error: BaseException) -> bool:
        return self._code(error) in self.refused_algorithm_codes

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        if isinstance(column.type, sa.Enum | mysql.SET):
            # ORDER BY sorts them by the number of their value, a comparison by its text.
            return sa.cast(column, mysql.CHAR(charset="utf8mb4")).collate("utf8mb4_bin")
        return super().key_expression(column, codec)

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        rows = self.rows(connection, _DATA_TYPES, table=table.name, schema=table.schema)
        types = {str(row.name): str(row.type) for row in rows}
        found = {key: mysql_values.codec_of(types.get(column.name, "")) for key, column in table.c.items()}
        # A SET that has '' among its values is read by its number.
        by_number = {
            key for key, column in table.c.items() if getattr(column.type, "retrieve_as_bitwise", False)
        }
        return {key: codec for key, codec in found.items() if codec is not None and key not in by_number}

    def data_problem(self, connection: Connection) -> Problem | None:
        variables = self._variables(connection, "log_bin", "binlog_format")
        if variables.get("log_bin") == "ON" and variables.get("binlog_format", "ROW") == "STATEMENT":
            return Problem(
                reason="binlog_format=STATEMENT refuses every write under READ COMMITTED (error 1665)",
                hint="SET GLOBAL binlog_format = 'ROW'   (or MIXED), then reconnect and run again",
            )
        return None

    def table_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        engine = connection.scalar(
            sa.text(
                "SELECT engine FROM information_schema.tables "
                "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
            ),
            {"schema": schema, "table": table},
        )
        if engine is None or str(engine).upper() in _TRANSACTIONAL:
            problem = charsets.key_problem(connection, table, schema)
            return problem or mysql_rows.period_key_problem(connection, plain_name(connection, schema, table))
        return Problem(
            reason=f"table {table!r} is stored by {engine}, which has no transactions: "
            "a chunk and its checkpoint could not commit together",
            hint=f"ALTER TABLE {table} ENGINE=InnoDB",
        )

    def contract_problem(self, connection: Connection) -> Problem | None:
        if self._variables(connection, "wsrep_on").get("wsrep_on") == "ON":
            return Problem(
                reason="this is a Galera node: a table lock holds on this node only, "
                "so the last look would prove nothing about writers on the others",
                hint="stop the writers of the old shape, check with online-migrate gate, "
                "and contract with the other nodes out of the cluster",
            )
        return mysql_privileges.lock_problem(connection) or mysql_rows.group_problem(connection)

    def visibility_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return mysql_rows.visibility_problem(connection, table, schema)

    def functions_problem(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        return mysql_rows.functions_problem(connection, called)

    def location(self, connection: Connection) -> dict[str, str]:
        row = connection.execute(sa.text(_LOCATION)).one()
        return {str(name): str(value) for name, value in row._mapping.items()}

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        """A digest of the values' bytes. NULL is not ''; a FLOAT is shown with all of its digits as a DOUBLE.

        Of bytes, because CONCAT_WS gives texts of different character sets a common one: some have none, and
        a character that the common one lacks becomes a question mark, so that two values look the same.
        """
        place = (table.schema, table.name)
        if place not in self._other_charsets:
            self._other_charsets[place] = charsets.others(connection, table.name, table.schema)
        others = self._other_charsets[place]
        parts, conditions = [], []
        for column in columns:
            value = f"{name}.{plain_name(connection, column.name)}"
            if isinstance(column.type, sa.Float):
                value = f"{value} + 0E0"
            if isinstance(column.type, sa.types.NullType):
                # A VECTOR is no argument of most functions.
                value = f"HEX({value})"
            parts += [f"{value} IS NULL", f"LENGTH({value})", f"CAST({value} AS BINARY)"]
            if column.name in others:
                conditions.append(charsets.survives(value, others[column.name]))
        # MySQL 9 has no MD5 any more.
        return charsets.marked(f"SHA2(CONCAT_WS('/', {', '.join(parts)}), 256)", conditions)

    def unreadable(self, version: object) -> str | None:
        return charsets.lost(version)

    def index_hint(self, connection: Connection, table: sa.Table, index: str | None) -> str | None:
        """Left to itself MySQL 8 and later may skip through a secondary index, all of it for every chunk,
        and sort what it finds (seen on 9.7, whose estimates change while rows do)."""
        if index is not None and "%" in index:
            # Such a name is a placeholder to SQLAlchemy, or to the driver, in some statements.
            return None
        quote = connection.dialect.identifier_preparer.quote_identifier
        hint = f"FORCE INDEX ({quote(index or 'PRIMARY')})"
        if index is not None:
            look: sa.Select[Any] = (
                sa.select(sa.literal_column("1")).select_from(table).with_hint(table, hint).limit(0)
            )
            try:
                connection.execute(look)
            except ServerFault as error:
                if self._code(error) != _NO_SUCH_KEY:
                    raise
                # An index that the optimizer is told not to see cannot be asked for.
                return None
        return hint

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        rows = self.rows(connection, _COLLATIONS, table=table.name, schema=table.schema)
        collations = {row.name: (row.charset, row.collation) for row in rows}
        return self.writer(table, key, constant, collations, hint or "")

    def self_updating_columns(self, connection: Connection, table: sa.Table) -> list[str]:
        rows = self.rows(connection, _SELF_UPDATING, table=table.name, schema=table.schema)
        names = {str(row[0]) for row in rows}
        return [key for key, column in table.c.items() if column.name in names]

    def has_table(self, connection: Connection, name: str, schema: str | None = None) -> bool:
        for pause in backoff(waited=0.02, attempts=20, longest=1.0, jitter=random.Random()):
            try:
                return super().has_table(connection, name, schema)
            except AnyFault as error:
                if self._code(error) != _BEING_CHANGED:
                    raise
            time.sleep(pause)
        return super().has_table(connection, name, schema)

    def widening(self, table: str, column: str) -> str:
        return f"ALTER TABLE {table} MODIFY {column} VARCHAR(255) NOT NULL"

    def commits_by_itself(self, connection: Connection, statement: str) -> bool:
        if self.classify(statement).impact is not Impact.ROWS:
            return False
        engines = sa.text(_ENGINES).bindparams(sa.bindparam("names", expanding=True))
        names = {"names": identifiers(statement)}
        used = {str(engine).upper() for engine in connection.scalars(engines, names)}
        return first_word(statement) == "TRUNCATE" or not used <= _TRANSACTIONAL

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        name = dropped(drop, "TRIGGER")
        if name is None:
            return None
        if self.catalog(connection).trigger(Effect("trigger", name)) is None:
            return None
        quoted = connection.dialect.identifier_preparer.quote(name)
        row = connection.exec_driver_sql(f"SHOW CREATE TRIGGER {quoted}").one()
        # A trigger runs under the sql_mode in which it was created.
        return [f"SET SESSION sql_mode = '{row[1]}'", str(row[2])]

    def indexes_of_column(
        self, connection: Connection, table: str, column: str, schema: str | None = None
    ) -> list[str]:
        rows = self.rows(connection, _INDEXES_OF_COLUMN, table=table, column=column, schema=schema)
        return sorted(row[0] for row in rows)

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        return mysql_ddl.KINDS[self.classify(statement).impact]

    def forms_under_lock(self, statement: str) -> Sequence[str]:
        return mysql_ddl.forms_under_lock(statement, self.name)

    def forms_outside_lock(self, statement: str) -> Sequence[str]:
        in_place = self.classify(statement).in_place
        return [mysql_ddl.with_algorithm(statement, self.name, "INPLACE")] if in_place else [statement]

    @staticmethod
    def _variables(connection: Connection, *names: str) -> dict[str, str]:
        rows = connection.execute(
            sa.text("SHOW VARIABLES WHERE Variable_name IN :names").bindparams(
                sa.bindparam("names", expanding=True)
            ),
            {"names": list(names)},
        )
        return {str(name).lower(): str(value).upper() for name, value in rows}


def _named(connection: Connection, targets: Sequence[LockTarget]) -> list[str]:
    """The tables as LOCK TABLES and FROM take them, each once, with their aliases, sorted."""
    quote = connection.dialect.identifier_preparer.quote
    found = []
    for target in sorted(set(targets), key=lambda t: (t.schema or "", t.table, t.alias or "")):
        name = ".".join(quote(part) for part in (target.schema, target.table) if part)
        found.append(f"{name} AS {quote(target.alias)}" if target.alias else name)
    return found


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return math.isfinite(float(text))
    return False


def _lock_name(connection: Connection, name: str) -> str:
    # GET_LOCK's names are shared by all databases of the server, and at most 64 characters long.
    database = connection.scalar(sa.text("SELECT DATABASE()"))
    return "online_migrate/" + hashlib.sha256(f"{database}/{name}".encode()).hexdigest()[:40]


def _share_tls_context(engine: Engine) -> None:
    """One TLS context for all connections: PyMySQL makes one for each, whether the server has TLS or not, and
    OpenSSL reads all certificates of the machine for it, which takes much longer than to connect."""
    base: Any = engine.dialect.dbapi.connections.Connection  # type: ignore[union-attr]
    shared: list[object] = []

    class Connection(base):  # type: ignore[misc]
        def _create_ssl_ctx(self, options: object) -> object:
            if options:
                # A certificate that somebody names may be renewed while a run lasts for days.
                return super()._create_ssl_ctx(options)
            if not shared:
                shared.append(super()._create_ssl_ctx(options))
            return shared[0]

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: Any, options: Any) -> object:
        return Connection(*arguments, **options)
