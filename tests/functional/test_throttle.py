"""Throttlers on real servers: a run waits, says why, goes on, or gives up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import Limits, Outcome
from online_migrate.migrate.progress import Silent, Snapshot
from tests.servers import Database
from tests.support.project import Project, execute, scalar

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""
COUNTERS = {"postgresql": "idle_in_transaction", "mysql": "Threads_connected", "mariadb": "Threads_connected"}
"""What an open transaction, or an open connection, raises."""


class Watch(Silent):
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.waits = threading.Event()

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.waits_for:
            self.reasons.append(snapshot.waits_for)
            self.waits.set()


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as project:
        execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
        with database.engine.begin() as connection:
            insert = sa.text("INSERT INTO items (id) VALUES (:id)")
            connection.execute(insert, [{"id": i} for i in range(1, 101)])
        project.data("fill", FILL)
        yield project


def test_a_file_holds_a_run_and_status_says_so(database: Database, project: Project, tmp_path: Path) -> None:
    """Not one row moves while it is there; everybody can see why; then all of them do."""
    stop = tmp_path / "stop"
    stop.touch()
    process = project.start("migrate", "--throttle-file", str(stop), "--batch-size", "10")
    end = time.monotonic() + 60
    while True:
        workers = project.status("fill").workers
        if workers and workers[0].waits_for:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    assert workers[0].waits_for == f"file: {stop} is there"
    assert f"waits: file: {stop} is there" in project.run("status").out
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0
    stop.unlink()
    ran = process.wait()
    assert (ran.code, ran.complaint) == (0, ran.complaint)
    assert scalar(database.engine, "SELECT count(size) FROM items") == 100


def test_a_query_holds_a_run_until_it_gives_nothing(database: Database, project: Project) -> None:
    """The application says by a row of its own when it has no time for us."""
    execute(database.engine, "CREATE TABLE busy (n INTEGER)", "INSERT INTO busy VALUES (1)")
    watch = Watch()

    def over() -> None:
        assert watch.waits.wait(60)
        execute(database.engine, "DELETE FROM busy")

    thread = threading.Thread(target=over)
    thread.start()
    site = project.site(listener=watch)
    [result] = command.migrate(site, limits=Limits(throttle_query="SELECT count(*) FROM busy"))
    thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert "query: it gives 1" in watch.reasons


@pytest.mark.needs("many_writers")
def test_load_holds_a_run(database: Database, project: Project) -> None:
    """While a counter of the server is above its limit nothing moves; when it is not, everything does."""
    counter = COUNTERS[database.server.product]
    with database.engine.connect() as busy:
        busy.execute(sa.text("SELECT 1 FROM items"))
        held = project.run("migrate", "--max-load", f"{counter}=0", "--max-time", "2s")
        assert held.code == 1
        assert scalar(database.engine, "SELECT count(size) FROM items") == 0
        [result] = command.migrate(project.site(), limits=Limits(max_load=f"{counter}=100000"))
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)


@pytest.mark.needs("many_writers")
def test_a_critical_load_ends_a_run(database: Database, project: Project) -> None:
    """Exit code 1, with the reason; nothing is lost, and the next run goes on."""
    stop = project.folder / "stop"
    stop.touch()
    with database.engine.connect() as busy:
        busy.execute(sa.text("SELECT 1 FROM items"))
        counter = COUNTERS[database.server.product]
        ran = project.run("migrate", "--critical-load", f"{counter}=0", "--throttle-file", str(stop))
    assert ran.code == 1
    assert any(
        line.startswith(f"stopping after this chunk: critical-load: {counter}=") for line in ran.complaint
    )
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0
    assert project.run("migrate").code == 0
    assert scalar(database.engine, "SELECT count(size) FROM items") == 100


def test_what_cannot_be_read_is_refused_and_nothing_is_changed(database: Database, project: Project) -> None:
    """Wrong arguments: exit 127, the option's name, and no row moved."""
    for options, words in (
        (("--max-load", "x"), "'max-load' cannot be understood"),
        (("--critical-load", "No_such_counter=1"), "no counter 'No_such_counter'"),
        (("--throttle-query", "SELECT FROM WHERE"), "'query' cannot be read"),
    ):
        ran = project.run("migrate", *options)
        assert ran.code == 127
        assert words in ran.complaint[0]
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0
