"""Creates the table ``flights`` in its old shape and loads the flights into it.

    python load.py --url URL [--rows N]

This stands for the application's past: what is here before online-migrate comes. A flight's ``id`` is the
number of its row in the CSV, from 1, and what is ``NA`` in the CSV is NULL in the table.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import nycflights
import sqlalchemy as sa

PAGE = 5000
"""Rows in one transaction."""
OF_EACH_ODD_KIND = 5
FEWEST_ROWS = 100
"""A sample below this would not have room for every odd kind."""

metadata = sa.MetaData()
flights = sa.Table(
    "flights",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("month", sa.Integer, nullable=False),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("dep_time", sa.Integer),
    sa.Column("sched_dep_time", sa.Integer, nullable=False),
    sa.Column("dep_delay", sa.Integer),
    sa.Column("arr_time", sa.Integer),
    sa.Column("sched_arr_time", sa.Integer, nullable=False),
    sa.Column("arr_delay", sa.Integer),
    sa.Column("carrier", sa.String(2)),
    sa.Column("flight", sa.Integer, nullable=False),
    sa.Column("tailnum", sa.String(6)),
    sa.Column("origin", sa.String(3), nullable=False),
    sa.Column("dest", sa.String(3), nullable=False),
    sa.Column("air_time", sa.Integer),
    sa.Column("distance", sa.Integer),
    sa.Column("hour", sa.Integer, nullable=False),
    sa.Column("minute", sa.Integer, nullable=False),
    sa.Column("time_hour", sa.DateTime, nullable=False, comment="UTC"),
)


def load(url: str, rows: int | None = None) -> int:
    """Creates the table and fills it, with all flights or with a sample; gives the number of rows."""
    engine = sa.create_engine(url)
    try:
        if sa.inspect(engine).has_table(flights.name):
            raise SystemExit("there is a table flights in this database already: name an empty database")
        metadata.create_all(engine)
        chosen = None if rows is None else sample(rows)
        loaded = 0
        for page in itertools.batched(_old_rows(chosen), PAGE) if _BATCHED else _pages(_old_rows(chosen)):
            with engine.begin() as connection:
                connection.execute(sa.insert(flights), list(page))
            loaded += len(page)
    finally:
        engine.dispose()
    return loaded
