"""A latency probe that cannot measure: the workers wait for its first baseline for a limited time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from online_migrate.throttle import latency_probe
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle
from online_migrate.throttle.latency_probe import LatencyProbe, ProbeIntervals


class TokenError(Exception):
    """An error of a user's listener, which is no database error."""


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_probe, "_FIRST_BASELINE_WAIT", 0.2)


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    engine = sa.create_engine("sqlite://")
    yield engine
    engine.dispose()


def _reasons(probe: LatencyProbe, seconds: float) -> list[str]:
    """Returns the different reasons to wait of the next *seconds*, in order."""
    found: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reason = (probe.reason() or "none").split(" for ")[0]
        if not found or found[-1] != reason:
            found.append(reason)
        time.sleep(0.01)
    return found


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_connect_that_fails_delays_the_first_chunk_only(engine: sa.Engine) -> None:
    """The thread ends by the error. Without a measurement the workers then wait, with the reason."""
    attempts = []

    @event.listens_for(engine, "do_connect")
    def fail(*_arguments: object) -> None:
        attempts.append(1)
        raise TokenError("no token")

    with LatencyProbe(engine, AdaptiveDutyCycle(most=1.0), intervals=ProbeIntervals(stale=0.6)) as probe:
        reasons = _reasons(probe, 1.5)
    assert attempts
    assert reasons == [latency_probe._MEASURING_BASELINE, "none", "latency probe: no measurement"]


def test_connect_that_hangs_delays_the_first_chunk_only(engine: sa.Engine) -> None:
    released = threading.Event()

    @event.listens_for(engine, "do_connect")
    def hang(*_arguments: object) -> None:
        released.wait(30)
        raise sa.exc.OperationalError("connect", {}, Exception("too late"))

    with LatencyProbe(engine, AdaptiveDutyCycle(most=1.0), intervals=ProbeIntervals(stale=60.0)) as probe:
        assert _reasons(probe, 0.6) == [latency_probe._MEASURING_BASELINE, "none"]
        released.set()
