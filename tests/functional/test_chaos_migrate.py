"""kill -9 at random moments, while the application writes: nothing is lost and nothing is done twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tests.servers import Database
from tests.support.project import Project, create, insert, rows, wait_for

ROWS = 1_500
PACED = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def paced(row):
    (FOLDER / "working").touch()
    time.sleep(float(os.environ.get("PACE", "0")))
    return {"hits": row.hits + 1, "size": row.gb * 10}

doubled = Backfill(table="items", after="paced", values=lambda t: {"twice": t.c.size * 2},
                   pending=lambda t: t.c.twice != t.c.size * 2)
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, batch_size=20) as written:
        written.data("paced", PACED)
        yield written


class Application:
    """The old version of an application: it inserts, updates and deletes rows, and keeps a ledger.

    ``want`` is how often a row must have been migrated: once, and once more after each time that the
    application undid it.
    """

    def __init__(self, database: Database, table: sa.Table, seed: int) -> None:
        self._table = table
        options = {"connect_args": {"timeout": 60}} if database.server.product == "sqlite" else {}
        self._engine = sa.create_engine(database.url, poolclass=sa.NullPool, **options)
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._errors: list[BaseException] = []
        self.ledger: dict[int, int] = {}

    def __enter__(self) -> Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self._errors, self._errors

    def _write(self) -> None:
        try:
            while not self._stop.wait(0.002):
                self._act(self._random.choice((self._insert, self._update, self._update, self._delete)))
        except Exception as error:  # noqa: BLE001 - shown by the test's thread
            self._errors.append(error)

    def _act(self, action: object) -> None:
        number = self._random.randrange(-ROWS, 3 * ROWS)
        while True:
            try:
                with self._engine.begin() as connection:
                    now = action(connection, number)  # type: ignore[operator]
            except OperationalError:
                continue  # a deadlock, a lock timeout: an application tries again
            break
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


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_kills_at_random_moments_lose_nothing_and_do_nothing_twice(
    kills: int, database: Database, project: Project
) -> None:
    """The end state is that of an undisturbed run: each row is there, migrated, exactly once."""
    table = create(
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
    count = ROWS * max(1, kills // 5)
    insert(database.engine, table, [{"id": i, "gb": i, "want": 1} for i in range(count)])
    moments = random.Random(kills)
    killed = 0
    with Application(database, table, seed=kills) as application:
        application.ledger.update({i: i for i in range(count)})
        while killed < kills:
            (project.folder / "working").unlink(missing_ok=True)
            process = project.start("migrate", environment={"PACE": "0.001"})
            wait_for(project.folder / "working", process)
            time.sleep(moments.uniform(0, 0.4))
            killed += process.running
            process.kill()
    ran = project.run("migrate")
    assert ran.code == 0, ran
    assert project.counts("paced") == (len(application.ledger), 0, 0)
    found = {
        row[0]: row[1:] for row in rows(database.engine, "SELECT id, gb, size, twice, hits, want FROM items")
    }
    assert {number: values[0] for number, values in found.items()} == application.ledger
    for number, (gb, size, twice, hits, want) in found.items():
        assert (size, twice, hits) == (gb * 10, gb * 20, want), number
