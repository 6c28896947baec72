"""The contenders that fill ``size_bytes`` or ``label``: this engine, and its alternatives."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from benchmarks.driver_loop import DRIVERS, GB, LEASES
from online_migrate.state.tables import worker


@dataclasses.dataclass(frozen=True)
class Run:
    """The cost of one run."""

    seconds: float
    cpu: float | None = None
    """CPU time of the client, in seconds."""
    memory: int | None = None
    """Peak memory of the client, in bytes."""
    began: float | None = None
    """The start of the client's process, in seconds of the monotonic clock."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to fill the column."""

    name: str
    run: Callable[[str, float], Run]
    """Takes the URL, and the seconds after which a slow contender may stop: its rate is known by then."""
    column: str = "size_bytes"
    """The column that is filled; a row with a value in it is done, even if the application wrote it."""


# --- by hand -------------------------------------------------------------------------------------


def by_hand(what: str, shape: str) -> Callable[[str, float], Run]:
    """Returns the run of an alternative in its own process, which also has to import SQLAlchemy."""

    def run(url: str, patience: float) -> Run:
        command = [sys.executable, "-m", "benchmarks.by_hand", what, url, f"{patience}", shape]
        return _measured(command, Path(__file__).parents[1])

    return run


def driver_loop(what: str, size: int) -> Callable[[str, float], Run]:
    """Returns the run of a loop of :mod:`benchmarks.driver_loop` in its own process, without SQLAlchemy.

    *what*: ``by_hand`` or ``engine``. *size*: the rows of a chunk.
    """

    def run(url: str, patience: float) -> Run:
        server = "postgresql" if sa.make_url(url).get_backend_name() == "postgresql" else "mysql"
        driver = sa.make_url(url).set(drivername=f"{server}+{DRIVERS[server]}")
        engine = sa.create_engine(driver)
        if what == "engine":
            _make_lease(engine)
        arguments = json.dumps(engine.dialect.create_connect_args(driver))
        command = [sys.executable, "-m", "benchmarks.driver_loop", server, what, f"{size}", arguments]
        return _measured(command, Path(__file__).parents[1])

    return run


def _make_lease(engine: sa.Engine) -> None:
    """Creates a table like the engine's own with one lease, of the whole table."""
    leases = worker.to_metadata(sa.MetaData(), name=LEASES)
    leases.drop(engine, checkfirst=True)
    leases.create(engine)
    lease = {"id": "worker", "name": "bytes", "runner": "benchmark", "extent": 1, "upper_key": "[]"}
    lease |= {"done": 0, "heartbeat": 0, "started_at": datetime.datetime(2024, 1, 1)}
    with engine.begin() as connection:
        connection.execute(sa.insert(leases).values(**lease))
    engine.dispose()


# --- this engine ---------------------------------------------------------------------------------

_DATA = f"""
import sqlalchemy as sa
from online_migrate import Backfill, row_migration

bytes_ = Backfill(
    name="bytes", table="volumes",
    values=lambda t: {{"size_bytes": sa.cast(t.c.size_gb, sa.BigInteger) * {GB}}},
    pending=lambda t: t.c.size_bytes.is_(None),
)

@row_migration(table="volumes", columns=["display_name", "host"], pending=lambda t: t.c.label.is_(None))
def label(row):
    return {{"label": f"{{row.display_name}} ({{row.host}})"}}
"""


def ours(migration: str, *options: str) -> Callable[[str, float], Run]:
    """Returns the run of ``online-migrate migrate`` with *options*."""

    def run(url: str, patience: float) -> Run:
        with _project() as folder:
            _forget(url)
            command = [sys.executable, "-m", "online_migrate", "--url", url, "migrate", migration, *options]
            return _measured(command, folder)

    return run


def _forget(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in ("data_migration", "walk", "worker", "failure"):
            if sa.inspect(connection).has_table(f"online_migrate_{table}"):
                connection.execute(sa.text(f"DELETE FROM online_migrate_{table}"))


class _project:
    def __enter__(self) -> Path:
        from online_migrate.script.init import init

        self._folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
        init(self._folder / "alembic.ini")
        (self._folder / "migrations" / "data" / "volumes.py").write_text(_DATA)
        return self._folder

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._folder)


def _measured(command: list[str], folder: Path) -> Run:
    """Runs *command* and returns its cost; raises :class:`RuntimeError` if it fails."""
    began, memory = time.monotonic(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        while True:
            # ru_maxrss would include the memory of this process at the time of the fork.
            memory = max(memory, _most_memory(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command[3:])}: {output.read().decode()[-2000:]}")
    return Run(seconds, cpu=usage.ru_utime + usage.ru_stime, memory=memory, began=began)


def _most_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def percona(url: str, patience: float) -> Run:
    """Runs pt-online-schema-change to rebuild the table: it computes no values, but copies every row."""
    parsed = sa.make_url(url)
    dsn = f"h={parsed.host},P={parsed.port},u={parsed.username},D={parsed.database},t=volumes"
    command = ["pt-online-schema-change", "--alter", "ENGINE=InnoDB", "--execute", "--no-version-check"]
    command += ["--recursion-method=none", f"--password={parsed.password}", dsn]
    return _measured(command, Path.cwd())


def _loops() -> Iterator[Contender]:
    yield Contender("driver loop, 5,000 rows", driver_loop("by_hand", 5_000))
    for size in (1_400, 5_000):
        name = f"the engine's statements, driver loop, {size:,} rows"
        yield Contender(name, driver_loop("engine", size))


def curve(shape: str) -> Iterator[Contender]:
    """Yields the same chunks with increasing pauses: the effect of each duty cycle on user latency."""
    yield Contender("single UPDATE", by_hand("single", shape))
    yield from _loops()
    for chunk_time in ("0.003", "0.007", "0.015", "0.05"):
        for share in (1.0, 0.67, 0.5, 0.33, 0.2):
            options = ("--pace", "full", "--chunk-time", chunk_time, "--nice", f"{1 / share - 1:.2f}")
            name = f"Backfill, chunks of {float(chunk_time) * 1000:.0f} ms, {share:.0%} of the time"
            yield Contender(name, ours("bytes", *options))


def contenders(engine: sa.Engine, shape: str) -> Iterator[Contender]:
    """Yields all contenders that can run on this server and machine."""
    yield Contender("single UPDATE", by_hand("single", shape))
    yield Contender("keyset loop, 5,000 rows", by_hand("keyset", shape))
    yield from _loops()
    yield Contender("Backfill, --pace full", ours("bytes", "--pace", "full"))
    yield Contender("Backfill, --pace full, 2 workers", ours("bytes", "--pace", "full", "--workers", "2"))
    yield Contender("Backfill, default", ours("bytes"))
    yield Contender("Backfill, --pace gentle", ours("bytes", "--pace", "gentle"))
    yield Contender("row_migration, --pace full", ours("label", "--pace", "full"), "label")
    several = ours("label", "--pace", "full", "--workers", "2")
    yield Contender("row_migration, --pace full, 2 workers", several, "label")
    yield Contender("ORM loop, 1,000 rows", by_hand("orm", shape), "label")
    yield Contender("Cinder's loop, 50 rows", by_hand("cinder", shape))
    if engine.dialect.name == "postgresql":
        yield Contender("trigger, every row touched (pgroll's way)", by_hand("touch", shape))
    if engine.dialect.name in ("mysql", "mariadb") and shutil.which("pt-online-schema-change"):
        yield Contender("pt-online-schema-change (rebuild)", percona, "id")
