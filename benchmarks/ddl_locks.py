"""Measures how long a schema change stalls an application while a transaction holds the table.

``python -m benchmarks.ddl_locks --url URL [--hold 30] [--load 200]``, in an empty database: its table volumes
is replaced. Contenders: a plain ALTER TABLE; an ALTER TABLE with a lock timeout of one second, which is tried
again every three seconds; ``online-migrate expand``; ``online-migrate contract``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from benchmarks.application import application
from benchmarks.shape import copy, fill

_SHAPE = "lean"
_STALL = 40.0
"""Milliseconds above which a statement of the application counts as stalled."""
_ALTER = "ALTER TABLE volumes ADD COLUMN added INTEGER"
_TIMEOUT = {"postgresql": "SET lock_timeout = '1s'", "mysql": "SET SESSION lock_wait_timeout = 1"}


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one contender did to the application."""

    name: str
    stalls: int
    """Periods in which a statement of the application was stalled."""
    queued: float
    """The longest latency while the holder's transaction was open, in milliseconds: caused by a statement of
    the contender in the lock queue."""
    held: float
    """The longest latency after the end of that transaction, in milliseconds: caused by the time for which
    the contender itself holds the lock."""
    stalled: float
    """Seconds in which some statement was stalled."""
    after: float
    """Seconds from the end of the holder's transaction until the end of the contender."""
    named: bool | None
    """True if the contender named the holder while it waited; None: it has no such message."""


def main() -> int:
    """Runs the contenders one after the other, and prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ddl_locks", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database; its table volumes is replaced")
    parser.add_argument("--hold", type=float, default=30.0, help="seconds for which a transaction is open")
    parser.add_argument("--load", type=float, default=200.0, help="application statements a second")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only", action="append", default=[], help="a part of a contender's name")
    options = parser.parse_args()
    engine = sa.create_engine(options.url)
    fill(engine, _SHAPE, options.rows)
    found = []
    for name, contender in _CONTENDERS.items():
        if not options.only or any(part in name for part in options.only):
            found.append(_measure(engine, options, name, contender))
            print(found[-1], file=sys.stderr, flush=True)
    print(report(engine, options, found))
    return 0


def report(engine: sa.Engine, options: argparse.Namespace, found: Sequence[Measured]) -> str:
    """Returns the Markdown table."""
    with engine.connect() as connection:
        version = str(connection.scalar(sa.text("SELECT version()"))).split(" on ")[0]
    lines = [
        f"{version}; {options.rows:,} rows; a transaction is open for {options.hold:g} s; "
        f"{options.load:g} application statements a second",
        "",
        "| | stalls | longest while the holder's transaction is open, ms | longest after it, ms | stalled, s "
        "| applied, s after it | holder named |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        named = {True: "yes", False: "no", None: ""}[one.named]
        longest = f"{one.queued:.0f} | {one.held:.0f}"
        numbers = f"{one.stalls} | {longest} | {one.stalled:.1f} | {one.after:.1f}"
        lines.append(f"| {one.name} | {numbers} | {named} |")
    return "\n".join(lines)


def _measure(
    engine: sa.Engine, options: argparse.Namespace, name: str, contender: Callable[[str], _Contender]
) -> Measured:
    copy(engine, _SHAPE)
    with contender(engine.url.render_as_string(hide_password=False)) as run:
        with application(options.url, options.load) as samples, _held(engine, options.hold) as held:
            began = time.monotonic()
            said = run()
            ended = time.monotonic()
        latencies = [sample for kind in samples.values() for sample in kind if began <= sample[0] <= ended]
        stalls = _merged([(at, at + took / 1000) for at, took in latencies if took > _STALL])
        [end] = held
        periods = [(at, at + took / 1000) for at, took in latencies]
        return Measured(
            name,
            stalls=len(stalls),
            queued=1000 * max((min(until, end) - at for at, until in periods), default=0.0),
            held=1000 * max((until - max(at, end) for at, until in periods), default=0.0),
            stalled=sum(end - start for start, end in stalls),
            after=ended - end,
            named=None if said is None else bool(re.search(r"outside of the lock queue\n  held by", said)),
        )


def _merged(periods: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the periods, with overlapping ones merged."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(periods):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


@contextlib.contextmanager
def _held(engine: sa.Engine, seconds: float) -> Iterator[list[float]]:
    """Opens a transaction that has written the first row, for *seconds*; yields the time of its end."""
    ended: list[float] = []
    with engine.connect() as holder:
        first = holder.scalar(sa.text("SELECT min(id) FROM volumes"))
        holder.execute(sa.text("UPDATE volumes SET status = 'held' WHERE id = :id"), {"id": first})

        def end() -> None:
            holder.rollback()
            ended.append(time.monotonic())

        # The contender starts when the transaction is old.
        time.sleep(2)
        timer = threading.Timer(seconds - 2, end)
        timer.start()
        yield ended
        timer.join()


# --- contenders ----------------------------------------------------------------------------------

Run = Callable[[], "str | None"]
"""Applies the change; returns what was printed, or None."""
_Contender = contextlib.AbstractContextManager[Run]


@contextlib.contextmanager
def _plain(url: str) -> Iterator[Run]:
    def run() -> None:
        with sa.create_engine(url).begin() as connection:
            connection.execute(sa.text(_ALTER))

    yield run


@contextlib.contextmanager
def _with_timeout(url: str) -> Iterator[Run]:
    server = "postgresql" if sa.make_url(url).get_backend_name() == "postgresql" else "mysql"

    def run() -> None:
        with sa.create_engine(url).connect() as connection:
            while True:
                connection.execute(sa.text(_TIMEOUT[server]))
                try:
                    connection.execute(sa.text(_ALTER))
                    connection.commit()
                except exc.OperationalError:
                    connection.rollback()
                    time.sleep(2)
                else:
                    return

    yield run


_SCRIPT = """
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends!r}
{requires}

def upgrade():
    {upgrade}
"""
_DATA = """
import sqlalchemy as sa
from online_migrate import Backfill
bytes_ = Backfill(name="bytes", table="volumes", values={"size_bytes": 1},
                  pending=lambda t: t.c.size_bytes.is_(None) & (t.c.id < 0))
"""


@contextlib.contextmanager
def _ours(url: str, verb: str, before: Sequence[str]) -> Iterator[Run]:
    """Runs ``online-migrate VERB``, after the commands *before*, in a project with both revisions."""
    from online_migrate.script.init import init

    _forget(url)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        scripts = Path(folder) / "migrations"
        init(Path(folder) / "alembic.ini")
        expand = {"revision": "e1", "down": None, "labels": ("expand",), "depends": None, "requires": ""}
        expand["upgrade"] = 'op.add_column("volumes", sa.Column("added", sa.Integer))'
        contract = {"revision": "c1", "down": None, "labels": ("contract",), "depends": "e1"}
        contract |= {"requires": 'requires = ("bytes",)', "upgrade": 'op.drop_column("volumes", "added")'}
        (scripts / "expand" / "e1.py").write_text(_SCRIPT.format(**expand))
        (scripts / "contract" / "c1.py").write_text(_SCRIPT.format(**contract))
        (scripts / "data" / "bytes.py").write_text(_DATA)

        def execute(*arguments: str) -> str:
            command = [sys.executable, "-m", "online_migrate", "--url", url, *arguments]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{arguments}: {done.stderr[-2000:]}")
            return done.stderr

        for command in before:
            execute(command)
        yield lambda: execute(verb)


def _forget(url: str) -> None:
    """Removes the version table and the bookkeeping tables of an earlier contender."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in sa.inspect(connection).get_table_names():
            if table.startswith("online_migrate_") or table == "alembic_version":
                connection.execute(sa.text(f"DROP TABLE {table}"))
    engine.dispose()


_CONTENDERS: dict[str, Callable[[str], _Contender]] = {
    "plain ALTER TABLE": _plain,
    "ALTER TABLE, lock timeout 1 s, retries": _with_timeout,
    "`online-migrate expand`": lambda url: _ours(url, "expand", ()),
    "`online-migrate contract`": lambda url: _ours(url, "contract", ("expand", "migrate")),
}


if __name__ == "__main__":
    sys.exit(main())
