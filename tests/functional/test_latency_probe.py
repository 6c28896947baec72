"""What users feel, felt on real servers: the canary listens, steers, falls silent, and leaves no row."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import state
from online_migrate.dialects import create_engine, dialect_of
from online_migrate.migrate.status import Outcome
from online_migrate.migrate.worker.lease import LeaseManager, RangeCandidate
from online_migrate.throttle import latency_probe, opening
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle, Latency, Tolerance
from online_migrate.throttle.latency_probe import LatencyProbe, ProbeIntervals
from tests.servers import Database
from tests.support.project import Project, end_other_sessions, execute, rows

pytestmark = [pytest.mark.each_product, pytest.mark.needs("many_writers")]

QUICK = ProbeIntervals(grace=0.0, every=0.02, baseline=0.2, settle=0.0, stale=1.0)
EASY = Tolerance(factor=3.0, slack=0.05)
"""So much worse that it is our lock, and not the machine."""
FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None) as project:
        project.site().ensure_state_tables()
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
    steered = AdaptiveDutyCycle(most=0.6, start=0.3)
    with LatencyProbe(engine, steered, tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.reason() is not None, "it listens")
        assert probe.reason() == "latency probe: measuring the baseline while no chunk runs"
        eventually(lambda: probe.reason() is None and probe.baseline is not None, "it has listened")
        eventually(lambda: steered.duty_cycle == 0.6, "nobody disturbs anybody")
        assert probe.baseline is not None
        assert 0 < probe.baseline.read < 5
        assert 0 < probe.baseline.write < 5


def test_what_users_feel_shrinks_the_share(database: Database, engine: sa.Engine) -> None:
    """A server that is slow for the canary is slow for users: rest grows, and shrinks when it is over."""
    steered = AdaptiveDutyCycle(most=0.6)
    with LatencyProbe(engine, steered, tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "it has listened")
        end = time.monotonic() + 60
        while steered.duty_cycle > 0.1:
            assert time.monotonic() < end
            with database.engine.begin() as other:
                other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
                time.sleep(0.3)
        assert steered.sleep_ratio > 9
        low = steered.duty_cycle
        eventually(lambda: steered.duty_cycle > low * 1.1, "it grows again")


def test_what_is_felt_while_nobody_of_us_works_does_not(
    database: Database, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others made the server slow: the share stays; and shrinks when we work, or did a moment ago."""
    steered, activity = AdaptiveDutyCycle(most=0.6), Activity()
    with LatencyProbe(engine, steered, activity=activity, tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "it has listened")
        eventually(lambda: steered.duty_cycle == 0.6, "it grows while we rest")

        def disturb(during: AbstractContextManager[None]) -> None:
            with database.engine.begin() as other, during:
                other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
                time.sleep(0.3)
            at = probe.writes
            eventually(lambda: probe.writes > at + 1, "it has felt that")

        disturb(nullcontext())
        assert steered.duty_cycle == 0.6
        disturb(activity)
        assert steered.duty_cycle < 0.6
        monkeypatch.setattr(latency_probe, "_AFTERMATH", 60.0)
        before = steered.duty_cycle
        disturb(nullcontext())
        assert steered.duty_cycle < 0.9 * before


CALLED = """
import time

def called():
    began = time.monotonic()
    time.sleep(0.2)
    with (FOLDER / "called").open("a") as file:
        print(began, time.monotonic(), file=file)

"""
KINDS = {
    "row": """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    called()
    return {"size": 1}
""",
    "batch": """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(connection, chunk):
    called()
    return connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1)).rowcount
""",
    "counted": """
left = list(range(5))

def function(context, max_count):
    called()
    return len(left), len([left.pop() for _ in left[:1]])

fill = counted(function)
""",
}


def _whether_ours(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool]]:
    """When something was felt, and whether it was put down to us."""
    probe = functools.partial(LatencyProbe, tolerance=EASY, intervals=QUICK)
    monkeypatch.setattr(opening, "LatencyProbe", probe)
    felt: list[tuple[float, bool]] = []

    def observe(self: AdaptiveDutyCycle, *, worse: bool, ours: bool) -> float:
        felt.append((time.monotonic(), ours))
        return self.duty_cycle

    monkeypatch.setattr(AdaptiveDutyCycle, "observe", observe)
    return felt


def _within(felt: list[tuple[float, bool]], spans: list[tuple[float, float]]) -> list[bool]:
    """What was felt when one of these had begun a while ago, and had not ended."""
    return [ours for at, ours in felt if any(began + 0.05 < at < ended for began, ended in spans)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_says_when_it_works(
    kind: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is measured inside of a chunk, or while its function runs, may be our doing; rests are not."""
    felt = _whether_ours(monkeypatch)
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    for i in range(1, 6):
        execute(database.engine, f"INSERT INTO items (id) VALUES ({i})")
    project.data("fill", CALLED + KINDS[kind])
    [result] = project.migrate(batch_size=1, nice=1).values()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 5)
    lines = (project.folder / "called").read_text().splitlines()
    calls = [(float(began), float(ended)) for began, ended in map(str.split, lines)]
    within = _within(felt, calls)
    assert within
    assert all(within)
    resting = [ours for at, ours in felt if at > calls[0][1]]
    assert not all(resting)


def test_who_looks_where_an_extent_ends_works(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That reads as many keys as there are rows in the chunks after it."""
    felt, looks, survey = _whether_ours(monkeypatch), list[tuple[float, float]](), LeaseManager.find_candidate

    def slow(self: LeaseManager, connection: sa.Connection, size: int) -> RangeCandidate:
        began = time.monotonic()
        time.sleep(0.3)
        found = survey(self, connection, size)
        looks.append((began, time.monotonic()))
        return found

    monkeypatch.setattr(LeaseManager, "find_candidate", slow)
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    for i in range(1, 31):
        execute(database.engine, f"INSERT INTO items (id) VALUES ({i})")
    project.data("fill", FILL)
    assert project.migrate(batch_size=1)["fill"].done == 30
    within = _within(felt, looks)
    assert within
    assert all(within)


def test_who_feels_nothing_says_wait(database: Database, engine: sa.Engine) -> None:
    """A write that does not come back is a signal that is gone; when it comes back, work goes on."""
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "it has listened")
        with database.engine.begin() as other:
            other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
            stale = "latency probe: no measurement for"
            eventually(lambda: (probe.reason() or "").startswith(stale), "silence")
        eventually(lambda: probe.reason() is None, "it sings again")


def test_a_session_that_is_ended_is_replaced(database: Database, engine: sa.Engine) -> None:
    """The connection is lost: another one is made, with the same row."""
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None, "it has listened")
        engine.dispose()
        end_other_sessions(database)
        at = probe.writes
        eventually(lambda: probe.writes > at + 3, "it beats again")
        assert rows(database.engine, "SELECT count(*) FROM online_migrate_canary") == [(1,)]


def test_it_leaves_no_row_and_takes_away_old_ones(database: Database, engine: sa.Engine) -> None:
    """Also those of processes that were killed long ago; not those of yesterday's night shift."""
    with engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        for id, age in (("killed", 100_000), ("alive", 3_600)):
            state.latency_probe.insert(connection, id, epoch - age)
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None, "it has listened")
        found = {id for (id,) in rows(database.engine, "SELECT id FROM online_migrate_canary")}
        assert found == {"alive", probe.id}
    assert rows(database.engine, "SELECT id FROM online_migrate_canary") == [("alive",)]


def test_who_comes_later_believes_who_listened_alone(engine: sa.Engine) -> None:
    """Beside somebody who works nobody can listen; who is gone for long is not believed."""
    with engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        for id, age, rest in (("gone", 60, 1e-9), ("quick", 0, 2e-9), ("slow", 0, 3e-9)):
            state.latency_probe.insert(connection, id, epoch - age)
            state.latency_probe.record_baseline(connection, id, rest, rest)
            connection.execute(
                sa.text("UPDATE online_migrate_canary SET seen = seen - :age WHERE id = :id"),
                {"age": age, "id": id},
            )
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None, "it has looked")
        assert probe.baseline == Latency(2e-9, 2e-9)


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
    felt = [event for event in events if event.get("latency")]
    assert felt
    assert all(0 < event["share"] <= 1 for event in felt)
    assert " ms, baseline " in felt[-1]["latency"]
    assert any(event.get("waits_for", "").startswith("latency probe: measuring") for event in events)
    assert rows(database.engine, "SELECT count(*) FROM online_migrate_canary") == [(0,)]


def test_full_pace_asks_nobody(database: Database, project: Project) -> None:
    """Who wants all of the server's time has no probe."""
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
