"""SQLite, 3.35 and later."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event, pool
from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate import exceptions
from online_migrate.dialects import sqlite_foreign_keys, sqlite_rows
from online_migrate.dialects.base import Dialect, LockTarget
from online_migrate.dialects.blame import Blame
from online_migrate.dialects.catalog import Catalog
from online_migrate.dialects.errors import words_of
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.sqlite_catalog import SQLiteCatalog
from online_migrate.dialects.statement import tokens
from online_migrate.dialects.values import sqlite as sqlite_values

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from online_migrate.dialects.values.exact import Codec

BEGIN_OPTION = "online_migrate_begin"
"""Execution option of a connection: DEFERRED (the default) or IMMEDIATE."""

_LOCK_TIMEOUT = "online_migrate_lock_timeout"
_PATIENCE = 30_000
"""Milliseconds that a read, or a chunk, may wait for whoever writes; schema changes have their own."""
_SYSTEMIC = (
    *("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_PERM", "SQLITE_AUTH"),
    "SQLITE_INTERRUPT",
)
"""How the names of errors begin that no row is to blame for."""
_WRONG_STATEMENT = ("no such", "near ", "ambiguous", "wrong number", "table ")
_LARGE_STATEMENT = ("too many SQL variables", "Expression tree is too large", "parser stack overflow")
_WITH_DETAILS = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN")
_BATCH_PREFIX = "_alembic_tmp_"


class Stored(sa.types.UserDefinedType[Any]):
    """A value as it is stored, whatever the column is called.

    SQLAlchemy reads ``2024-01-01 10:00:00`` as a datetime, and writes that with microseconds: another text.
    """

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        return ""


class SQLite(Dialect):
    """One writer at a time: an immediate transaction is the lock, and everything in it is one unit."""

    name: ClassVar[str] = "sqlite"
    catalog: ClassVar[type[Catalog]] = SQLiteCatalog
    chunk_isolation: ClassVar[IsolationLevel | None] = None
    # Without it the application waits for as long as rows are moved: SQLite's busy handler polls, and we
    # would always be there first. Measured: 0.6 s at the worst with 0 ms, 0.2 s with 20 ms.
    courtesy: ClassVar[float] = 0.02
    single_writer: ClassVar[bool] = True
    enforces_length: ClassVar[bool] = False
    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})
    conflict_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_SCHEMA", "SQLITE_PROTOCOL"})
    size_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_TOOBIG", "SQLITE_NOMEM"})
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_INTERRUPT"})
    connection_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_CANTOPEN", "SQLITE_NOTADB"})

    def create_engine(self, url: sa.URL) -> Engine:
        """A plain engine with transactions of our own.

        oslo.db's engine emits a BEGIN of its own that can only be deferred, so here its exception
        filters alone are used.
        """
        from oslo_db.sqlalchemy import exc_filters

        self._check_folder(url)
        in_memory = url.database in (None, "", ":memory:") or "mode=memory" in (url.database or "")
        engine = sa.create_engine(url, poolclass=pool.StaticPool if in_memory else pool.NullPool)

        @event.listens_for(engine, "connect")
        def _own_transactions(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
            # pysqlite otherwise commits before a DDL statement, which then cannot be rolled back.
            connection.isolation_level = None
            # A text that is no UTF-8 is an error of sqlite3, and the end of the whole query.
            connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            mode = connection.get_execution_options().get(BEGIN_OPTION, "DEFERRED")
            if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
                connection.exec_driver_sql(f"BEGIN {mode}")

        exc_filters.register_engine(engine)
        return engine

    @staticmethod
    def _check_folder(url: sa.URL) -> None:
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            return
        folder = Path(url.database).absolute().parent
        if not folder.is_dir():
            raise exceptions.ServerDown(
                url=str(url), reason=f"there is no folder {folder}", hint=f"mkdir -p {folder}"
            )

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        # Inside a transaction SQLite ignores the switch of foreign_keys; with it on, Alembic's batch
        # mode (copy, drop, rename) deletes the children of every row by ON DELETE CASCADE.
        connection.rollback()
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA foreign_keys = OFF")
        connection.info[_LOCK_TIMEOUT] = round(lock_timeout * 1000)

    @contextlib.contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        # Who takes the write lock only when it first writes cannot wait for it: SQLite says no at once.
        driver: Any = connection.connection.dbapi_connection
        driver.execute(f"PRAGMA busy_timeout = {connection.info.get(_LOCK_TIMEOUT, _PATIENCE)}")
        connection.execution_options(**{BEGIN_OPTION: "IMMEDIATE"})
        try:
            yield
        finally:
            connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
            driver.execute(f"PRAGMA busy_timeout = {_PATIENCE}")

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, lasting: bool = True
    ) -> None:
        connection.rollback()
        connection.execution_options(**{BEGIN_OPTION: "IMMEDIATE"})

    @contextlib.contextmanager
    def looking(self, connection: Connection) -> Iterator[None]:
        connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
        try:
            yield
        finally:
            connection.execution_options(**{BEGIN_OPTION: "IMMEDIATE"})

    def epoch(self) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger)

    def read_only(self, connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        driver: Any = connection.connection.dbapi_connection
        end = time.monotonic() + seconds
        driver.set_progress_handler(lambda: int(time.monotonic() > end), 10_000)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        path = _lock_path(connection, name)
        if path is None:
            return True
        import fcntl

        handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before has deleted the file; a newcomer would lock another one of that name.
            ours = os.path.samestat(os.fstat(handle.fileno()), path.stat())
        except OSError:
            ours = False
        if not ours:
            handle.close()
            return False
        _held(connection)[name] = handle
        return True

    def free_named_lock(self, connection: Connection, name: str) -> None:
        handle = _held(connection).pop(name, None)
        if handle is not None:
            Path(handle.name).unlink(missing_ok=True)
            handle.close()

    def visibility_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return sqlite_rows.visibility_problem(connection, table, schema)

    def functions_problem(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        # Its functions are C code; our sessions register none that run a query.
        return None

    def location(self, connection: Connection) -> dict[str, str]:
        rows = connection.exec_driver_sql("PRAGMA database_list").all()
        return {str(name): os.path.realpath(path) if path else "" for _number, name, path in rows if path}

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        return sa.type_coerce(column, Stored())

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        found = {key: sqlite_values.codec_of(column.type) for key, column in table.c.items()}
        return {key: codec for key, codec in found.items() if codec is not None}

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        """The immediate transaction that the connection is in keeps all other writers out."""

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """A number that is another one as soon as any other connection has committed a change."""
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").all()
        return connection.exec_driver_sql("PRAGMA data_version").scalar()

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        driver: Any = connection.connection.dbapi_connection
        return bool(driver.in_transaction) and self.lock_proof(connection, targets) == proof

    def code_of(self, error: BaseException) -> object:
        name = getattr(error, "sqlite_errorname", None)
        if not name:
            return None
        # Of these the second half does not change what is to be done.
        first = next((code for code in _WITH_DETAILS if str(name).startswith(f"{code}_")), None)
        return first or str(name)

    def is_missing_object(self, error: BaseException) -> bool:
        return self._code(error) == "SQLITE_ERROR" and words_of(error).startswith("no such ")

    def blame(self, error: BaseException) -> Blame:
        found, code = super().blame(error), str(self._code(error) or "")
        if found is not Blame.ROW:
            return found
        if code == "SQLITE_ERROR":
            # One code for a statement that is wrong and for a value that is: only the words differ.
            words = words_of(error)
            if words.startswith(_LARGE_STATEMENT):
                return Blame.SIZE
            return Blame.MIGRATION if words.startswith(_WRONG_STATEMENT) else Blame.ROW
        return Blame.MIGRATION if code.startswith(_SYSTEMIC) else Blame.ROW

    # --- revisions -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def around_revision(self, connection: Connection) -> Iterator[None]:
        """Refuses to commit a revision that leaves foreign keys without their parent."""
        connection.info["online_migrate_triggers"] = {}
        before = sqlite_foreign_keys.check(connection)
        yield
        sqlite_foreign_keys.refuse_new(before, sqlite_foreign_keys.check(connection))

    def before_statement(self, connection: Connection, statement: str) -> None:
        """Remembers the triggers of a table that Alembic's batch mode is about to drop and make again."""
        words = tokens(statement)
        if [token.word for token in words[:2]] != ["DROP", "TABLE"] or len(words) < 3:
            return
        table = words[2].text
        tables = {row[0] for row in self.rows(connection, "SELECT name FROM sqlite_master")}
        if f"{_BATCH_PREFIX}{table}" in tables:
            connection.info.setdefault("online_migrate_triggers", {})[table] = [
                row[0]
                for row in self.rows(
                    connection,
                    "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :t ORDER BY rowid",
                    t=table,
                )
            ]

    def after_statement(self, connection: Connection, statement: str) -> None:
        """Puts the remembered triggers on the table that took the place of the old one."""
        words = [token.text for token in tokens(statement)]
        if len(words) < 6 or [w.upper() for w in words[3:5]] != ["RENAME", "TO"]:
            return
        if words[2] == f"{_BATCH_PREFIX}{words[5]}":
            for trigger in connection.info.get("online_migrate_triggers", {}).pop(words[5], []):
                connection.exec_driver_sql(trigger)


def _held(connection: Connection) -> dict[str, IO[str]]:
    held: dict[str, IO[str]] = connection.info.setdefault("online_migrate_locks", {})
    return held


def _lock_path(connection: Connection, name: str) -> Path | None:
    database = connection.engine.url.database
    if not database or database == ":memory:" or database.startswith("file:"):
        return None
    return Path(f"{os.path.realpath(database)}-{name.replace('/', '_')}.lock")
