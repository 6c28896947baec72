"""The tables in their new shape, for ``online-migrate prove``; those in the old shape are in load.py.

online-migrate prove --old load:metadata --new models:metadata --rows models:possible_flight
"""

from __future__ import annotations

from typing import Any

import load
import sqlalchemy as sa

REPLACED = frozenset({"dep_time", "arr_time", "distance", "carrier"})

metadata = sa.MetaData()
carriers = sa.Table(
    "carriers",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.String(2), nullable=False),
    sa.Column("name", sa.String(100)),
    sa.UniqueConstraint("code", name="carriers_code_key"),
)
flights = sa.Table(
    "flights",
    metadata,
    *[
        sa.Column(
            column.name,
            column.type,
            primary_key=column.primary_key,
            nullable=column.nullable,
            autoincrement=False,
        )
        for column in load.flights.c
        if column.name not in REPLACED
    ],
    sa.Column("departed_at", sa.DateTime),
    sa.Column("arrived_at", sa.DateTime),
    sa.Column("distance_km", sa.Numeric(12, 6)),
    sa.Column("carrier_id", sa.Integer, sa.ForeignKey("carriers.id", name="flights_carrier_id_fkey")),
)


def possible_flight(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Returns a generated row with a date and times that a flight can have."""
    if table != "flights":
        return row
    row |= {"year": 2013, "month": 1, "day": 1 + row["day"] % 28}
    row |= {"sched_dep_time": 515, "sched_arr_time": 819, "hour": 5, "minute": 15}
    if row.get("dep_time") is not None:
        row |= {"dep_time": 517, "dep_delay": 2, "arr_time": 830, "arr_delay": 11}
    return row
