"""Throttlers on real servers: a run waits, says why, goes on, or gives up."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import MigrateOptions, Outcome
from online_migrate.dialects import dialect_of
from online_migrate.migrate.progress import NullListener, Snapshot
from online_migrate.waiting import Clock, Stop
from tests.servers import Database
from tests.support.project import Project, execute, scalar

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""
COUNTERS = {"postgresql": "idle_in_transaction", "mysql": "Threads_connected", "mariadb": "Threads_connected"}
"""What an open transaction, or an open connection, raises."""


SLOW = """
import time

@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(connection, chunk):
    done = connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1)).rowcount
    time.sleep(0.7)
    return done
"""


class Watch(NullListener):
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
    with Project.create(tmp_path / "project", database.url, pace=None) as project:
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
    assert workers[0].waits_for == f"file: {stop} exists"
    assert f"waiting: file: {stop} exists" in project.run("status").out
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
    [result] = command.migrate(site, limits=MigrateOptions(throttle_query="SELECT count(*) FROM busy"))
    thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert "query: returned 1" in watch.reasons


@pytest.mark.needs("many_writers")
def test_load_holds_a_run(database: Database, project: Project) -> None:
    """While a counter of the server is above its limit nothing moves; when it is not, everything does."""
    counter = COUNTERS[database.server.product]
    with database.engine.connect() as busy:
        busy.execute(sa.text("SELECT 1 FROM items"))
        held = project.run("migrate", "--max-load", f"{counter}=0", "--max-time", "2s")
        assert held.code == 1
        assert scalar(database.engine, "SELECT count(size) FROM items") == 0
        [result] = command.migrate(project.site(), limits=MigrateOptions(max_load=f"{counter}=100000"))
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
        line.startswith(f"stopping after the current chunk: critical-load: {counter}=")
        for line in ran.complaint
    )
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0
    assert project.run("migrate").code == 0
    assert scalar(database.engine, "SELECT count(size) FROM items") == 100


def test_what_cannot_be_read_is_refused_and_nothing_is_changed(database: Database, project: Project) -> None:
    """Wrong arguments: exit 127, the option's name, and no row moved."""
    streams = database.server.product == "postgresql"
    for options, words in (
        (("--max-load", "x"), "'max-load' cannot be parsed"),
        (("--critical-load", "No_such_counter=1"), "no counter 'No_such_counter'"),
        (("--throttle-query", "SELECT FROM WHERE"), "'query' cannot be read"),
        *([] if streams else [(("--max-lag", "5"), "'max-lag' cannot be read: this server does not report")]),
    ):
        ran = project.run("migrate", *options)
        assert ran.code == 127
        assert words in ran.complaint[0]
        # The way out.
        assert ran.complaint[1].startswith("  -> ")
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0


class Rests(Clock):
    """Remembers for how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.waits.append(seconds)
        return super().wait(min(seconds, 0.01), stop)


@pytest.mark.parametrize(("nice", "rests"), [(3.0, True), (0.0, False)])
def test_a_worker_rests_as_long_as_it_is_told(
    nice: float, rests: bool, database: Database, project: Project
) -> None:
    """Three seconds for each second of work; a chunk takes at least a tenth here."""
    project.data("fill", SLOW.replace("0.7", "0.1"))
    clock = Rests()
    asked = MigrateOptions(pace="full", nice=nice, batch_size=20)
    [result] = command.migrate(project.site(clock=clock), limits=asked)
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert (sum(0.3 <= seconds <= 1.0 for seconds in clock.waits) >= 4) is rests, clock.waits


# --- what we do to the server --------------------------------------------------------------------


@pytest.mark.needs("row_locks")
def test_who_waits_for_our_locks_is_counted(database: Database, project: Project) -> None:
    """Others who wait for us; not who waits for somebody else, not one of ours, nobody without sessions."""
    one, two = database.engine.connect(), database.engine.connect()
    dialect = dialect_of(one)
    holder, other = dialect.session_id(one), dialect.session_id(two)
    one.rollback()
    two.rollback()
    one.execute(sa.text("UPDATE items SET size = 1 WHERE id = 7"))

    def wait() -> None:
        two.execute(sa.text("UPDATE items SET size = 2 WHERE id = 7"))
        two.rollback()

    thread = threading.Thread(target=wait)
    thread.start()
    with database.engine.connect() as connection:
        end = time.monotonic() + 60
        while not dialect.blocked_by(connection, [holder]):
            assert time.monotonic() < end
            connection.rollback()
            time.sleep(0.2)
        assert dialect.blocked_by(connection, [holder]) == 1
        assert dialect.blocked_by(connection, [other]) == 0
        assert dialect.blocked_by(connection, [holder, other]) == 0
        assert dialect.blocked_by(connection, []) == 0
        one.rollback()
        thread.join()
        connection.rollback()
        while dialect.blocked_by(connection, [holder]):
            assert time.monotonic() < end
            connection.rollback()
            # MariaDB shows what was until nobody has asked for a tenth of a second.
            time.sleep(0.2)
    one.close()
    two.close()


@pytest.mark.needs("row_locks")
def test_a_run_waits_when_it_keeps_others_waiting(database: Database, project: Project) -> None:
    """Somebody wants a row that one worker has locked for long: the other begins no chunk meanwhile."""
    project.data("fill", SLOW)
    watch = Watch()
    over = threading.Event()

    def application() -> None:
        while not over.wait(0.05):
            execute(database.engine, "UPDATE items SET id = id WHERE id < 100")

    thread = threading.Thread(target=application)
    thread.start()
    site = project.site(listener=watch)
    [result] = command.migrate(site, limits=MigrateOptions(batch_size=10, workers=2, max_time=60))
    over.set()
    thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert "blocked: 1 other session(s) wait for locks of the workers" in watch.reasons


@pytest.mark.needs("many_writers")
def test_old_versions_of_rows_are_counted(database: Database, project: Project) -> None:
    """Dead tuples on PostgreSQL, the history list of InnoDB: in --max-load, under their names."""
    counter = "dead_tuples" if database.server.product == "postgresql" else "history_list_length"
    with database.engine.connect() as connection:
        found = dialect_of(connection).load(connection, [counter])
    assert found[counter] >= 0
    ran = project.run("migrate", "--max-load", f"{counter}=-1", "--max-time", "2s")
    assert ran.code == 1
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0


@pytest.mark.needs("self_updating")
def test_a_long_history_holds_a_run(database: Database, project: Project) -> None:
    """InnoDB keeps what a long transaction may still see; the limit is a setting."""
    watch = Watch()
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        reader.execute(sa.text("SELECT * FROM items"))
        for _ in range(3):
            execute(database.engine, "UPDATE items SET id = id, size = 5", "UPDATE items SET size = NULL")
        site = project.site(listener=watch)
        site.project.__dict__["settings"] = dataclasses.replace(site.project.settings, max_history=1)
        [result] = command.migrate(site, limits=MigrateOptions(max_time=2))
        assert (result.outcome, result.done) == (Outcome.REMAINING, 0)
        assert any(reason.startswith("history: ") for reason in watch.reasons)
    assert project.run("migrate").code == 0


@pytest.mark.needs("self_updating")
def test_what_a_user_may_not_see_is_left_out_and_said(database: Database, project: Project) -> None:
    """Nobody asked for it, so nobody is refused for want of rights."""
    url = sa.make_url(database.url).set(username="om_plain", password="plain")
    statements = (
        "CREATE USER IF NOT EXISTS om_plain IDENTIFIED BY 'plain'",
        f"GRANT ALL ON {database.name}.* TO om_plain",
    )
    execute(database.engine, *statements)
    ran = project.run("migrate", "--url", url.render_as_string(hide_password=False))
    assert ran.code == 0
    assert any(line.startswith("throttler blocked is not active: cannot be read:") for line in ran.complaint)
    assert scalar(database.engine, "SELECT count(size) FROM items") == 100
