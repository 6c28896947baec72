"""Opens everything that can pause a run: throttlers, monitors, the latency probe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.ddl.session import connect
from online_migrate.dialects import Dialect, create_engine, dialect_of, safe_url
from online_migrate.throttle import Throttling, factory
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle, DutyCycle, FixedDutyCycle
from online_migrate.throttle.latency_probe import LatencyProbe
from online_migrate.throttle.monitor import IGNORE_HINT, Monitor, SamplingPolicy, check, readable
from online_migrate.throttle.server_throttlers import (
    FlowControl,
    HistoryLength,
    LockWaiters,
    ReplicaLag,
    StreamingLag,
    WorkerSessions,
)
from online_migrate.throttle.throttlers import AnyThrottle, Throttle, Throttler
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

DEFAULT_MAX_LAG = 10.0
"""Seconds that a replica may be behind if ``max_lag`` is not set."""
DEFAULT_MAX_HISTORY = 1_000_000
"""The limit of InnoDB's history list length if ``max_history`` is not set."""


@contextlib.contextmanager
def open_throttling(
    engine: Engine,
    settings: Settings,
    folder: Path,
    *,
    clock: Clock,
    share: float,
    shortest: float,
    adaptive: bool,
    abort: Callable[[str], None],
    echo: Callable[[str], None],
) -> Iterator[Throttling]:
    """Opens everything that can pause a run, while the block lasts.

    *folder*: paths in the settings are relative to it, and a user's module may be in it. *share*: the maximum
    duty cycle of a worker, above 0 and at most 1. *shortest*: the shortest chunk time as a part of the
    longest one, above 0 and at most 1. *adaptive*: chunks are shortened, and the duty cycle is reduced, while
    the latency probe measures a higher latency. *abort*: called with the critical load that was exceeded.
    *echo*: called with a message for each throttler that cannot be read. Raises
    :class:`~online_migrate.exceptions.ThrottlerBroken` for a throttler that was set explicitly and cannot be
    read.
    """
    policy = SamplingPolicy(unreadable_waits=settings.if_unreadable == "wait")
    sessions = WorkerSessions()
    asked = factory.make_throttlers(settings, folder)
    critical = factory.make_critical_throttlers(settings.critical_load)
    if settings.max_lag:
        asked += _streaming_throttlers(dialect_of(engine), settings, clock)
    if policy.unreadable_waits:
        check([*asked, *critical], engine)
    usual = _usual_throttlers(engine, settings, clock, sessions, echo)
    with contextlib.ExitStack() as stack:
        activity = Activity()
        probe, duty_cycle = _latency_probe(
            engine, settings, activity, share=share, shortest=shortest, adaptive=adaptive
        )
        throttles: list[Throttle] = []
        if probe is not None:
            throttles.append(stack.enter_context(probe))
            throttles += [
                stack.enter_context(monitor)
                for monitor in _replica_monitors(settings, probe, clock, policy, stack)
            ]
        main = Monitor(engine, [*asked, *usual], critical=critical, abort=abort, clock=clock, policy=policy)
        throttles.insert(0, stack.enter_context(main))
        yield Throttling(AnyThrottle(throttles), duty_cycle, sessions, probe, activity)


def _usual_throttlers(
    engine: Engine,
    settings: Settings,
    clock: Clock,
    sessions: WorkerSessions,
    echo: Callable[[str], None],
) -> list[Throttler]:
    """Returns the throttlers of this server that no setting asks for, except those that cannot be read."""
    with connect(engine) as connection:
        dialect = dialect_of(connection)
        sees_all = dialect.sees_all_sessions(connection)
        connection.rollback()
        usual = _streaming_throttlers(dialect, settings, clock) if settings.max_lag is None else []
        usual += _server_throttlers(dialect, settings, clock, sessions, sees_all=sees_all)
        good, blind = readable(usual, connection)
    for name, reason in blind.items():
        echo(f"throttler {name} is not active: {reason}; the run continues without it")
    return good


def _streaming_throttlers(dialect: Dialect, settings: Settings, clock: Clock) -> list[Throttler]:
    if not dialect.streams and settings.max_lag and not settings.replicas:
        raise exceptions.ThrottlerBroken(
            name="max-lag",
            reason="cannot be read: this server does not report the positions of its replicas",
            hint="give the URL of each replica: --replica URL",
        )
    if not dialect.streams:
        return []
    ignored = [name.strip() for name in (settings.lag_ignore or "").split(",")]
    return [StreamingLag(_max_lag(settings), clock, ignored)]


def _server_throttlers(
    dialect: Dialect, settings: Settings, clock: Clock, sessions: WorkerSessions, *, sees_all: bool
) -> Iterator[Throttler]:
    """Yields the throttlers of this server. *sees_all*: see :meth:`Dialect.sees_all_sessions`."""
    if dialect.single_writer:
        return
    if settings.pace != "full":
        yield LockWaiters(sessions)
    if not sees_all:
        yield FlowControl(clock)
    if dialect.has_history and settings.max_history != 0:
        yield HistoryLength(settings.max_history or DEFAULT_MAX_HISTORY)


def _max_lag(settings: Settings) -> float:
    return settings.max_lag or DEFAULT_MAX_LAG


def _urls(settings: Settings) -> list[str]:
    return [] if settings.max_lag == 0 else (settings.replicas or "").split()


def _latency_probe(
    engine: Engine, settings: Settings, activity: Activity, *, share: float, shortest: float, adaptive: bool
) -> tuple[LatencyProbe | None, DutyCycle]:
    """Returns the latency probe, if one is needed, and the duty cycle.

    No latency is measured on a server where one writer blocks all others, or at a pace that is not adaptive.
    """
    if adaptive and not dialect_of(engine).single_writer:
        duty_cycle = AdaptiveDutyCycle(most=share, shortest=shortest)
        return LatencyProbe(engine, duty_cycle, activity=activity), duty_cycle
    return LatencyProbe(engine, None) if _urls(settings) else None, FixedDutyCycle(1 / share - 1)


def _replica_monitors(
    settings: Settings, probe: LatencyProbe, clock: Clock, policy: SamplingPolicy, stack: contextlib.ExitStack
) -> Iterator[Monitor]:
    for url in _urls(settings):
        engine = create_engine(url, pooler=settings.pooler)
        stack.callback(engine.dispose)
        where = engine.url.host or safe_url(engine.url)
        name = where if engine.url.port is None else f"{where}:{engine.url.port}"
        try:
            connect(engine).close()
        except exceptions.ServerDown as error:
            if policy.unreadable_waits:
                raise exceptions.ThrottlerBroken(
                    name=f"lag of {name}", reason=f"cannot be read: {error}", hint=IGNORE_HINT
                ) from error
        lag = ReplicaLag(name, _max_lag(settings), clock, probe)
        yield Monitor(engine, [lag], clock=clock, policy=policy)
