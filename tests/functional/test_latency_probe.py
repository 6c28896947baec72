"""The latency probe on real servers: baseline, duty cycle, stale signal, and removal of its row."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import state
from online_migrate.dialects import create_engine, dialect_of
from online_migrate.migrate.run import row_total
from online_migrate.migrate.status import Outcome
from online_migrate.migrate.worker.lease import LeaseManager, RangeCandidate
from online_migrate.throttle import latency_probe, opening
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle, Latency, Tolerance
from online_migrate.throttle.latency_probe import LatencyProbe, ProbeIntervals
from tests.servers import Database
from tests.support.project import Project, end_other_sessions, execute, rows

pytestmark = [pytest.mark.each_product, pytest.mark.needs("many_writers")]

QUICK = ProbeIntervals(every=0.02, baseline=0.2, settle=0.0, stale=1.0)
EASY = Tolerance(factor=3.0, slack=0.05)
"""The tolerance is so wide that only the lock of the test exceeds it, and not the noise of the machine."""
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


def _begin_baseline(probe: LatencyProbe) -> None:
    """Makes the probe measure another baseline, and waits until it has begun."""
    at = probe.writes
    eventually(lambda: probe.writes > at + 1, "the measurements did not continue after the last baseline")
    probe._baseline_at = float("-inf")
    eventually(lambda: probe.reason() == latency_probe._MEASURING_BASELINE, "no baseline began")


def test_latency_probe_measures_a_baseline_before_work_starts(engine: sa.Engine) -> None:
    """During the baseline measurement no chunk is started; afterwards the usual latencies are known."""
    duty_cycle = AdaptiveDutyCycle(most=0.6, start=0.3)
    with LatencyProbe(engine, duty_cycle, tolerance=EASY, intervals=QUICK) as probe:
        assert probe.reason() == "latency probe: measuring the baseline while no chunk runs"
        eventually(lambda: probe.reason() is None and probe.baseline is not None, "no baseline was measured")
        eventually(lambda: duty_cycle.duty_cycle == 0.6, "the duty cycle stays at its maximum")
        assert probe.baseline is not None
        assert 0 < probe.baseline.read < 5
        assert 0 < probe.baseline.write < 5


def test_latency_probe_reduces_the_duty_cycle_when_latency_grows(
    database: Database, engine: sa.Engine
) -> None:
    """A server that is slow for the probe is slow for users: the pauses grow, and shrink afterwards."""
    duty_cycle = AdaptiveDutyCycle(most=0.6)
    with LatencyProbe(engine, duty_cycle, tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "no baseline was measured")
        end = time.monotonic() + 60
        while duty_cycle.duty_cycle > 0.1:
            assert time.monotonic() < end
            with database.engine.begin() as other:
                other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
                time.sleep(0.3)
        assert duty_cycle.sleep_ratio > 9
        low = duty_cycle.duty_cycle
        eventually(lambda: duty_cycle.duty_cycle > low * 1.1, "it grows again")


def test_latency_probe_ignores_latency_without_own_activity(
    database: Database, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If others made the server slow, the duty cycle stays; it shrinks during or just after own activity."""
    duty_cycle, activity = AdaptiveDutyCycle(most=0.6), Activity()
    with LatencyProbe(engine, duty_cycle, activity=activity, tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "no baseline was measured")
        eventually(lambda: duty_cycle.duty_cycle == 0.6, "it grows while we rest")

        def disturb(during: AbstractContextManager[None]) -> None:
            with database.engine.begin() as other, during:
                other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
                time.sleep(0.3)
            at = probe.writes
            eventually(lambda: probe.writes > at + 1, "the change was measured")

        disturb(nullcontext())
        assert duty_cycle.duty_cycle == 0.6
        disturb(activity)
        assert duty_cycle.duty_cycle < 0.6
        monkeypatch.setattr(latency_probe, "_AFTERMATH", 60.0)
        before = duty_cycle.duty_cycle
        disturb(nullcontext())
        assert duty_cycle.duty_cycle < 0.9 * before


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


def _record_attribution(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool]]:
    """Returns a list that gets the time of each sample and whether it was attributed to this process."""
    probe = functools.partial(LatencyProbe, tolerance=EASY, intervals=QUICK)
    monkeypatch.setattr(opening, "LatencyProbe", probe)
    samples: list[tuple[float, bool]] = []

    def observe(self: AdaptiveDutyCycle, *, worse: bool, caused_by_workers: bool) -> float:
        samples.append((time.monotonic(), caused_by_workers))
        return self.duty_cycle

    monkeypatch.setattr(AdaptiveDutyCycle, "observe", observe)
    return samples


def _within(samples: list[tuple[float, bool]], spans: list[tuple[float, float]]) -> list[bool]:
    """Returns the attribution of the samples taken inside a span, at least 0.05 s after its start."""
    return [caused for at, caused in samples if any(started + 0.05 < at < ended for started, ended in spans)]


@pytest.mark.parametrize("kind", KINDS)
def test_worker_reports_its_activity_to_the_probe(
    kind: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples inside a chunk or during its function are attributed to the process.

    Samples in pauses are not.
    """
    samples = _record_attribution(monkeypatch)
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    for i in range(1, 6):
        execute(database.engine, f"INSERT INTO items (id) VALUES ({i})")
    project.data("fill", CALLED + KINDS[kind])
    [result] = project.migrate(batch_size=1, nice=1).values()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 5)
    lines = (project.folder / "called").read_text().splitlines()
    calls = [(float(started), float(ended)) for started, ended in map(str.split, lines)]
    within = _within(samples, calls)
    assert within
    assert all(within)
    in_pauses = [caused for at, caused in samples if at > calls[0][1]]
    assert not all(in_pauses)


def test_worker_searching_the_end_of_a_range_counts_as_activity(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search reads as many keys as there are rows in the following chunks."""
    samples, spans, original = (
        _record_attribution(monkeypatch),
        list[tuple[float, float]](),
        LeaseManager.find_candidate,
    )

    def slow(self: LeaseManager, connection: sa.Connection, size: int) -> RangeCandidate:
        started = time.monotonic()
        time.sleep(0.3)
        found = original(self, connection, size)
        spans.append((started, time.monotonic()))
        return found

    monkeypatch.setattr(LeaseManager, "find_candidate", slow)
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    for i in range(1, 31):
        execute(database.engine, f"INSERT INTO items (id) VALUES ({i})")
    project.data("fill", FILL)
    assert project.migrate(batch_size=1)["fill"].done == 30
    within = _within(samples, spans)
    assert within
    assert all(within)


def test_count_in_the_background_counts_as_activity(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the whole table: a baseline beside it would be too high."""
    threads, enter = set[str](), Activity.__enter__

    def recorded(self: Activity) -> None:
        threads.add(threading.current_thread().name)
        enter(self)

    monkeypatch.setattr(Activity, "__enter__", recorded)
    monkeypatch.setattr(row_total, "_COUNTED_BEFORE_START", 0)
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    for i in range(1, 31):
        execute(database.engine, f"INSERT INTO items (id) VALUES ({i})")
    project.data("fill", FILL)
    assert project.migrate(batch_size=1)["fill"].done == 30
    assert "online-migrate-count" in threads


def test_latency_probe_blocked_write_is_a_reason_to_wait(database: Database, engine: sa.Engine) -> None:
    """A write that does not return makes the signal stale; when it returns, work continues."""
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "no baseline was measured")
        with database.engine.begin() as other:
            other.execute(sa.text("UPDATE online_migrate_canary SET runner = 'other'"))
            stale = "latency probe: no measurement for"
            eventually(lambda: (probe.reason() or "").startswith(stale), "the signal did not become stale")
        eventually(lambda: probe.reason() is None, "the measurements did not continue")


def test_latency_probe_replaces_a_session_that_was_ended(database: Database, engine: sa.Engine) -> None:
    """The connection is lost: another one is opened and uses the same row."""
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), tolerance=EASY, intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None, "no baseline was measured")
        engine.dispose()
        end_other_sessions(database)
        at = probe.writes
        eventually(lambda: probe.writes > at + 3, "it beats again")
        assert rows(database.engine, "SELECT count(*) FROM online_migrate_canary") == [(1,)]


def test_connection_lost_during_a_baseline_does_not_start_another_one(
    database: Database, engine: sa.Engine
) -> None:
    """No chunk runs during a baseline: a network that cuts connections would stop the run completely."""
    intervals = dataclasses.replace(QUICK, second_after=30.0, baseline_every=30.0, baseline=60.0, retry=30.0)
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), tolerance=EASY, intervals=intervals) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "no baseline was measured")
        first = probe.baseline
        _begin_baseline(probe)
        engine.dispose()
        end_other_sessions(database)
        eventually(lambda: probe.reason() is None, "the workers stay paused")
        for _ in range(20):
            at = probe.writes
            eventually(lambda at=at: probe.writes > at, "the measurements did not continue")
            assert probe.reason() is None
        assert probe.baseline == first


def test_baseline_waits_for_the_end_of_a_running_chunk(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline that includes the engine's own load would tolerate it until the next baseline."""
    intervals = dataclasses.replace(QUICK, settle=0.05, drain=30.0, second_after=60.0, baseline_every=60.0)
    activity, samples = Activity(), list[float]()
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), activity=activity, intervals=intervals) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "no baseline was measured")
        first, measure = probe.baseline, LatencyProbe._measure

        def measured(self: LatencyProbe, *more: Any) -> Latency:
            if self.reason() == latency_probe._MEASURING_BASELINE:
                samples.append(time.monotonic())
            return measure(self, *more)

        monkeypatch.setattr(LatencyProbe, "_measure", measured)
        with activity:
            _begin_baseline(probe)
            time.sleep(0.5)
            ended = time.monotonic()
        eventually(lambda: probe.baseline is not first, "no second baseline was measured")
    assert samples
    assert min(samples) >= ended


def test_baseline_is_kept_if_a_chunk_does_not_end(engine: sa.Engine) -> None:
    """The workers must not be paused for the whole time of a long chunk of another thread."""
    intervals = dataclasses.replace(QUICK, settle=0.05, drain=0.2, second_after=60.0, baseline_every=60.0)
    activity = Activity()
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), activity=activity, intervals=intervals) as probe:
        eventually(lambda: probe.baseline is not None and probe.reason() is None, "no baseline was measured")
        first = probe.baseline
        with activity:
            _begin_baseline(probe)
            eventually(lambda: probe.reason() is None, "the workers stay paused")
        at = probe.writes
        eventually(lambda: probe.writes > at + 1, "the measurements did not continue")
        assert probe.baseline is first


def test_latency_probe_deletes_its_row_and_stale_rows(database: Database, engine: sa.Engine) -> None:
    """Rows of processes killed long ago (100,000 s) are deleted; rows of the last hour (3,600 s) are kept."""
    with engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        for id, age in (("killed", 100_000), ("alive", 3_600)):
            state.latency_probe.insert(connection, id, epoch - age)
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None, "no baseline was measured")
        found = {id for (id,) in rows(database.engine, "SELECT id FROM online_migrate_canary")}
        assert found == {"alive", probe.id}
    assert rows(database.engine, "SELECT id FROM online_migrate_canary") == [("alive",)]


def test_latency_probe_adopts_the_baseline_of_a_running_peer(engine: sa.Engine) -> None:
    """Beside a working peer no baseline can be measured; the baseline of a peer that is gone is not used."""
    with engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        for id, age, baseline in (("gone", 60, 1e-9), ("quick", 0, 2e-9), ("slow", 0, 3e-9)):
            state.latency_probe.insert(connection, id, epoch - age)
            state.latency_probe.record_baseline(connection, id, baseline, baseline)
            connection.execute(
                sa.text("UPDATE online_migrate_canary SET seen = seen - :age WHERE id = :id"),
                {"age": age, "id": id},
            )
    with LatencyProbe(engine, AdaptiveDutyCycle(most=0.6), intervals=QUICK) as probe:
        eventually(lambda: probe.baseline is not None, "it has looked")
        assert probe.baseline == Latency(2e-9, 2e-9)


def test_migrate_events_show_the_latency(database: Database, project: Project) -> None:
    """Every event has the duty cycle and the latency of a read and of a write."""
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    with database.engine.begin() as connection:
        insert = sa.text("INSERT INTO items (id) VALUES (:id)")
        connection.execute(insert, [{"id": i} for i in range(1, 20_001)])
    project.data("fill", FILL)
    ran = project.run("migrate", "--json", "--verbose", "--batch-size", "1", "--max-time", "4s")
    assert ran.code == 1
    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    samples = [event for event in events if event.get("latency")]
    assert samples
    assert all(0 < event["share"] <= 1 for event in samples)
    assert " ms, baseline " in samples[-1]["latency"]
    assert rows(database.engine, "SELECT count(*) FROM online_migrate_canary") == [(0,)]


def test_full_pace_has_no_latency_probe(database: Database, project: Project) -> None:
    """A run at full pace uses all of the server's time and has no probe."""
    execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)")
    with database.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO items (id) VALUES (:id)"), [{"id": i} for i in range(1, 5_001)]
        )
    project.data("fill", FILL)
    row_counts: list[int] = []
    finished = threading.Event()

    def poll() -> None:
        while not finished.wait(0.05):
            row_counts.extend(
                count for (count,) in rows(database.engine, "SELECT count(*) FROM online_migrate_canary")
            )

    thread = threading.Thread(target=poll)
    thread.start()
    ran = project.run("migrate", "--json", "--pace", "full", "--batch-size", "1", "--max-time", "2s")
    finished.set()
    thread.join()
    assert ran.code in (0, 1)
    assert set(row_counts) == {0}
    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert {event["share"] for event in events if event["event"] == "chunk"} == {None}
