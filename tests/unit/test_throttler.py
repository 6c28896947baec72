"""Throttlers and their monitor: a sample is valid for a limited time, and an unreadable signal means wait."""

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


class ManualClock(Clock):
    """A clock that the test advances."""

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


def test_no_throttle_has_no_reason(engine: sa.Engine) -> None:
    """No throttler, no reason."""
    assert NoThrottle().reason() is None
    with Monitor(engine, [], clock=Clock()) as monitor:
        assert monitor.reason() is None


def test_file_throttler_pauses_while_the_file_exists(engine: sa.Engine, tmp_path: Path) -> None:
    """The reason starts with the name of the throttler."""
    path = tmp_path / "stop"
    path.touch()
    with Monitor(engine, [File(path)], clock=Clock(), policy=QUICK) as monitor:
        eventually(lambda: monitor.reason() == f"file: {path} exists")
        path.unlink()
        eventually(lambda: monitor.reason() is None)


def test_monitor_waits_before_the_first_sample(engine: sa.Engine, tmp_path: Path) -> None:
    """Without a sample there is no proof that work may start."""
    monitor = Monitor(engine, [File(tmp_path / "none")], clock=ManualClock())
    assert monitor.reason() == "file: no sample yet"


def test_monitor_waits_with_a_stale_sample(engine: sa.Engine) -> None:
    """A function that hangs leaves a stale sample."""
    clock, calls = ManualClock(), []

    def hangs() -> bool:
        calls.append(1)
        if len(calls) > 1:
            time.sleep(0.5)
        return False

    with Monitor(engine, [Callback(hangs, name="lag")], clock=clock, policy=QUICK) as monitor:
        eventually(lambda: len(calls) > 1)
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
def test_callback_returns_true_or_a_reason(answer: object, reason: str | None, engine: sa.Engine) -> None:
    """True, a text, or neither."""
    with engine.connect() as connection:
        assert sample(Callback(lambda: answer), connection).reason == reason


def test_sample_error_is_a_reason_to_wait(engine: sa.Engine) -> None:
    """An exception of a user's function, or of the server, is reported and does not mean "go"."""

    def broken() -> bool:
        raise RuntimeError("no route")

    with engine.connect() as connection:
        result = sample(Callback(broken), connection)
        assert (result.reason, result.readable) == ("cannot be read: RuntimeError: no route", False)
        result = sample(Query("SELECT missing"), connection)
        assert not result.readable
        assert str(result.reason).startswith("cannot be read: no such column")
        for sql, reason in (("SELECT 0", None), ("SELECT 7", "returned 7"), ("SELECT ':x'", "returned :x")):
            assert sample(Query(sql), connection).reason == reason


def test_unreadable_signal_means_go_if_configured(engine: sa.Engine) -> None:
    """Also before the first sample and with a stale one; a readable signal remains a reason."""
    go_if_unreadable = SamplingPolicy(every=0.01, unreadable_waits=False)
    clock = ManualClock()
    monitor = Monitor(
        engine, [Query("SELECT missing"), Query("SELECT 3")], clock=clock, policy=go_if_unreadable
    )
    assert monitor.reason() is None
    with monitor:
        eventually(lambda: monitor.reason() == "query: returned 3")
    clock.now += Monitor.stale + 1
    assert monitor.reason() is None


def test_any_throttle_returns_the_first_reason(engine: sa.Engine, tmp_path: Path) -> None:
    """Without a throttler that has a reason there is none."""
    (tmp_path / "stop").touch()
    with Monitor(engine, [File(tmp_path / "stop")], clock=Clock(), policy=QUICK) as monitor:
        eventually(
            lambda: AnyThrottle([NoThrottle(), monitor]).reason() == f"file: {tmp_path / 'stop'} exists"
        )
    assert AnyThrottle([]).reason() is None
    assert AnyThrottle([NoThrottle()]).reason() is None


def test_check_refuses_an_unreadable_throttler_before_the_run(engine: sa.Engine) -> None:
    """A run would wait for it forever."""
    with pytest.raises(exceptions.ThrottlerBroken, match="syntax error"):
        check([Query("SELEC 1")], engine)
    with pytest.raises(exceptions.ThrottlerBroken, match="no counter 'Foo'"):
        check([Load({"Foo": 1})], engine)
    check([Query("SELECT 1")], engine)


def test_readable_skips_unreadable_default_throttlers(engine: sa.Engine) -> None:
    """A user without the privileges can migrate too; the reason for the skip is reported."""
    readable_query, unreadable_query = Query("SELECT 1"), Query("SELECT missing", name="lag")
    with engine.connect() as connection:
        good, skipped = readable([readable_query, unreadable_query], connection)
    assert good == [readable_query]
    assert list(skipped) == ["lag"]
    assert skipped["lag"].startswith("cannot be read: no such column")


def test_critical_throttler_aborts(engine: sa.Engine) -> None:
    """``abort`` is called with the reason as soon as the critical throttler has one."""
    reasons: list[str] = []
    with Monitor(
        engine,
        [],
        critical=[Query("SELECT 9", name="critical-load")],
        abort=reasons.append,
        clock=Clock(),
        policy=QUICK,
    ):
        eventually(lambda: bool(reasons))
    assert reasons[0] == "critical-load: returned 9"


def test_parse_load_accepts_the_format_of_gh_ost() -> None:
    """Several limits in one text."""
    assert parse_load("max-load", "Threads_running=25, Threads_connected=500") == {
        "Threads_running": 25,
        "Threads_connected": 500,
    }


@pytest.mark.parametrize("text", ["Threads_running", "=5", "a=b", "a=nan", "a=1,,b=2", "a=inf"])
def test_parse_load_refuses_invalid_limits(text: str) -> None:
    """The error has the name of the option."""
    with pytest.raises(exceptions.ThrottlerBroken, match="'max-load' cannot be parsed"):
        parse_load("max-load", text)


def test_throttle_with_imports_a_function_of_the_project(tmp_path: Path) -> None:
    """``module:function``; the error describes what is wrong."""
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


def test_settings_create_their_throttlers(tmp_path: Path) -> None:
    """Each throttler has the name that is shown."""
    assert make_throttlers(Settings(), tmp_path) == []
    found = make_throttlers(
        Settings(max_load="a=1", throttle_file="stop", throttle_query="SELECT 1"), tmp_path
    )
    assert [one.name for one in found] == ["file", "max-load", "query"]
    assert [one.name for one in make_critical_throttlers("a=1")] == ["critical-load"]
    assert make_critical_throttlers("") == []
