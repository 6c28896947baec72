"""Measures the exclusive lock of contract, and the answer of the gate, with and without a barrier.

``python -m benchmarks.barriers --url URL [--rows 10000000]``, in an empty database: its tables are replaced.
While contract runs, another session reads one row by its key over and over; its longest wait is the time for
which the table was locked.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import CommandContext, MigrateOptions
from online_migrate.expand import bootstrap
from online_migrate.script.init import init

_EXPAND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "e1", None, ("expand",), None
def upgrade():
    op.add_column("sizes", sa.Column("added", sa.Integer))
"""
_CONTRACT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "c1", None, ("contract",), "e1"
requires = ("size_bytes",)
def upgrade():
    op.drop_column("sizes", "size_gb")
"""
_DATA = """
import sqlalchemy as sa
from online_migrate import Backfill
size_bytes = Backfill(
    table="sizes",
    values=lambda t: {"size_bytes": t.c.size_gb * 1024},
    pending=lambda t: t.c.size_bytes.is_(None) & t.c.size_gb.is_not(None),
    revision="e1",
)
"""
_ROWS = 500_000
"""Rows of one INSERT."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a contract did, in seconds."""

    name: str
    verify: float | None
    gate: float
    locked: float
    """The longest wait of a session that reads one row by its key."""
    contract: float


def main() -> int:
    """Measures both, and prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.barriers", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database; its tables are replaced")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    found = []
    for barrier in (False, True):
        found.append(measure(options.url, options.rows, barrier=barrier))
        print(found[-1], file=sys.stderr, flush=True)
    print(report(options.url, options.rows, found))
    return 0


def report(url: str, rows: int, found: list[Measured]) -> str:
    """Returns the Markdown table."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        version = str(connection.scalar(sa.text("SELECT version()"))).split(" on ")[0]
    engine.dispose()
    lines = [f"{version}; {rows:,} rows", "", "| | verify, s | gate, s | table locked, ms | contract, s |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for one in found:
        verify = "" if one.verify is None else f"{one.verify:.1f}"
        lines.append(
            f"| {one.name} | {verify} | {one.gate:.2f} | {one.locked * 1000:.0f} | {one.contract:.2f} |"
        )
    return "\n".join(lines)


def measure(url: str, rows: int, *, barrier: bool) -> Measured:
    """Fills the table, and measures gate and contract; *barrier*: after verify."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    fill(engine, rows)
    with tempfile.TemporaryDirectory() as folder:
        ini = _project(Path(folder))

        def site() -> CommandContext:
            return CommandContext(config_file=ini, given_url=url, echo=_echo)

        command.expand(site())
        command.migrate(site(), limits=MigrateOptions(pace="full"))
        verify = None
        if barrier:
            start = time.monotonic()
            command.verify(site(), limits=MigrateOptions(pace="full"), barrier=True)
            verify = time.monotonic() - start
        start = time.monotonic()
        report = command.gate_report(site())
        gate = time.monotonic() - start
        assert report.blockers == (), report
        assert bool(report.verified) is barrier
        with longest_wait(engine) as waits:
            start = time.monotonic()
            command.contract(site())
            seconds = time.monotonic() - start
    return Measured("with a barrier" if barrier else "without", verify, gate, max(waits), seconds)


def _echo(line: str) -> None:
    print(f"    {line}", file=sys.stderr, flush=True)


def _project(folder: Path) -> Path:
    ini = folder / "alembic.ini"
    init(ini)
    with ini.open("a", encoding="utf-8") as file:
        file.write("look_timeout = 600\ngate_timeout = 600\n")
    migrations = folder / "migrations"
    (migrations / "expand" / "e1.py").write_text(_EXPAND, encoding="utf-8")
    (migrations / "contract" / "c1.py").write_text(_CONTRACT, encoding="utf-8")
    (migrations / "data" / "sizes.py").write_text(_DATA, encoding="utf-8")
    return ini


def fill(engine: sa.Engine, rows: int) -> None:
    """Creates the table with migrated rows, without the state of an earlier measurement."""
    with engine.begin() as connection:
        for table in ("sizes", "alembic_version"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
        bootstrap.drop_all(connection)
        connection.execute(
            sa.text(
                "CREATE TABLE sizes (id INTEGER NOT NULL PRIMARY KEY, size_gb INTEGER, size_bytes BIGINT, "
                "note VARCHAR(100))"
            )
        )
    for first in range(1, rows + 1, _ROWS):
        last = min(first + _ROWS - 1, rows)
        series = f"SELECT generate_series({first}, {last}) AS i"
        if engine.dialect.name != "postgresql":
            digits = "SELECT 0 AS d" + "".join(f" UNION ALL SELECT {digit}" for digit in range(1, 10))
            names = "abcdef"
            number = " + ".join(f"{name}.d * {10**i}" for i, name in enumerate(names))
            tables = " CROSS JOIN ".join(f"({digits}) {name}" for name in names)
            series = f"SELECT {first} + {number} AS i FROM {tables} HAVING i <= {last}"
        with engine.begin() as connection:
            connection.execute(
                sa.text(f"INSERT INTO sizes SELECT i, 1, 1024, REPEAT('x', 60) FROM ({series}) AS n")
            )


@contextlib.contextmanager
def longest_wait(engine: sa.Engine) -> Iterator[list[float]]:
    """Reads one row over and over; yields the seconds of each read."""
    ended = threading.Event()
    waits = [0.0]

    def read() -> None:
        with engine.connect() as connection:
            while not ended.wait(0.001):
                start = time.monotonic()
                connection.execute(sa.text("SELECT note FROM sizes WHERE id = 1")).all()
                connection.commit()
                waits.append(time.monotonic() - start)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
