"""The benchmark table, in two shapes.

``cinder``: Cinder's volumes, with its ids without an order, its columns, its row width, and two secondary
indexes. ``lean``: ids in order, few columns, no secondary index.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa


def volumes(shape: str, name: str = "volumes") -> sa.Table:
    """Returns the table definition of *shape* (a key of :data:`SHAPES`) under *name*."""
    columns = SHAPES[shape]()
    return sa.Table(name, sa.MetaData(), *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4")


def template(shape: str) -> sa.Table:
    """Returns the table of *shape* that is filled once; every run starts from a copy of it."""
    return volumes(shape, "volumes_template" if shape == "cinder" else f"volumes_template_{shape}")


def _cinder() -> Sequence[sa.Column[Any]]:
    return (
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
    )


def _lean() -> Sequence[sa.Column[Any]]:
    return (
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("host", sa.String(255)),
        sa.Column("size_gb", sa.Integer),
        sa.Column("status", sa.String(255)),
        sa.Column("display_name", sa.String(255)),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("label", sa.String(255)),
    )


SHAPES: Mapping[str, Callable[[], Sequence[sa.Column[Any]]]] = {"cinder": _cinder, "lean": _lean}
"""The columns of the table, by the name of its shape. ``id`` is the key."""

_SPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def rows(shape: str, count: int) -> Iterator[dict[str, Any]]:
    """Yields *count* deterministic rows; the ids of ``cinder`` are unordered, like those of uuid4."""
    names = volumes(shape).c.keys()
    for i in range(count):
        row = _row(i) if shape == "cinder" else {**_row(i), "id": i + 1}
        yield {name: value for name, value in row.items() if name in names}


def _row(i: int) -> dict[str, Any]:
    start = datetime.datetime(2024, 1, 1)
    return {
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


def fill(engine: sa.Engine, shape: str, count: int) -> None:
    """Creates the template table, unless it already exists with *count* rows.

    The client inserts up to 5,000 rows; the server doubles them until there are enough, which is much faster.
    """
    filled, seed = template(shape), volumes(shape, "volumes_seed")
    with engine.connect() as connection:
        there = sa.inspect(connection).has_table(filled.name)
        if there and connection.scalar(sa.select(sa.func.count()).select_from(filled)) == count:
            return
    for table in (filled, seed):
        table.drop(engine, checkfirst=True)
        table.indexes.clear()
        table.create(engine)
    names = [column.name for column in filled.c]
    with engine.begin() as connection:
        connection.execute(sa.insert(seed), list(rows(shape, min(count, 5_000))))
        made = min(count, 5_000)
        while made < count:
            doubled = sa.select(_other_id(engine, shape, seed.c.id, made), *list(seed.c)[1:])
            made += connection.execute(sa.insert(seed).from_select(names, doubled)).rowcount
        some = sa.select(*seed.c).order_by(seed.c.id).limit(count)
        connection.execute(sa.insert(filled).from_select(names, some))
    seed.drop(engine)


def _other_id(engine: sa.Engine, shape: str, id: sa.Column[Any], made: int) -> sa.ColumnElement[Any]:
    """Returns another id of the same form, which depends only on *id* and the number of rows so far."""
    if shape == "lean":
        return id + made
    if engine.dialect.name == "postgresql":
        digest = sa.func.md5(id + str(made))
        return sa.cast(sa.cast(digest, sa.Uuid()), sa.String(36))
    text: sa.ColumnElement[str] = sa.func.left(sa.func.sha2(sa.func.concat(id, str(made)), 256), 32)
    for place in (9, 14, 19, 24):
        text = sa.func.insert(text, place, 0, "-")
    return text


def copy(engine: sa.Engine, shape: str) -> None:
    """Creates a fresh, unmigrated ``volumes`` from the template.

    The table is flushed to disk, and no cleanup work of the server is left (VACUUM, ANALYZE, CHECKPOINT).
    """
    table, filled = volumes(shape), template(shape)
    indexes = set(table.indexes)
    before, after = _CARE.get(engine.dialect.name, _CARE["mysql"])
    table.drop(engine, checkfirst=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in before:
            connection.exec_driver_sql(statement)
        table.indexes.clear()
        table.create(connection)
        source = sa.select(*filled.c).order_by(filled.c.id)
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
