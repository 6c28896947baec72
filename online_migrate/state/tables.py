"""The bookkeeping tables, as this version of the engine reads and writes them."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of

VERSION_TABLE = "online_migrate_version"
PREFIX = "online_migrate_"

metadata = sa.MetaData()

data_migration = sa.Table(
    "online_migrate_data_migration",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("checkpoint", sa.Text),
    sa.Column("walked", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("runner", sa.String(255)),
    sa.Column("started_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("verified_at", sa.DateTime),
    sa.Column("verified_by", sa.String(255)),
)

failure = sa.Table(
    "online_migrate_failure",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("failed_at", sa.DateTime, nullable=False),
)

journal = sa.Table(
    "online_migrate_journal",
    metadata,
    sa.Column("revision", sa.String(255), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("occurrence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("before_text", sa.Text),
    sa.Column("undo", sa.Text),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("done_at", sa.DateTime),
)

walk = sa.Table(
    "online_migrate_walk",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("sweep", sa.Integer, nullable=False),
    sa.Column("frontier", sa.Text),
    sa.Column("handed_out", sa.Boolean, nullable=False),
    sa.Column("extents", sa.BigInteger, nullable=False),
)

worker = sa.Table(
    "online_migrate_worker",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("runner", sa.String(255), nullable=False),
    sa.Column("extent", sa.BigInteger),
    sa.Column("lower_key", sa.Text),
    sa.Column("upper_key", sa.Text),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("heartbeat", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("chunk_size", sa.Integer),
    sa.Column("rate", sa.Float),
    sa.Column("waits_for", sa.Text),
)

latency_probe = sa.Table(
    "online_migrate_canary",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("runner", sa.String(255), nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("read_time", sa.Double),
    sa.Column("write_time", sa.Double),
)

service = sa.Table(
    "online_migrate_service",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("service", sa.String(255), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("process", sa.String(255), nullable=False),
    sa.Column("code_release", sa.String(255)),
    sa.Column("survives", sa.Text, nullable=False),
    sa.Column("versions", sa.Text, nullable=False),
    sa.Column("dead_after", sa.BigInteger, nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("heartbeat", sa.BigInteger, nullable=False),
    sa.Column("stopped", sa.BigInteger),
    sa.Column("forced_down", sa.BigInteger),
    sa.Column("forced_by", sa.Text),
)

contracted = sa.Table(
    "online_migrate_contracted",
    metadata,
    sa.Column("revision", sa.String(255), primary_key=True),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("runner", sa.String(255), nullable=False),
    sa.Column("operator", sa.String(255), nullable=False),
    sa.Column("changed_at", sa.DateTime, nullable=False),
    sa.Column("attestation", sa.Text),
    sa.Column("folded", sa.Text, nullable=False),
)

sync = sa.Table(
    "online_migrate_sync",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("revision", sa.String(255)),
    sa.Column("table_name", sa.String(255), nullable=False),
    sa.Column("table_schema", sa.String(255)),
    sa.Column("target", sa.Text),
    sa.Column("forward", sa.Text, nullable=False),
    sa.Column("backward", sa.Text, nullable=False),
    sa.Column("columns_used", sa.Text, nullable=False),
    sa.Column("triggers", sa.Text, nullable=False),
    sa.Column("changed_at", sa.DateTime, nullable=False),
)

soak = sa.Table(
    "online_migrate_soak",
    metadata,
    sa.Column("revision", sa.String(255), primary_key=True),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Column("verified", sa.Text, nullable=False),
    sa.Column("soaked_at", sa.BigInteger),
    sa.Column("soak_time", sa.BigInteger, nullable=False),
    sa.Column("runner", sa.String(255), nullable=False),
    sa.Column("operator", sa.String(255), nullable=False),
)

verification = sa.Table(
    "online_migrate_verification",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("barrier", sa.String(64)),
    sa.Column("barrier_state", sa.String(32), nullable=False),
    sa.Column("table_name", sa.String(255), nullable=False),
    sa.Column("schema_name", sa.String(255)),
    sa.Column("definition", sa.Text),
    sa.Column("expressions", sa.Text, nullable=False),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("checkpoint", sa.Text),
    sa.Column("checked", sa.BigInteger, nullable=False),
    sa.Column("failing", sa.BigInteger, nullable=False),
    sa.Column("failing_keys", sa.Text, nullable=False),
    sa.Column("runner", sa.String(255), nullable=False),
    sa.Column("barrier_at", sa.DateTime),
    sa.Column("started_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("finished_at", sa.DateTime),
)

TABLES = frozenset({*metadata.tables, VERSION_TABLE})
_OLDEST = (data_migration, failure, journal)
"""The tables of the engine's first revision: they exist in every state, also in that of an older engine."""


def now() -> datetime.datetime:
    """Returns the current time as the tables store it: UTC, whole seconds, without a time zone."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)


def this_runner() -> str:
    """Returns the identity of this process for display: ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def exists(connection: Connection) -> bool:
    """Returns True if the bookkeeping tables exist."""
    return dialect_of(connection).has_tables(connection, [table.name for table in _OLDEST])


def version_rows(connection: Connection, table: str, schema: str | None) -> tuple[str, ...]:
    """Returns the revisions in an Alembic version table, sorted; empty if the table does not exist."""
    if not dialect_of(connection).has_table(connection, table, schema):
        return ()
    version = sa.table(table, sa.column("version_num"), schema=schema)
    return tuple(sorted(connection.scalars(sa.select(version.c.version_num))))


def partition_known(rows: Sequence[str], known: Iterable[str]) -> tuple[list[str], list[str]]:
    """Splits *rows* into the revisions that are in *known* and the others: (known, unknown)."""
    names = set(known)
    return [row for row in rows if row in names], [row for row in rows if row not in names]
