"""The benchmark table: Cinder's volumes, with its ids, its columns and its row width."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

TEMPLATE = "volumes_template"
"""The name of the table that is filled once; every run starts from a copy of it."""


def volumes(name: str = "volumes", meta: sa.MetaData | None = None) -> sa.Table:
    """Returns the table definition under *name*."""
    return sa.Table(
        name,
        sa.MetaData() if meta is None else meta,
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created_at", sa.DateTime),
        sa.Column("updated_at", sa.DateTime),
        sa.Column("deleted_at", sa.DateTime),
        sa.Column("deleted", sa.Boolean),
        sa.Column("ec2_id", sa.String(255)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("project_id", sa.String(255), index=True),
        sa.Column("host", sa.String(255), index=True),
        sa.Column("size_gb", sa.Integer),
        sa.Column("availability_zone", sa.String(255)),
        sa.Column("status", sa.String(255)),
        sa.Column("attach_status", sa.String(255)),
        sa.Column("scheduled_at", sa.DateTime),
        sa.Column("launched_at", sa.DateTime),
        sa.Column("display_name", sa.String(255)),
        sa.Column("display_description", sa.String(255)),
        sa.Column("provider_location", sa.String(255)),
        sa.Column("volume_type_id", sa.String(36)),
        sa.Column("bootable", sa.Boolean),
        sa.Column("migration_status", sa.String(255)),
        sa.Column("name_id", sa.String(36)),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("label", sa.String(255)),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


_SPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Yields *count* deterministic rows; the ids are unordered, like those of uuid4."""
    import datetime

    start = datetime.datetime(2024, 1, 1)
    for i in range(count):
        yield {
            "id": str(uuid.uuid5(_SPACE, str(i))),
            "created_at": start + datetime.timedelta(seconds=i),
            "updated_at": start + datetime.timedelta(seconds=i + 60),
            "deleted": False,
            "user_id": f"user-{i % 500:032d}",
            "project_id": f"project-{i % 2000:029d}",
            "host": f"node-{i % 97}@lvm#pool{i % 7}",
            "size_gb": i % 1024 + 1,
            "availability_zone": "nova",
            "status": ("available", "in-use", "error")[i % 3],
            "attach_status": "detached",
            "launched_at": start + datetime.timedelta(seconds=i + 5),
            "display_name": f"volume number {i}",
            "display_description": "one of the volumes of this benchmark",
            "bootable": bool(i % 2),
        }


def fill(engine: sa.Engine, count: int) -> None:
    """Creates the template table, unless it already exists with *count* rows.

    The client inserts up to 5,000 rows; the server doubles them until there are enough, which is much faster.
    """
    template, seed = volumes(TEMPLATE), volumes("volumes_seed")
    with engine.connect() as connection:
        there = sa.inspect(connection).has_table(TEMPLATE)
        if there and connection.scalar(sa.select(sa.func.count()).select_from(template)) == count:
            return
    for table in (template, seed):
        table.drop(engine, checkfirst=True)
        table.indexes.clear()
        table.create(engine)
    names = [column.name for column in template.c]
    with engine.begin() as connection:
        connection.execute(sa.insert(seed), list(rows(min(count, 5_000))))
        made = min(count, 5_000)
        while made < count:
            doubled = sa.select(_other_id(engine, seed.c.id, made), *list(seed.c)[1:])
            made += connection.execute(sa.insert(seed).from_select(names, doubled)).rowcount
        some = sa.select(*seed.c).order_by(seed.c.id).limit(count)
        connection.execute(sa.insert(template).from_select(names, some))
    seed.drop(engine)


def _other_id(engine: sa.Engine, id: sa.Column[str], made: int) -> sa.ColumnElement[str]:
    """Returns another id of the same form, which depends only on *id* and the number of rows so far."""
    if engine.dialect.name == "postgresql":
        digest = sa.func.md5(id + str(made))
        return sa.cast(sa.cast(digest, sa.Uuid()), sa.String(36))
    text: sa.ColumnElement[str] = sa.func.left(sa.func.sha2(sa.func.concat(id, str(made)), 256), 32)
    for place in (9, 14, 19, 24):
        text = sa.func.insert(text, place, 0, "-")
    return text


def copy(engine: sa.Engine) -> None:
    """Creates a fresh, unmigrated ``volumes`` from the template.

    The table is flushed to disk, and no cleanup work of the server is left (VACUUM, ANALYZE, CHECKPOINT).
    """
    table, template = volumes(), volumes(TEMPLATE)
    indexes = set(table.indexes)
    before, after = _CARE.get(engine.dialect.name, _CARE["mysql"])
    table.drop(engine, checkfirst=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in before:
            connection.exec_driver_sql(statement)
        table.indexes.clear()
        table.create(connection)
        source = sa.select(*template.c).order_by(template.c.id)
        connection.execute(sa.insert(table).from_select([column.name for column in table.c], source))
        for index in indexes:
            index.create(connection)
        for statement in after:
            connection.exec_driver_sql(statement)
        # Its session settings were changed, so the connection must not return to the pool.
        connection.invalidate()


_CARE: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "postgresql": ((), ("VACUUM ANALYZE volumes", "CHECKPOINT")),
    # Otherwise the server would write dirty pages while the first contender runs.
    "mysql": (
        ("SET SESSION sql_log_bin = 0",),
        ("ANALYZE TABLE volumes", "FLUSH TABLES volumes FOR EXPORT", "UNLOCK TABLES"),
    ),
}
"""The statements before and after a copy, by dialect."""
