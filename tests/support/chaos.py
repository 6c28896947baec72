"""Disturbances at random times, and the records that prove that no row was lost and none migrated twice."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tests.servers import Database
from tests.support.project import PATIENCE, Process, Project, create, insert, rows, scalar

SEED_VARIABLE = "ONLINE_MIGRATE_TEST_SEED"
NUMBER_VARIABLE = "ONLINE_MIGRATE_TEST_HISTORIES"


def new_seed() -> int:
    """Returns a new seed for each test, or the seed in the environment; pytest shows it with a failure."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1_000_000))
    print(f"the moments are those of {SEED_VARIABLE}={seed}")
    return seed


def number_of_histories(*, short: int, long: int, is_long: bool) -> int:
    """Returns how many histories a test runs on each server; the environment may give another number."""
    return int(os.environ.get(NUMBER_VARIABLE) or (long if is_long else short))


def wait_until(true: Callable[[], object], what: str) -> None:
    """Waits until *true* returns a true value, for at most PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


def patient_engine(database: Database, **options: Any) -> sa.Engine:
    """Returns an engine that, on SQLite, waits for the writer for up to PATIENCE seconds."""
    if database.server.product == "sqlite":
        options["connect_args"] = {"timeout": PATIENCE}
    return sa.create_engine(database.url, **options)


# --- an application ------------------------------------------------------------------------------

PACED = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def paced(row):
    (FOLDER / "working").touch()
    time.sleep(float(os.environ.get("PACE", "0")))
    return {"hits": row.hits + 1, "size": row.gb * 10}

doubled = Backfill(table="items", after="paced", values=lambda t: {"twice": t.c.size * 2},
                   pending=lambda t: t.c.twice != t.c.size * 2)
"""
"""The data migrations of the table of an :class:`Application`."""


class Application:
    """The old version of an application: it inserts, updates and deletes rows, and keeps a ledger.

    ``want`` is the number of times that a row must have been migrated: once, and once more after each time
    that the application reset it.
    """

    def __init__(self, database: Database, count: int, seed: int) -> None:
        self._table = create(
            database.engine,
            sa.Table(
                "items",
                sa.MetaData(),
                sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                sa.Column("gb", sa.Integer, nullable=False),
                sa.Column("size", sa.Integer),
                sa.Column("twice", sa.Integer),
                sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
                sa.Column("want", sa.Integer, nullable=False),
            ),
        )
        insert(database.engine, self._table, [{"id": i, "gb": i, "want": 1} for i in range(count)])
        self._count = count
        self.engine = patient_engine(database)
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._errors: list[BaseException] = []
        self.ledger: dict[int, int] = {i: i for i in range(count)}
        self.writes = 0

    def __enter__(self) -> Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.engine.dispose()
        assert not self._errors, self._errors

    def assert_served(self, project: Project) -> None:
        """Asserts that each row has the application's last value and was migrated ``want`` times."""
        assert project.counts("paced") == (len(self.ledger), 0, 0)
        query = "SELECT id, gb, size, twice, hits, want FROM items"
        found = {row[0]: row[1:] for row in rows(self.engine, query)}
        assert {number: values[0] for number, values in found.items()} == self.ledger
        for number, (gb, size, twice, hits, want) in found.items():
            assert (size, twice, hits) == (gb * 10, gb * 20, want), number

    def _write(self) -> None:
        try:
            while not self._stop.wait(0.002):
                self._act(self._random.choice((self._insert, self._update, self._update, self._delete)))
        except Exception as error:  # noqa: BLE001 - shown by the test's thread
            self._errors.append(error)

    def _act(self, action: Callable[[sa.Connection, int], int | None]) -> None:
        number = self._random.randrange(-self._count, 3 * self._count)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self.engine.begin() as connection:
                    now = action(connection, number)
            except OperationalError:
                if time.monotonic() > end:
                    raise
                continue  # a deadlock or a lock timeout: an application retries
            break
        self.writes += 1
        if now is None:
            self.ledger.pop(number, None)
        else:
            self.ledger[number] = now

    def _insert(self, connection: sa.Connection, number: int) -> int | None:
        if number in self.ledger:
            return self.ledger[number]
        connection.execute(sa.insert(self._table).values(id=number, gb=number, want=1))
        return number

    def _update(self, connection: sa.Connection, number: int) -> int | None:
        if number not in self.ledger:
            return None
        gb = self._random.randrange(1_000)
        t = self._table
        undone = {"gb": gb, "size": None, "want": t.c.hits + 1}
        connection.execute(sa.update(t).where(t.c.id == number).values(undone))
        return gb

    def _delete(self, connection: sa.Connection, number: int) -> None:
        connection.execute(sa.delete(self._table).where(self._table.c.id == number))


# --- a table that accounts for every row ---------------------------------------------------------

THREE_KINDS = """
import random
log = sa.table("log", sa.column("item"))

@batch_migration(table="items")
def logged(connection, chunk):
    t = chunk.table
    connection.execute(sa.insert(log).from_select(["item"], sa.select(t.c.id).where(chunk.where)))
    return connection.execute(sa.update(t).where(chunk.where).values(hits=t.c.hits + 1)).rowcount

sized = Backfill(table="items", values=lambda t: {"size": t.c.gb * 10 + 1, "sizings": t.c.sizings + 1},
                 pending=lambda t: t.c.size.is_(None))

@row_migration(table="items", pending=lambda t: t.c.name.is_(None))
def named(row):
    return {"name": f"{row.id}/{row.gb}", "namings": row.namings + 1}

def pause(share=1.0):
    if (FOLDER / "slow").exists():
        time.sleep(random.uniform(0, share * float((FOLDER / "slow").read_text() or 0)))

@sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
def before_execute(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith(("UPDATE items", "UPDATE (SELECT")):
        connection.info["moving"] = True
        pause()

@sa.event.listens_for(sa.engine.Engine, "commit")
def before_commit(connection):
    if connection.info.pop("moving", False):
        pause()
"""
"""Data migrations that record every effect, with delays inside their transactions."""
NAMES = ("logged", "sized", "named")
_AHEAD = 400
"""The number of rows that always remain, so that there is work to disturb."""


class Books:
    """A table that three data migrations fill, each row once; rows are added while they run."""

    def __init__(self, database: Database, project: Project, pace: float = 0.04) -> None:
        """*pace*: the approximate seconds that a chunk takes until :meth:`hurry`."""
        # The server behind the URL may change between two reads.
        self.engine = patient_engine(database, poolclass=sa.NullPool)
        self.project = project
        self.count = 0
        self._cluster = database.server.has("cluster")
        metadata = sa.MetaData()
        self._items = create(
            self.engine,
            sa.Table(
                "items",
                metadata,
                sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                sa.Column("gb", sa.Integer, nullable=False),
                sa.Column("size", sa.Integer),
                sa.Column("name", sa.String(40)),
                *(
                    sa.Column(name, sa.Integer, nullable=False, server_default="0")
                    for name in ("hits", "sizings", "namings")
                ),
            ),
        )
        entry = sa.Column("id", sa.Integer, primary_key=True)
        create(self.engine, sa.Table("log", metadata, entry, sa.Column("item", sa.Integer, nullable=False)))
        project.expand("pass")
        project.contract("pass", requires=("sized", "named"))
        project.data("kinds", THREE_KINDS)
        project.apply_expand()
        self._slow = project.folder / "slow"
        self._slow.write_text(f"{pace}")
        self.feed()

    def feed(self) -> None:
        """Adds rows until each data migration has pending ones."""
        new = max(0, max(self._done()) + _AHEAD - self.count)
        added = [{"id": i, "gb": i * 7919 % 1000} for i in range(self.count, self.count + new)]
        insert(self.engine, self._items, added)
        self.count += new

    def wait_for_progress(self, meanwhile: Callable[[], object]) -> None:
        """Waits until more rows are migrated than now; *meanwhile* is called repeatedly."""
        before = sum(self._done())

        def progress() -> bool:
            meanwhile()
            return sum(self._done()) > before

        wait_until(progress, "any progress")

    def _done(self) -> list[int]:
        sums = ", ".join(f"coalesce(sum({effect}), 0)" for effect in ("hits", "sizings", "namings"))
        [done] = rows(self.engine, f"SELECT {sums} FROM items")
        return [int(count) for count in done]

    def hurry(self) -> None:
        """Removes the delays of chunks from now on."""
        self._slow.unlink(missing_ok=True)

    def close(self) -> None:
        """Runs the remaining work, and checks every row, the result of ``status`` and the gate."""
        ran = self.project.run("migrate", "--workers", "2")
        assert ran.code == 0, ran
        query = "SELECT id, gb, hits, size, sizings, name, namings FROM items ORDER BY id"
        found = rows(self.engine, query)
        wrong = [row for row in found if row[2:] != (1, row[1] * 10 + 1, 1, f"{row[0]}/{row[1]}", 1)]
        assert not wrong, (len(wrong), wrong[:20])
        ids = list(range(self.count))
        assert [row[0] for row in found] == ids
        assert [row[0] for row in rows(self.engine, "SELECT item FROM log ORDER BY item")] == ids
        self._assert_status()
        assert scalar(self.engine, "SELECT count(*) FROM online_migrate_failure") == 0
        # On a node of a cluster the gate is never open; its only blocker must be the server.
        expected = ["server"] if self._cluster else []
        gate = self.project.run("gate", "--json")
        assert [blocker["id"] for blocker in gate.json["blockers"]] == expected, gate
        assert gate.code == (3 if expected else 0), gate

    def _assert_status(self) -> None:
        shown = {one["name"]: one for one in self.project.run("status", "--json").json["migrations"]}
        assert set(shown) == set(NAMES)
        for name, one in shown.items():
            assert (one["status"], one["done"]) == ("complete", self.count), one
            assert not one["failed"], one
            if name != "logged":
                assert one["done"] + one["pending"] + one["failed"] == one["total"] == self.count, one


# --- processes -----------------------------------------------------------------------------------


class Crowd:
    """A constant number of processes, of two workers each, that share data migrations."""

    def __init__(
        self,
        project: Project,
        engine: sa.Engine,
        moments: random.Random,
        *names: str,
        size: int = 2,
        codes: Collection[int] = (0, 1),
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """*codes*: the exit codes with which a process may end by itself.

        *before*: is called before a process is chosen.
        """
        self._environment = environment
        self._project = project
        self._engine = engine
        self._moments = moments
        self._names = names
        self._size = size
        self._codes = codes
        self._before = before
        self._processes: list[Process] = []
        self.started = 0
        """The number of processes started."""
        self.ended: list[int] = []
        """The exit codes of the processes that ended by themselves."""

    def fill(self) -> None:
        """Replaces the processes that ended."""
        for process in [one for one in self._processes if not one.running]:
            self._processes.remove(process)
            self._judge(process)
        while len(self._processes) < self._size:
            # Each process has its own order of the names, so that all data migrations always have a worker.
            names = self._moments.sample(self._names, len(self._names))
            command = ["migrate", "--workers", "2", *names]
            self.started += 1
            self._processes.append(self._project.start(*command, environment=self._environment))

    def at_work(self) -> Process:
        """Returns a random process that holds rows."""
        found: list[Process] = []

        def find() -> bool:
            self._before()
            self.fill()
            holders = self.holders()
            found[:] = [one for one in self._processes if one.pid in holders]
            return bool(found)

        wait_until(find, "a process that holds rows")
        return self._moments.choice(found)

    def holders(self) -> dict[int, set[str]]:
        """Returns the workers that hold rows, by process id."""
        found: dict[int, set[str]] = {}
        query = "SELECT runner, id FROM online_migrate_worker WHERE extent IS NOT NULL"
        for runner, worker in rows(self._engine, query):
            found.setdefault(int(runner.rpartition(":")[2]), set()).add(worker)
        return found

    def kill(self, process: Process) -> bool:
        """Sends kill -9; returns False if the process had ended before."""
        running = process.running
        if running:
            self._processes.remove(process)
            process.kill()
        return running

    def end(self) -> None:
        """Waits until all processes have ended by themselves."""
        while self._processes:
            self._judge(self._processes.pop())

    def _judge(self, process: Process) -> None:
        ran = process.wait()
        assert "Traceback" not in ran.err, ran
        assert ran.code in self._codes, ran
        self.ended.append(ran.code)
