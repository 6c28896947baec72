"""What users feel, felt on real servers: the canary listens, steers, falls silent, and leaves no row."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import state
from online_migrate.dialects import create_engine, dialect_of
from online_migrate.throttle.canary import Canary, Rhythm
from online_migrate.throttle.steering import Felt, Steered, Tolerance
from tests.servers import Database
from tests.support.project import Project, end_other_sessions, execute, rows

pytestmark = [pytest.mark.each_product, pytest.mark.needs("many_writers")]

QUICK = Rhythm(grace=0.0, every=0.02, listen=0.2, settle=0.0, stale=1.0)
EASY = Tolerance(factor=3.0, slack=0.05)
"""So much worse that it is our lock, and not the machine."""
FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None) as project:
        project.site().prepare()
        yield project


@pytest.fixture
def engine(database: Database, project: Project) -> Iterator[sa.Engine]:
    engine = create_engine(database.url)
    yield engine
    engine.dispose()


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_it_listens_first_and_then_lets_work(engine: sa.Engine) -> None:
    """While it listens no chunk is begun; then it knows what is usual."""
    steered = Steered(most=0.6, start=0.3)
    with Canary(engine, steered, tolerance=EASY, rhythm=QUICK) as canary:
        eventually(lambda: canary.reason() is not None, "it listens")
        assert canary.reason() == "canary: listening how quick the server is without us"
        eventually(lambda: canary.reason() is None and canary.rest is not None, "it has listened")
        eventually(lambda: steered.share == 0.6, "nobody disturbs anybody")
        assert canary.rest is not None
        assert 0 < canary.rest.read < 5
        assert 0 < canary.rest.write < 5


def test_what_users_feel_shrinks_the_share(database: Database, engine: sa.Engine) -> None:
    """A server that is slow for the canary is slow for users: rest grows, and shrinks when it is over."""
    steered = Steered(most=0.6)
    with Canary(engine, steered, tolerance=EASY, rhythm=QUICK) as canary:
        eventually(lambda: canary.rest is not None and canary.reason() is None, "it has listened")
        end = time.monotonic() + 60
        while steered.share > 0.1:
            assert time.monotonic() < end
            with database.engine.begin() as other:
                other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
                time.sleep(0.3)
        assert steered.rest > 9
        low = steered.share
        eventually(lambda: steered.share > low * 1.1, "it grows again")


def test_who_feels_nothing_says_wait(database: Database, engine: sa.Engine) -> None:
    """A write that does not come back is a signal that is gone; when it comes back, work goes on."""
    with Canary(engine, Steered(most=0.6), tolerance=EASY, rhythm=QUICK) as canary:
        eventually(lambda: canary.rest is not None and canary.reason() is None, "it has listened")
        with database.engine.begin() as other:
            other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
            eventually(lambda: (canary.reason() or "").startswith("canary: nothing felt for"), "silence")
        eventually(lambda: canary.reason() is None, "it sings again")


def test_a_session_that_is_ended_is_replaced(database: Database, engine: sa.Engine) -> None:
    """The connection is lost: another one is made, with the same row."""
    with Canary(engine, Steered(most=0.6), tolerance=EASY, rhythm=QUICK) as canary:
        eventually(lambda: canary.rest is not None, "it has listened")
        engine.dispose()
        end_other_sessions(database)
        at = canary.beats
        eventually(lambda: canary.beats > at + 3, "it beats again")
        assert rows(database.engine, "SELECT count(*) FROM online_migrate_canary") == [(1,)]


def test_it_leaves_no_row_and_takes_away_old_ones(database: Database, engine: sa.Engine) -> None:
    """Also those of processes that were killed long ago; not those of yesterday's night shift."""
    with engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        for id, age in (("killed", 100_000), ("alive", 3_600)):
            state.canary.settle(connection, id, epoch - age)
    with Canary(engine, Steered(most=0.6), rhythm=QUICK) as canary:
        eventually(lambda: canary.rest is not None, "it has listened")
        found = {id for (id,) in rows(database.engine, "SELECT id FROM online_migrate_canary")}
        assert found == {"alive", canary.id}
    assert rows(database.engine, "SELECT id FROM online_migrate_canary") == [("alive",)]


def test_who_comes_later_believes_who_listened_alone(engine: sa.Engine) -> None:
    """Beside somebody who works nobody can listen; who is gone for long is not believed."""
    with engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        for id, age, rest in (("gone", 60, 1e-9), ("quick", 0, 2e-9), ("slow", 0, 3e-9)):
            state.canary.settle(connection, id, epoch - age)
            state.canary.note_rest(connection, id, rest, rest)
            connection.execute(
                sa.text("UPDATE online_migrate_canary SET seen = seen - :age WHERE id = :id"),
                {"age": age, "id": id},
            )
    with Canary(engine, Steered(most=0.6), rhythm=QUICK) as canary:
        eventually(lambda: canary.rest is not None, "it has looked")
        assert canary.rest == Felt(2e-9, 2e-9)


def test_a_run_shows_what_is_felt(database: Database, project: Project) -> None:
    """In every event: the share of the time that is worked, and what a read and a write take."""
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    with database.engine.begin() as connection:
        insert = sa.text("INSERT INTO items (id) VALUES (:id)")
        connection.execute(insert, [{"id": i} for i in range(1, 20_001)])
    project.data("fill", FILL)
    ran = project.run("migrate", "--json", "--verbose", "--batch-size", "1", "--max-time", "4s")
    assert ran.code == 1
    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    felt = [event for event in events if event.get("felt")]
    assert felt
    assert all(0 < event["share"] <= 1 for event in felt)
    assert " ms, at rest " in felt[-1]["felt"]
    assert any(event.get("waits_for", "").startswith("canary: listening") for event in events)
    assert rows(database.engine, "SELECT count(*) FROM online_migrate_canary") == [(0,)]


def test_full_pace_asks_nobody(database: Database, project: Project) -> None:
    """Who wants all of the server's time has no canary."""
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    with database.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO items (id) VALUES (:id)"), [{"id": i} for i in range(1, 5_001)]
        )
    project.data("fill", FILL)
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.extend(
                count for (count,) in rows(database.engine, "SELECT count(*) FROM online_migrate_canary")
            )

    thread = threading.Thread(target=watch)
    thread.start()
    ran = project.run("migrate", "--json", "--pace", "full", "--batch-size", "1", "--max-time", "2s")
    over.set()
    thread.join()
    assert ran.code in (0, 1)
    assert set(seen) == {0}
    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert {event["share"] for event in events if event["event"] == "chunk"} == {None}
