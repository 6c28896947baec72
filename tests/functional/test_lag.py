"""Replication lag, with real replicas that are late on purpose: a run waits, says for whom, and goes on."""

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
"""Slow enough for a replica to fall behind meanwhile."""


class Watch(NullListener):
    """Keeps what was shown, and calls somebody when rows move, and when a run waits for a replica."""

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
def let_go_of(pair: Pair) -> Iterator[None]:
    try:
        yield
    finally:
        pair.let_go()


@contextlib.contextmanager
def held(pair: Pair) -> Iterator[None]:
    pair.hold()
    with let_go_of(pair):
        yield


def limits(pair: Pair, database: Database, **more: Any) -> MigrateOptions:
    """PostgreSQL knows its replica; to others it is told."""
    given = () if database.server.product == "postgresql" else (pair.replica_url_of(database.name),)
    return MigrateOptions(batch_size=1, replicas=given, max_lag=0.5, **more)


def moved(database: Database) -> Any:
    return scalar(database.engine, "SELECT count(size) FROM items")


def test_a_replica_that_does_not_follow_holds_a_run(pair: Pair, database: Database, project: Project) -> None:
    """While it stands still, so do we, after a few chunks; when it has caught up, everything is moved."""
    counts: list[int] = []

    def look_and_let_go() -> None:
        time.sleep(0.5)
        counts.append(moved(database))
        time.sleep(1.5)
        counts.append(moved(database))
        pair.let_go()

    thread = threading.Thread(target=look_and_let_go)
    # Not before the first chunk: on a busy machine the run would wait from its beginning.
    watch = Watch(thread.start, begins=pair.hold)
    with let_go_of(pair):
        [result] = command.migrate(project.site(listener=watch), limits=limits(pair, database, max_time=120))
        thread.join()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, ROWS)
    # No chunk was begun meanwhile.
    assert 0 < counts[0] == counts[1] < ROWS
    name = REPLICA_NAME if database.server.product == "postgresql" else "127.0.0.1:"
    assert watch.reasons[0].startswith(f"lag: {name}")
    assert watch.reasons[0].endswith(" s behind (limit: 0.5 s)")


def test_a_replica_that_is_late_within_the_limit_holds_nobody(
    pair: Pair, database: Database, project: Project
) -> None:
    """A second late, a minute allowed."""
    watch = Watch()
    pair.delay(1)
    try:
        asked = limits(pair, database, max_lag=60)
        [result] = command.migrate(project.site(listener=watch), limits=asked)
    finally:
        pair.delay(0)
    assert (result.outcome, watch.reasons) == (Outcome.COMPLETE, [])


def test_replicas_can_be_left_alone(pair: Pair, database: Database, project: Project) -> None:
    """All of them."""
    watch = Watch()
    with held(pair):
        asked = limits(pair, database, max_lag=0)
        [result] = command.migrate(project.site(listener=watch), limits=asked)
    assert (result.outcome, watch.reasons) == (Outcome.COMPLETE, [])


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_a_replica_that_streams_can_be_left_alone_by_its_name(
    pair: Pair, database: Database, project: Project
) -> None:
    """It is late on purpose; others are watched."""
    watch = Watch()
    with project.config_file.open("a") as ini:
        ini.write(f"lag_ignore = other, {REPLICA_NAME}\n")
    with held(pair):
        [result] = command.migrate(project.site(listener=watch), limits=limits(pair, database))
    assert (result.outcome, watch.reasons) == (Outcome.COMPLETE, [])


def test_a_replica_that_cannot_be_reached_is_refused(database: Database, project: Project) -> None:
    """Before anything is changed; without its password; unless somebody says go."""
    url = sa.make_url(database.url).set(port=1)
    text = url.render_as_string(hide_password=False)
    ran = project.run("migrate", "--replica", text)
    assert ran.code == 127
    assert "'lag of 127.0.0.1:1' cannot be read:" in ran.complaint[0]
    assert str(url.password) not in ran.err
    assert moved(database) == 0
    assert project.run("migrate", "--replica", text, "--if-unreadable", "go").code == 0
    assert moved(database) == ROWS


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_who_may_not_see_the_lag(pair: Pair, database: Database, project: Project) -> None:
    """Is told so and works; is refused where lag was asked for, with what to grant."""
    execute(
        database.engine,
        "CREATE ROLE plain LOGIN PASSWORD 'plain'",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
    )
    url = sa.make_url(database.url).set(username="plain", password="plain")
    where = ("--url", url.render_as_string(hide_password=False))
    asked = project.run(*where, "migrate", "--max-lag", "5")
    assert asked.code == 127
    assert "GRANT pg_monitor TO" in asked.complaint[0]
    assert moved(database) == 0
    ran = project.run(*where, "migrate")
    assert ran.code == 0
    assert any(line.startswith("throttler lag is not active: ") for line in ran.complaint)
    assert moved(database) == ROWS
