"""Throttlers on real servers: a run waits, reports the reason, and continues or stops."""

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
"""Counters that an open transaction, or an open connection, increases."""


SLOW = """
import time

@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(connection, chunk):
    done = connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1)).rowcount
    time.sleep(0.7)
    return done
"""


class RecordingListener(NullListener):
    """Records the wait reasons."""

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


def test_throttle_file_pauses_a_run_and_status_reports_it(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """No row is migrated while the file exists; status shows the reason; afterwards all rows are migrated."""
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


def test_throttle_query_pauses_a_run_until_it_returns_nothing(database: Database, project: Project) -> None:
    """The application pauses the run by a row in its own table."""
    execute(database.engine, "CREATE TABLE busy (n INTEGER)", "INSERT INTO busy VALUES (1)")
    watch = RecordingListener()

    def remove_reason() -> None:
        assert watch.waits.wait(60)
        execute(database.engine, "DELETE FROM busy")

    thread = threading.Thread(target=remove_reason)
    thread.start()
    site = project.site(listener=watch)
    [result] = command.migrate(site, limits=MigrateOptions(throttle_query="SELECT count(*) FROM busy"))
    thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert "query: returned 1" in watch.reasons


@pytest.mark.needs("many_writers")
def test_max_load_pauses_a_run(database: Database, project: Project) -> None:
    """No row is migrated while a counter of the server is above its limit; all rows when it is below."""
    counter = COUNTERS[database.server.product]
    with database.engine.connect() as busy:
        busy.execute(sa.text("SELECT 1 FROM items"))
        paused = project.run("migrate", "--max-load", f"{counter}=0", "--max-time", "2s")
        assert paused.code == 1
        assert scalar(database.engine, "SELECT count(size) FROM items") == 0
        [result] = command.migrate(project.site(), limits=MigrateOptions(max_load=f"{counter}=100000"))
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)


@pytest.mark.needs("many_writers")
def test_critical_load_stops_a_run(database: Database, project: Project) -> None:
    """Exit code 1 with the reason; no row is lost, and the next run continues."""
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


def test_throttlers_that_cannot_be_read_are_refused(database: Database, project: Project) -> None:
    """Wrong arguments: exit code 127, the option's name, and no row is migrated."""
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
        # The hint.
        assert ran.complaint[1].startswith("  -> ")
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0


class RecordingClock(Clock):
    """Records the requested waits, in seconds."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.waits.append(seconds)
        return super().wait(min(seconds, 0.01), stop)


@pytest.mark.parametrize(("nice", "sleeps"), [(3.0, True), (0.0, False)])
def test_nice_sets_the_sleep_of_a_worker(
    nice: float, sleeps: bool, database: Database, project: Project
) -> None:
    """Three seconds for each second of work; a chunk takes at least a tenth of a second here."""
    project.data("fill", SLOW.replace("0.7", "0.1"))
    clock = RecordingClock()
    options = MigrateOptions(pace="full", nice=nice, batch_size=20)
    [result] = command.migrate(project.site(clock=clock), limits=options)
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert (sum(0.3 <= seconds <= 1.0 for seconds in clock.waits) >= 4) is sleeps, clock.waits


# --- effects of a run on the server --------------------------------------------------------------


@pytest.mark.needs("row_locks")
def test_blocked_by_counts_sessions_that_wait_for_own_locks(database: Database, project: Project) -> None:
    """Counts other sessions that wait for the given ones, and neither waits for others nor own sessions."""
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
            # MariaDB shows the old state until the table has not been read for a tenth of a second.
            time.sleep(0.2)
    one.close()
    two.close()


@pytest.mark.needs("row_locks")
def test_run_waits_while_it_blocks_other_sessions(database: Database, project: Project) -> None:
    """A session wants a row that one worker has locked for long: the other worker starts no chunk."""
    project.data("fill", SLOW)
    watch = RecordingListener()
    finished = threading.Event()

    def application() -> None:
        while not finished.wait(0.05):
            execute(database.engine, "UPDATE items SET id = id WHERE id < 100")

    thread = threading.Thread(target=application)
    thread.start()
    site = project.site(listener=watch)
    [result] = command.migrate(site, limits=MigrateOptions(batch_size=10, workers=2, max_time=60))
    finished.set()
    thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 100)
    assert "blocked: 1 other session(s) wait for locks of the workers" in watch.reasons


@pytest.mark.needs("many_writers")
def test_max_load_counts_old_row_versions(database: Database, project: Project) -> None:
    """Dead tuples in PostgreSQL and the history list of InnoDB are counters of --max-load."""
    counter = "dead_tuples" if database.server.product == "postgresql" else "history_list_length"
    with database.engine.connect() as connection:
        found = dialect_of(connection).load(connection, [counter])
    assert found[counter] >= 0
    ran = project.run("migrate", "--max-load", f"{counter}=-1", "--max-time", "2s")
    assert ran.code == 1
    assert scalar(database.engine, "SELECT count(size) FROM items") == 0


@pytest.mark.needs("self_updating")
def test_max_history_pauses_a_run(database: Database, project: Project) -> None:
    """InnoDB keeps the row versions that a long transaction may read; the limit is a setting."""
    watch = RecordingListener()
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
def test_default_throttler_without_privilege_is_skipped_and_reported(
    database: Database, project: Project
) -> None:
    """The throttler was not requested, so a missing privilege does not stop the run."""
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
