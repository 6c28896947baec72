"""Creates the table ``flights`` in its old shape and loads the flights into it.

    python examples/flights/load.py --url URL [--rows N]

This is the state of the application's database before online-migrate is used. The ``id`` of a flight is the
number of its row in the CSV, starting at 1. ``NA`` in the CSV is NULL in the table.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import nycflights
import sqlalchemy as sa

PAGE = 5000
"""Rows in one transaction."""
OF_EACH_ODD_KIND = 5
FEWEST_ROWS = 100
"""A smaller sample could not contain rows of every special case."""

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
    sa.Column("time_hour", sa.DateTime, nullable=False),  # UTC, unlike all other times
)


# --- the rows ------------------------------------------------------------------------------------


def old_rows(chosen: frozenset[int] | None) -> Iterator[dict[str, Any]]:
    """Yields the rows of the old table: all of them, or those with the chosen ids."""
    readers = [(column.name, _reader(column.type)) for column in flights.c if column.name != "id"]
    for number, record in enumerate(nycflights.flights(), start=1):
        if chosen is None or number in chosen:
            row: dict[str, Any] = {"id": number}
            for name, read in readers:
                text = record[name]
                row[name] = None if text == nycflights.NOT_AVAILABLE else read(text)
            yield row


def _reader(kind: sa.types.TypeEngine[Any]) -> Callable[[str], Any]:
    if isinstance(kind, sa.DateTime):
        return lambda text: datetime.datetime.fromisoformat(text).replace(tzinfo=None)
    return int if isinstance(kind, sa.Integer) else str


# --- the sample ----------------------------------------------------------------------------------

ODD: Mapping[str, Callable[[Mapping[str, str]], bool]] = {
    "cancelled": lambda r: r["dep_time"] == "NA",
    "departed at 2400": lambda r: r["dep_time"] == "2400",
    "departed between 00:01 and 00:09": lambda r: len(r["dep_time"]) == 1,
    "departed on the day after": lambda r: int(_or_0(r["dep_delay"])) > 0 and _clock_runs_back(r),
    "never arrived": lambda r: r["dep_time"] != "NA" and r["arr_time"] == "NA",
    "arrived, by how much late is unknown": lambda r: r["arr_time"] != "NA" and r["arr_delay"] == "NA",
    "arrived at 2400": lambda r: r["arr_time"] == "2400",
    "arrived after midnight": lambda r: 0 < int(_or_0(r["arr_time"])) < int(_or_0(r["dep_time"])),
    "no tail number": lambda r: r["tailnum"] == "NA",
}
"""The special cases, of which every sample contains some rows."""


def _or_0(text: str) -> str:
    return "0" if text == "NA" else text


def _clock_runs_back(record: Mapping[str, str]) -> bool:
    return int(record["dep_time"]) < int(record["sched_dep_time"])


def sample(size: int) -> frozenset[int]:
    """Returns the ids of *size* flights: some of each special case, the others evenly from the whole year."""
    if size < FEWEST_ROWS:
        raise SystemExit(f"--rows must be at least {FEWEST_ROWS}")
    odd: dict[str, list[int]] = {kind: [] for kind in ODD}
    last = 0
    for last, record in enumerate(nycflights.flights(), start=1):
        for kind, is_odd in ODD.items():
            if len(odd[kind]) < OF_EACH_ODD_KIND and is_odd(record):
                odd[kind].append(last)
    chosen = set(itertools.chain.from_iterable(odd.values()))
    others = [number for number in range(1, last + 1) if number not in chosen]
    return frozenset(chosen | set(_evenly(others, size - len(chosen))))


def _evenly(numbers: Sequence[int], wanted: int) -> Iterator[int]:
    wanted = min(wanted, len(numbers))
    return (numbers[i * len(numbers) // wanted] for i in range(wanted))


# --- loading -------------------------------------------------------------------------------------


def load(url: str, size: int | None = None) -> int:
    """Creates the table and loads all flights or a sample of *size* flights; returns the number of rows."""
    engine = sa.create_engine(url)
    try:
        if sa.inspect(engine).has_table(flights.name):
            raise SystemExit("there is a table flights in this database already: name an empty database")
        chosen = None if size is None else sample(size)
        metadata.create_all(engine)
        loaded = 0
        for page in _pages(old_rows(chosen)):
            with engine.begin() as connection:
                connection.execute(sa.insert(flights), page)
            loaded += len(page)
    finally:
        engine.dispose()
    return loaded


def _pages(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while page := list(itertools.islice(rows, PAGE)):
        yield page


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Load the flights of 2013 in their old shape.")
    parser.add_argument("--url", required=True, help="an empty database, as a SQLAlchemy URL")
    parser.add_argument("--rows", type=int, help="a sample of so many rows [default: all 336,776]")
    arguments = parser.parse_args()
    begin = time.monotonic()
    loaded = load(arguments.url, arguments.rows)
    print(f"loaded {loaded:,} flights in {time.monotonic() - begin:.1f} s")


if __name__ == "__main__":
    main()
