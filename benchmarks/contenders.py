"""What fills ``size_bytes``, or ``label``: this engine, and what a user would do instead."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, registry

from benchmarks.shape import volumes

GB = 1024**3


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run cost."""

    rows: int
    seconds: float
    cpu: float | None = None
    """Seconds of CPU that the client used."""
    memory: int | None = None
    """Most memory that it held, in bytes."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """Somebody who moves the rows."""

    name: str
    run: Callable[[str, float], Run]
    """URL, and the seconds after which a slow one may stop: its rate is known by then."""
    column: str = "size_bytes"


# --- in this process, by hand --------------------------------------------------------------------


def single_update(url: str, patience: float) -> Run:
    """One UPDATE of the whole table."""
    engine = sa.create_engine(url)
    began = time.monotonic()
    with engine.begin() as connection:
        done = connection.execute(
            sa.text(f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_big(engine)})")
        )
    return Run(done.rowcount, time.monotonic() - began)


def _big(engine: sa.Engine) -> str:
    return "BIGINT" if engine.dialect.name == "postgresql" else "SIGNED"


def keyset(size: int) -> Callable[[str, float], Run]:
    """A loop over ranges of the key, as anybody writes it first."""

    def run(url: str, patience: float) -> Run:
        engine = sa.create_engine(url)
        last, done, began = "", 0, time.monotonic()
        upper = sa.text("SELECT id FROM volumes WHERE id > :last ORDER BY id LIMIT 1 OFFSET :n")
        end = sa.text("SELECT max(id) FROM volumes WHERE id > :last")
        update = sa.text(
            f"UPDATE volumes SET size_bytes = size_gb * CAST({GB} AS {_big(engine)}) "
            "WHERE id > :last AND id <= :upper AND size_bytes IS NULL"
        )
        with engine.connect() as connection:
            while True:
                with connection.begin():
                    found = connection.scalar(upper, {"last": last, "n": size - 1})
                    found = found or connection.scalar(end, {"last": last})
                    if found is None:
                        break
                    done += connection.execute(update, {"last": last, "upper": found}).rowcount
                    last = found
        return Run(done, time.monotonic() - began)

    return run


_TRIGGER = f"""
    CREATE OR REPLACE FUNCTION volumes_size_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.size_bytes := NEW.size_gb * CAST({GB} AS BIGINT); RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER volumes_size_bytes BEFORE INSERT OR UPDATE ON volumes
    FOR EACH ROW EXECUTE FUNCTION volumes_size_bytes();
"""
_TOUCH = """
    WITH batch AS (SELECT id FROM volumes WHERE id > :last ORDER BY id LIMIT 1000 FOR NO KEY UPDATE),
         touched AS (UPDATE volumes SET id = volumes.id FROM batch WHERE volumes.id = batch.id
                     RETURNING volumes.id)
    SELECT max(id), count(*) FROM touched
"""


def touch(url: str, patience: float) -> Run:
    """As pgroll fills a column: a trigger computes it, and every row is touched, a thousand at a time."""
    engine = sa.create_engine(url)
    last, done, began = "", 0, time.monotonic()
    with engine.connect() as connection:
        with connection.begin():
            connection.exec_driver_sql(_TRIGGER)
        while True:
            with connection.begin():
                found, count = connection.execute(sa.text(_TOUCH), {"last": last}).one()
            if found is None:
                break
            last, done = found, done + count
    return Run(done, time.monotonic() - began)


def cinder(url: str, patience: float) -> Run:
    """Cinder's loop: count what is left, load 50 objects that are not migrated, change them, commit."""
    engine = sa.create_engine(url)
    model = type("Volume", (), {})
    registry().map_imperatively(model, volumes())
    done, began = 0, time.monotonic()
    while time.monotonic() - began < patience:
        with Session(engine) as session, session.begin():
            left: Any = session.query(model).filter(model.size_bytes.is_(None))  # type: ignore[attr-defined]
            if not left.count():
                break
            for volume in left.limit(50):
                volume.size_bytes = volume.size_gb * GB
                done += 1
    return Run(done, time.monotonic() - began)


def orm(url: str, patience: float) -> Run:
    """An ORM loop without counting: 1,000 objects at a time, in the order of their key."""
    engine = sa.create_engine(url)
    model = type("Volume", (), {})
    registry().map_imperatively(model, volumes())
    last, done, began = "", 0, time.monotonic()
    while time.monotonic() - began < patience:
        with Session(engine) as session, session.begin():
            query: Any = session.query(model).filter(model.id > last)  # type: ignore[attr-defined]
            found = query.order_by(model.id).limit(1000).all()  # type: ignore[attr-defined]
            if not found:
                break
            for volume in found:
                volume.label = f"{volume.display_name} ({volume.host})"
            last = found[-1].id
            done += len(found)
    return Run(done, time.monotonic() - began)


# --- as a process --------------------------------------------------------------------------------

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
    """``online-migrate migrate``, with options."""

    def run(url: str, patience: float) -> Run:
        with _project() as folder:
            _forget(url)
            command = [sys.executable, "-m", "online_migrate", "--url", url, "migrate", migration, *options]
            ran = _measured(command, folder)
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            done = connection.scalar(sa.text(f"SELECT count({_COLUMNS[migration]}) FROM volumes"))
        return dataclasses.replace(ran, rows=int(done or 0))

    return run


_COLUMNS = {"bytes": "size_bytes", "label": "label"}


def _forget(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in ("data_migration", "walk", "worker", "failure"):
            if sa.inspect(connection).has_table(f"online_migrate_{table}"):
                connection.execute(sa.text(f"DELETE FROM online_migrate_{table}"))


class _project:
    def __enter__(self) -> Path:
        from online_migrate.revision.init import init

        self._folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
        init(self._folder / "alembic.ini")
        (self._folder / "migrations" / "data" / "volumes.py").write_text(_DATA)
        return self._folder

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._folder)


def _measured(command: list[str], folder: Path) -> Run:
    began, memory = time.monotonic(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        while True:
            # Not ru_maxrss, which begins with what this process held when it forked.
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
    return Run(0, seconds, cpu=usage.ru_utime + usage.ru_stime, memory=memory)


def _most_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def percona(url: str, patience: float) -> Run:
    """pt-online-schema-change, rebuilding the table: it moves no values, but every row."""
    parsed = sa.make_url(url)
    dsn = f"h={parsed.host},P={parsed.port},u={parsed.username},D={parsed.database},t=volumes"
    command = ["pt-online-schema-change", "--alter", "ENGINE=InnoDB", "--execute", "--no-version-check"]
    command += ["--recursion-method=none", f"--password={parsed.password}", dsn]
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.scalar(sa.text("SELECT count(*) FROM volumes"))
    return dataclasses.replace(_measured(command, Path.cwd()), rows=int(rows or 0))


def curve() -> Iterator[Contender]:
    """The same chunks with more and more rest between them: what each share of the time costs users."""
    yield Contender("single UPDATE", single_update)
    for chunk_time in ("0.01", "0.02", "0.03", "0.1"):
        for share in (1.0, 0.67, 0.5, 0.33, 0.2):
            options = ("--pace", "full", "--chunk-time", chunk_time, "--nice", f"{1 / share - 1:.2f}")
            name = f"Backfill, chunks of {float(chunk_time) * 1000:.0f} ms, {share:.0%} of the time"
            yield Contender(name, ours("bytes", *options))


def contenders(engine: sa.Engine) -> Iterator[Contender]:
    """All that can run here."""
    yield Contender("single UPDATE", single_update)
    yield Contender("keyset loop, 5,000 rows", keyset(5_000))
    yield Contender("Backfill, --pace full", ours("bytes", "--pace", "full"))
    yield Contender("Backfill, --pace full, 2 workers", ours("bytes", "--pace", "full", "--workers", "2"))
    yield Contender("Backfill, default", ours("bytes"))
    yield Contender("Backfill, --pace gentle", ours("bytes", "--pace", "gentle"))
    yield Contender("row_migration, --pace full", ours("label", "--pace", "full"), "label")
    several = ours("label", "--pace", "full", "--workers", "2")
    yield Contender("row_migration, --pace full, 2 workers", several, "label")
    yield Contender("ORM loop, 1,000 rows", orm, "label")
    yield Contender("Cinder's loop, 50 rows", cinder)
    if engine.dialect.name == "postgresql":
        yield Contender("trigger, every row touched (pgroll's way)", touch)
    if engine.dialect.name == "mysql" and shutil.which("pt-online-schema-change"):
        yield Contender("pt-online-schema-change (rebuild)", percona)
