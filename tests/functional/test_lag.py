"""Replication lag with real delayed replicas: a run waits, names the replica, and continues."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import MigrateOptions, Outcome
from online_migrate.migrate.progress import NullListener, Snapshot
from tests.servers import Database
from tests.servers.replication import REPLICA_NAME, Pair
from tests.support.project import Project, execute, scalar

ROWS = 30
FILL = """
import time

@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    time.sleep(0.05)
    return {"size": 1}
"""
"""Slow enough for a replica to fall behind during the run."""


class RecordingListener(NullListener):
    """Records the wait reasons; has callbacks for the first chunk and for the first wait for a replica."""

    def __init__(
        self, waits: Callable[[], None] = lambda: None, begins: Callable[[], None] = lambda: None
    ) -> None:
        self.reasons: list[str] = []
        self._waits = waits
        self._begins: Callable[[], None] | None = begins

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.chunk and self._begins is not None:
            self._begins()
            self._begins = None
        if snapshot.waits_for.startswith("lag: ") and "no sample yet" not in snapshot.waits_for:
            if not self.reasons:
                self._waits()
            self.reasons.append(snapshot.waits_for)


@pytest.fixture
def database(pair: Pair, tmp_path: Path) -> Iterator[Database]:
    with pair.primary.fresh_database(tmp_path, "lag") as database:
        yield database


@pytest.fixture
def project(tmp_path: Path, pair: Pair, database: Database) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None) as project:
        execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
        with database.engine.begin() as connection:
            insert = sa.text("INSERT INTO items (id) VALUES (:id)")
            connection.execute(insert, [{"id": i} for i in range(1, ROWS + 1)])
        project.data("fill", FILL)
        project.site().ensure_state_tables()
        end = time.monotonic() + 60
        while not pair.shows(database.name, f"SELECT 1 FROM items WHERE id = {ROWS}"):
            assert time.monotonic() < end
            time.sleep(0.05)
        yield project


@contextlib.contextmanager
def resumed_at_end(pair: Pair) -> Iterator[None]:
    try:
        yield
    finally:
        pair.resume_replay()


@contextlib.contextmanager
def paused(pair: Pair) -> Iterator[None]:
    pair.pause_replay()
    with resumed_at_end(pair):
        yield


def options(pair: Pair, database: Database, **more: Any) -> MigrateOptions:
    """Returns the options of a run.

    PostgreSQL lists its replicas itself, other servers get the replica's URL.
    """
    given = () if database.server.product == "postgresql" else (pair.replica_url_of(database.name),)
    return MigrateOptions(batch_size=1, replicas=given, **{"max_lag": 0.5, **more})


def migrated_count(database: Database) -> Any:
    return scalar(database.engine, "SELECT count(size) FROM items")


def test_lag_of_a_paused_replica_pauses_the_run(pair: Pair, database: Database, project: Project) -> None:
    """The run stops a few chunks after the replica; when the replica has caught up, all rows are migrated."""
    counts: list[int] = []

    def count_twice_and_resume() -> None:
        time.sleep(0.5)
        counts.append(migrated_count(database))
        time.sleep(1.5)
        counts.append(migrated_count(database))
        pair.resume_replay()

    thread = threading.Thread(target=count_twice_and_resume)
    # The replica is paused after the first chunk: on a busy machine the run would otherwise wait from the
    # start.
    watch = RecordingListener(thread.start, begins=pair.pause_replay)
    with resumed_at_end(pair):
        [result] = command.migrate(project.site(listener=watch), limits=options(pair, database, max_time=120))
        thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, ROWS)
    # No chunk was started between the two counts.
    assert 0 < counts[0] == counts[1] < ROWS
    name = REPLICA_NAME if database.server.product == "postgresql" else "127.0.0.1:"
    assert watch.reasons[0].startswith(f"lag: {name}")
    assert watch.reasons[0].endswith(" s behind (limit: 0.5 s)")


def test_lag_within_the_limit_does_not_pause_the_run(
    pair: Pair, database: Database, project: Project
) -> None:
    """The replica is one second behind; the limit is one minute."""
    watch = RecordingListener()
    pair.delay(1)
    try:
        requested = options(pair, database, max_lag=60)
        [result] = command.migrate(project.site(listener=watch), limits=requested)
    finally:
        pair.delay(0)
    assert (result.outcome, watch.reasons) == (Outcome.COMPLETE, [])


def test_lag_limit_of_zero_ignores_all_replicas(pair: Pair, database: Database, project: Project) -> None:
    """``max_lag=0`` disables the check of every replica."""
    watch = RecordingListener()
    with paused(pair):
        requested = options(pair, database, max_lag=0)
        [result] = command.migrate(project.site(listener=watch), limits=requested)
    assert (result.outcome, watch.reasons) == (Outcome.COMPLETE, [])


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_lag_ignore_excludes_a_streaming_replica_by_name(
    pair: Pair, database: Database, project: Project
) -> None:
    """The named replica is paused; other replicas are still checked."""
    watch = RecordingListener()
    with project.config_file.open("a") as ini:
        ini.write(f"lag_ignore = other, {REPLICA_NAME}\n")
    with paused(pair):
        [result] = command.migrate(project.site(listener=watch), limits=options(pair, database))
    assert (result.outcome, watch.reasons) == (Outcome.COMPLETE, [])


def test_lag_of_an_unreachable_replica_is_refused(database: Database, project: Project) -> None:
    """Refused before any change, without the password in the output, unless ``--if-unreadable go``."""
    url = sa.make_url(database.url).set(port=1)
    text = url.render_as_string(hide_password=False)
    ran = project.run("migrate", "--replica", text)
    assert ran.code == 127
    assert "'lag of 127.0.0.1:1' cannot be read:" in ran.complaint[0]
    assert str(url.password) not in ran.err
    assert migrated_count(database) == 0
    assert project.run("migrate", "--replica", text, "--if-unreadable", "go").code == 0
    assert migrated_count(database) == ROWS


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_lag_without_the_privilege_to_read_it(pair: Pair, database: Database, project: Project) -> None:
    """Without ``--max-lag`` the run reports it and works; with it, the run is refused and names the GRANT."""
    execute(
        database.engine,
        "CREATE ROLE plain LOGIN PASSWORD 'plain'",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
    )
    url = sa.make_url(database.url).set(username="plain", password="plain")
    url_option = ("--url", url.render_as_string(hide_password=False))
    requested = project.run(*url_option, "migrate", "--max-lag", "5")
    assert requested.code == 127
    assert "GRANT pg_monitor TO" in requested.complaint[0]
    assert migrated_count(database) == 0
    ran = project.run(*url_option, "migrate")
    assert ran.code == 0
    assert any(line.startswith("throttler lag is not active: ") for line in ran.complaint)
    assert migrated_count(database) == ROWS
