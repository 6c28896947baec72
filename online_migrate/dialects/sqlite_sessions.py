"""The settings of a session of SQLite: the mode of its transactions, and how long it waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate.dialects.facets.sessions import Sessions

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

BEGIN_OPTION = "online_migrate_begin"
"""Execution option of a connection: DEFERRED (the default) or IMMEDIATE."""
BUSY_TIMEOUT = 30_000
"""Milliseconds for which a read or a chunk waits for the session that writes. DDL sessions have their own
limit."""
_LOCK_TIMEOUT = "online_migrate_lock_timeout"


class SQLiteSessions(Sessions):
    """Begins a transaction that writes as an immediate one, which is the lock against other writers."""

    chunk_isolation: ClassVar[IsolationLevel | None] = None
    # Without a pause the application waits for as long as rows are migrated: SQLite's busy handler polls, and
    # the next chunk would always take the lock first. Measured: an application write waited for at most 0.6 s
    # with a pause of 0 ms, for at most 0.2 s with 20 ms.
    chunk_pause: ClassVar[float] = 0.02
    single_writer: ClassVar[bool] = True

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        # SQLite ignores a change of foreign_keys inside a transaction. With foreign_keys = ON the batch mode
        # of Alembic (copy, drop, rename) deletes the child rows of every row by ON DELETE CASCADE.
        connection.rollback()
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA foreign_keys = OFF")
        connection.info[_LOCK_TIMEOUT] = round(lock_timeout * 1000)

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, durable: bool = True
    ) -> None:
        connection.rollback()
        connection.execution_options(**{BEGIN_OPTION: "IMMEDIATE"})

    @contextlib.contextmanager
    def read_transaction(self, connection: Connection) -> Iterator[None]:
        connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
        try:
            yield
        finally:
            connection.execution_options(**{BEGIN_OPTION: "IMMEDIATE"})

    @contextlib.contextmanager
    def write_transaction(self, connection: Connection) -> Iterator[None]:
        # A transaction that takes the write lock at its first write cannot wait for it: SQLite fails at once.
        driver: Any = connection.connection.dbapi_connection
        driver.execute(f"PRAGMA busy_timeout = {connection.info.get(_LOCK_TIMEOUT, BUSY_TIMEOUT)}")
        connection.execution_options(**{BEGIN_OPTION: "IMMEDIATE"})
        try:
            yield
        finally:
            connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
            driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

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
