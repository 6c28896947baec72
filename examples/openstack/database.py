"""What both releases share: the engine of a service, and transactions that are repeated after a conflict."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from oslo_db import api
from oslo_db import exception as oslo
from oslo_db.sqlalchemy import engines
from sqlalchemy import exc

T = TypeVar("T")
DATABASE_ERRORS = (exc.DBAPIError, oslo.DBError)


def create_engine(url: str) -> sa.Engine:
    """Returns the engine of a process. On SQLite readers do not wait for the writer (WAL)."""
    engine = engines.create_engine(url, mysql_sql_mode="TRADITIONAL", sqlite_synchronous=False)
    if engine.dialect.name == "sqlite":
        with contextlib.closing(sqlite3.connect(engine.url.database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    return engine


def repeated(work: Callable[[], T]) -> T:
    """Returns the result of *work*, a transaction, which is repeated after a conflict.

    Conflicts are a deadlock, a locked database of SQLite, and what *work* raises as a ``RetryRequest``.
    """
    retry = api.wrap_db_retry(
        retry_interval=0.02,
        max_retries=500,
        inc_retry_interval=False,
        retry_on_deadlock=True,
        exception_checker=lambda error: "database is locked" in str(error),
    )
    return retry(work)()
