"""The sample database: where it is, that it is empty, how it is filled, and how it is left."""

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
class Place:
    """A database, and how the application sets up its sessions there."""

    url: str
    """Password included."""
    setup: tuple[str, ...] = ()


def temporary(folder: Path) -> Place:
    """A new SQLite file in *folder*, set up as a file is that an application with many writers uses."""
    path = folder / "demo.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # Readers do not wait for the writer.
        connection.execute("PRAGMA journal_mode = WAL")
    # SQLite has no queue: who is told "busy" sleeps, the longer the more often, and may never be in time.
    # So the application asks for a short sleep, and tries again by itself.
    return Place(f"sqlite:///{path}", ("PRAGMA synchronous = NORMAL", "PRAGMA busy_timeout = 20"))


@contextlib.contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine that leaves no connection behind."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def borrowed(url: str) -> Iterator[None]:
    """Inside the block the database is the demo's; afterwards it is as empty as before.

    Raises :class:`~online_migrate.exceptions.UsageError` if there is anything in it, and touches nothing.
    """
    with opened(url) as engine, connect(engine) as connection:
        inspector = sa.inspect(connection)
        found = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise exceptions.UsageError(
            message=f"the demo wants an empty database, and {safe_url(url)} has tables: "
            f"{', '.join(found[:5])}{more}",
            hint="create a database for it; nothing was touched in this one",
        )
    try:
        yield
    finally:
        with opened(url) as engine, engine.begin() as connection:
            _drop(connection)


def _drop(connection: Connection) -> None:
    """Drops the tables that the demo and the engine have made, and no others."""
    ours = [attachments.name, volumes.name, accounts.name, _VERSION_TABLE, *sorted(state.TABLES)]
    for name in ours:
        sa.Table(name, sa.MetaData()).drop(connection, checkfirst=True)


def describe(url: str) -> str:
    """The server, and its version."""
    with opened(url) as engine, connect(engine) as connection:
        version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
        return f"{_NAMES[dialect_of(connection).name]} {version}"


def fill(url: str, rows: Mapping[Key, Row]) -> None:
    """Writes the rows with which version 1 starts."""
    with opened(url) as engine, engine.begin() as connection:
        for table in (volumes, accounts):
            mine = [
                {"id": key[1], **old_shape(key, row)} for key, row in rows.items() if key[0] == table.name
            ]
            if mine:
                connection.execute(sa.insert(table), mine)


def columns(url: str) -> list[str]:
    """Every table of the demo with its columns, a line each."""
    lines = []
    with opened(url) as engine, connect(engine) as connection:
        inspector = sa.inspect(connection)
        for table in inspector.get_table_names():
            if table in metadata.tables:
                found = inspector.get_columns(table)
                shown = [c["name"] + ("" if c["nullable"] else " NOT NULL") for c in found]
                lines.append(f"{table}: {', '.join(shown)}")
    return sorted(lines, reverse=True)
