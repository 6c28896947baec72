"""Cinder's and Nova's tables in which services report, as their models define them, and rows of them."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa

from tests.servers import Database

CELL0 = "00000000-0000-0000-0000-000000000000"
_OPTIONS = {"mysql_engine": "InnoDB"}


def _times() -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.DateTime) for name in ("created_at", "updated_at", "deleted_at")]


cinder_services = sa.Table(
    "services",
    sa.MetaData(),
    *_times(),
    sa.Column("deleted", sa.Boolean),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36)),
    sa.Column("cluster_name", sa.String(255)),
    sa.Column("host", sa.String(255)),
    sa.Column("binary", sa.String(255)),
    sa.Column("topic", sa.String(255)),
    sa.Column("report_count", sa.Integer, nullable=False, default=0),
    sa.Column("disabled", sa.Boolean),
    sa.Column("availability_zone", sa.String(255)),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("modified_at", sa.DateTime),
    sa.Column("rpc_current_version", sa.String(36)),
    sa.Column("object_current_version", sa.String(36)),
    sa.Column("replication_status", sa.String(36)),
    sa.Column("active_backend_id", sa.String(255)),
    sa.Column("frozen", sa.Boolean),
    sa.Index("services_uuid_idx", "uuid", unique=True),
    **_OPTIONS,
)
nova_services = sa.Table(
    "services",
    sa.MetaData(),
    *_times(),
    sa.Column("deleted", sa.Integer),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36)),
    sa.Column("host", sa.String(255)),
    sa.Column("binary", sa.String(255)),
    sa.Column("topic", sa.String(255)),
    sa.Column("report_count", sa.Integer, nullable=False),
    sa.Column("disabled", sa.Boolean),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("last_seen_up", sa.DateTime),
    sa.Column("forced_down", sa.Boolean),
    sa.Column("version", sa.Integer),
    sa.UniqueConstraint("host", "topic", "deleted", name="uniq_services0host0topic0deleted"),
    sa.UniqueConstraint("host", "binary", "deleted", name="uniq_services0host0binary0deleted"),
    sa.Index("services_uuid_idx", "uuid", unique=True),
    **_OPTIONS,
)
cell_mappings = sa.Table(
    "cell_mappings",
    sa.MetaData(),
    *_times()[:2],
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36), nullable=False),
    sa.Column("name", sa.String(255)),
    sa.Column("transport_url", sa.Text),
    sa.Column("database_connection", sa.Text),
    sa.Column("disabled", sa.Boolean),
    sa.UniqueConstraint("uuid", name="uniq_cell_mappings0uuid"),
    sa.Index("uuid_idx", "uuid"),
    **_OPTIONS,
)


def create(database: Database, *tables: sa.Table) -> None:
    """Creates tables."""
    for table in tables:
        table.create(database.engine)


def write(database: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    """Replaces the rows of a table."""
    with database.engine.begin() as connection:
        connection.execute(sa.delete(table))
        for row in rows:
            connection.execute(sa.insert(table).values(row))


def ago(seconds: float) -> datetime.datetime:
    """The time as Cinder and Nova write it: in UTC, without a time zone."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(seconds=seconds)


def cinder(**changed: Any) -> dict[str, Any]:
    """The row of a live cinder-volume, with RPC 3.10 and objects 1.38."""
    return {
        "host": "one@lvm",
        "binary": "cinder-volume",
        "topic": "cinder-volume",
        "report_count": 7,
        "updated_at": ago(3),
        "deleted": False,
        "disabled": False,
        "rpc_current_version": "3.10",
        "object_current_version": "1.38",
        **changed,
    }


def nova(**changed: Any) -> dict[str, Any]:
    """The row of a live nova-compute of version 66."""
    return {
        "host": "one",
        "binary": "nova-compute",
        "topic": "compute",
        "report_count": 7,
        "created_at": ago(9000),
        "last_seen_up": ago(3),
        "deleted": 0,
        "disabled": False,
        "forced_down": False,
        "version": 66,
        **changed,
    }


def cell(number: int, database_connection: str, **changed: Any) -> dict[str, Any]:
    """The row of a cell; number 0 is cell0."""
    uuid = CELL0 if number == 0 else f"{CELL0[:-1]}{number}"
    return {
        "uuid": uuid,
        "name": f"cell{number}",
        "transport_url": "none:///",
        "database_connection": database_connection,
        "disabled": False,
        **changed,
    }
