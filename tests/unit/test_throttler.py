"""What says "wait": what was seen counts for a while, what cannot be seen counts as wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.throttle.factory import make_critical_throttlers, make_throttlers, parse_load
from online_migrate.throttle.monitor import Monitor, SamplingPolicy, check, readable, sample
from online_migrate.throttle.throttlers import AnyThrottle, Callback, File, Load, NoThrottle, Query
from online_migrate.waiting import Clock, Stop

QUICK = SamplingPolicy(every=0.01)


class Hand(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float, stop: Stop) -> bool:
        return stop.requested


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nothing_never_says_wait(engine: sa.Engine) -> None:
    """No throttler, no reason."""
    assert NoThrottle().reason() is None
    with Monitor(engine, [], clock=Clock()) as monitor:
        assert monitor.reason() is None


def test_a_file_stops_and_its_absence_lets_go(engine: sa.Engine, tmp_path: Path) -> None:
    """The name of the throttler stands in front of the reason."""
    path = tmp_path / "stop"
    path.touch()
    with Monitor(engine, [File(path)], clock=Clock(), rules=QUICK) as monitor:
        eventually(lambda: monitor.reason() == f"file: {path} exists")
        path.unlink()
        eventually(lambda: monitor.reason() is None)


def test_before_the_first_look_it_is_wait(engine: sa.Engine, tmp_path: Path) -> None:
    """Nobody has looked: nobody knows that all is well."""
    monitor = Monitor(engine, [File(tmp_path / "none")], clock=Hand())
    assert monitor.reason() == "file: no sample yet"


def test_what_was_seen_long_ago_is_wait(engine: sa.Engine) -> None:
    """A function that hangs leaves a signal that grows old."""
    clock, looks = Hand(), []

    def hangs() -> bool:
        looks.append(1)
        if len(looks) > 1:
            time.sleep(0.5)
        return False

    with Monitor(engine, [Callback(hangs, name="lag")], clock=clock, rules=QUICK) as monitor:
        eventually(lambda: len(looks) > 1)
        assert monitor.reason() is None
        clock.now += Monitor.stale + 1
        assert monitor.reason() == "lag: no sample for 11 s"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (True, "returned True"),
        ("the replica is ill", "the replica is ill"),
        (False, None),
        (None, None),
        ("", None),
    ],
)
def test_a_function_says_so_or_says_why(answer: object, reason: str | None, engine: sa.Engine) -> None:
    """True, a text, or neither."""
    with engine.connect() as connection:
        assert sample(Callback(lambda: answer), connection).reason == reason


def test_what_raises_is_wait(engine: sa.Engine) -> None:
    """An exception of a user's function, or of the server, is said, and is no "go"."""

    def broken() -> bool:
        raise RuntimeError("no route")

    with engine.connect() as connection:
        reading = sample(Callback(broken), connection)
        assert (reading.reason, reading.readable) == ("cannot be read: RuntimeError: no route", False)
        reading = sample(Query("SELECT missing"), connection)
        assert not reading.readable
        assert str(reading.reason).startswith("cannot be read: no such column")
        for sql, reason in (("SELECT 0", None), ("SELECT 7", "returned 7"), ("SELECT ':x'", "returned :x")):
            assert sample(Query(sql), connection).reason == reason


def test_what_cannot_be_read_is_go_where_somebody_says_so(engine: sa.Engine) -> None:
    """Also what was never read, and what is no more; what is read is a reason as ever."""
    careless = SamplingPolicy(every=0.01, unreadable_waits=False)
    clock = Hand()
    monitor = Monitor(engine, [Query("SELECT missing"), Query("SELECT 3")], clock=clock, rules=careless)
    assert monitor.reason() is None
    with monitor:
        eventually(lambda: monitor.reason() == "query: returned 3")
    clock.now += Monitor.stale + 1
    assert monitor.reason() is None


def test_the_first_of_several_says_why(engine: sa.Engine, tmp_path: Path) -> None:
    """None of them, none of it."""
    (tmp_path / "stop").touch()
    with Monitor(engine, [File(tmp_path / "stop")], clock=Clock(), rules=QUICK) as monitor:
        eventually(
            lambda: AnyThrottle([NoThrottle(), monitor]).reason() == f"file: {tmp_path / 'stop'} exists"
        )
    assert AnyThrottle([]).reason() is None
    assert AnyThrottle([NoThrottle()]).reason() is None


def test_what_could_never_be_read_is_refused_before_the_run(engine: sa.Engine) -> None:
    """A run would wait for it forever."""
    with pytest.raises(exceptions.ThrottlerBroken, match="syntax error"):
        check([Query("SELEC 1")], engine)
    with pytest.raises(exceptions.ThrottlerBroken, match="no counter 'Foo'"):
        check([Load({"Foo": 1})], engine)
    check([Query("SELECT 1")], engine)


def test_what_nobody_asked_for_is_left_out_where_it_cannot_be_read(engine: sa.Engine) -> None:
    """A user without rights migrates, too; why it is left out can be said."""
    seen, unseen = Query("SELECT 1"), Query("SELECT missing", name="lag")
    good, blind = readable([seen, unseen], engine)
    assert good == [seen]
    assert list(blind) == ["lag"]
    assert blind["lag"].startswith("cannot be read: no such column")


def test_a_critical_one_gives_up(engine: sa.Engine) -> None:
    """It is told once it sees something, with the reason."""
    said: list[str] = []
    with Monitor(
        engine,
        [],
        critical=[Query("SELECT 9", name="critical-load")],
        abort=said.append,
        clock=Clock(),
        rules=QUICK,
    ):
        eventually(lambda: bool(said))
    assert said[0] == "critical-load: returned 9"


def test_limits_are_spelled_as_gh_ost_spells_them() -> None:
    """Several in one text."""
    assert parse_load("max-load", "Threads_running=25, Threads_connected=500") == {
        "Threads_running": 25,
        "Threads_connected": 500,
    }


@pytest.mark.parametrize("text", ["Threads_running", "=5", "a=b", "a=nan", "a=1,,b=2", "a=inf"])
def test_limits_that_are_none_are_refused(text: str) -> None:
    """By the name of the option."""
    with pytest.raises(exceptions.ThrottlerBroken, match="'max-load' cannot be parsed"):
        parse_load("max-load", text)


def test_a_function_is_found_beside_the_project(tmp_path: Path) -> None:
    """``module:function``; what is wrong with it is said."""
    (tmp_path / "my_throttle.py").write_text("def busy():\n    return 'busy'\nnumber = 3\n")
    [throttler] = make_throttlers(Settings(throttle_with="my_throttle:busy"), tmp_path)
    assert (throttler.name, isinstance(throttler, Callback)) == ("my_throttle:busy", True)
    for wrong, words in (
        ("my_throttle:none", "AttributeError"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("my_throttle:number", "is not a function"),
    ):
        with pytest.raises(exceptions.ThrottlerBroken, match=words):
            make_throttlers(Settings(throttle_with=wrong), tmp_path)


def test_every_setting_makes_its_throttler(tmp_path: Path) -> None:
    """Each with the name that is shown."""
    assert make_throttlers(Settings(), tmp_path) == []
    found = make_throttlers(
        Settings(max_load="a=1", throttle_file="stop", throttle_query="SELECT 1"), tmp_path
    )
    assert [one.name for one in found] == ["file", "max-load", "query"]
    assert [one.name for one in make_critical_throttlers("a=1")] == ["critical-load"]
    assert make_critical_throttlers("") == []
