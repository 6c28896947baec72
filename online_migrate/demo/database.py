"""The sample database: its URL, the check that it is empty, the sample rows, the clean-up."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from online_migrate import exceptions, state
from online_migrate.ddl.session import connect
from online_migrate.demo.application import accounts, attachments, metadata, old_shape, volumes
from online_migrate.demo.ledger import Key, Row
from online_migrate.dialects import create_engine, dialect_of, safe_url

_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
_VERSION_TABLE = "alembic_version"


@dataclasses.dataclass(frozen=True)
class Database:
    """A database, and the statements with which the application sets up its sessions."""

    url: str
    """With the password."""
    setup: tuple[str, ...] = ()


def temporary(folder: Path) -> Database:
    """Creates a SQLite file in *folder*, with the settings of an application with many writers."""
    path = folder / "demo.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # In WAL mode readers do not wait for the writer.
        connection.execute("PRAGMA journal_mode = WAL")
    # SQLite has no lock queue: the busy handler sleeps, longer with each attempt, and can miss every gap.
    # So the application sets a short timeout and retries.
    return Database(f"sqlite:///{path}", ("PRAGMA synchronous = NORMAL", "PRAGMA busy_timeout = 20"))


@contextlib.contextmanager
def opened(url: str) -> Iterator[Engine]:
    """Yields an engine, and closes its connections at the end."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def clean_database(url: str) -> Iterator[None]:
    """Checks that the database is empty, and drops the tables of the demo after the block.

    Raises :class:`~online_migrate.exceptions.UsageError`, before anything is changed, if it has tables or
    views.
    """
    with opened(url) as engine, connect(engine) as connection:
        inspector = sa.inspect(connection)
        found = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise exceptions.UsageError(
            message=f"the demo needs an empty database, but {safe_url(url)} has tables: "
            f"{', '.join(found[:5])}{more}",
            hint="nothing was changed; create an empty database for the demo, and give it with --url",
        )
    try:
        yield
    finally:
        with opened(url) as engine, engine.begin() as connection:
            _drop(connection)


def _drop(connection: Connection) -> None:
    """Drops the tables that the demo and online-migrate created, and no others."""
    ours = [attachments.name, volumes.name, accounts.name, _VERSION_TABLE, *sorted(state.TABLES)]
    for name in ours:
        sa.Table(name, sa.MetaData()).drop(connection, checkfirst=True)


def describe(url: str) -> str:
    """Returns the product and the version of the server."""
    with opened(url) as engine, connect(engine) as connection:
        version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
        return f"{_NAMES[dialect_of(connection).name]} {version}"


def fill(url: str, rows: Mapping[Key, Row]) -> None:
    """Inserts the initial rows of version 1."""
    with opened(url) as engine, engine.begin() as connection:
        for table in (volumes, accounts):
            mine = [
                {"id": key[1], **old_shape(key, row)} for key, row in rows.items() if key[0] == table.name
            ]
            if mine:
                connection.execute(sa.insert(table), mine)


def columns(url: str) -> list[str]:
    """Returns one line for each table of the demo, with its columns."""
    lines = []
    with opened(url) as engine, connect(engine) as connection:
        inspector = sa.inspect(connection)
        for table in inspector.get_table_names():
            if table in metadata.tables:
                found = inspector.get_columns(table)
                shown = [c["name"] + ("" if c["nullable"] else " NOT NULL") for c in found]
                lines.append(f"{table}: {', '.join(shown)}")
    return sorted(lines, reverse=True)
