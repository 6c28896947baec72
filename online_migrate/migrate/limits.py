"""How far a run of data migrations goes, how fast, and what keeps it waiting: as an operator says it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.ddl.session import connect, require_connections
from online_migrate.dialects import create_engine, dialect_of, safe_url
from online_migrate.migrate.run import Pace
from online_migrate.throttle import Watched, parse
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.canary import Canary
from online_migrate.throttle.monitor import GO_ON, Monitor, Rules, check, readable
from online_migrate.throttle.server import Blocked, FlowControl, History, ReplicaLag, Sessions, StreamingLag
from online_migrate.throttle.signals import Gate, Several, Throttler
from online_migrate.throttle.steering import Fixed, Steered, Steering
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

USUAL_LAG = 10.0
"""Seconds that a replica may be behind, where nobody said how many."""
USUAL_HISTORY = 1_000_000
"""Old transactions that InnoDB may keep, where nobody said how many."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far a run goes, and how fast; None: as the project's settings say."""

    max_count: int | None = None
    """Rows to migrate, in all data migrations together."""
    max_time: float | None = None
    """Seconds after which no further chunk is begun."""
    batch_size: int | None = None
    """Rows in every chunk, instead of as many as take *chunk_time*."""
    chunk_time: float | None = None
    """Seconds that a chunk should take."""
    pace: str | None = None
    """gentle, default or full: how much of the server's time is taken."""
    nice: float | None = None
    """At least so many seconds of rest for each second of work, instead of what the pace says."""
    max_lag: float | None = None
    """Seconds that a replica may be behind before no chunk is begun; 0: replicas are not watched."""
    replicas: Sequence[str] = ()
    """URLs of replicas to watch, beside those that stream from a PostgreSQL primary."""
    max_load: str | None = None
    """Counters of the server, ``NAME=LIMIT,...``, above which no chunk is begun."""
    critical_load: str | None = None
    """The same; above them the run is ended."""
    throttle_file: str | None = None
    """No chunk is begun while this file is there."""
    throttle_query: str | None = None
    """No chunk is begun while the first value that it gives is above 0."""
    if_unreadable: str | None = None
    """wait or go: what a throttler counts for that cannot be read."""
    workers: int | None = None
    """Chunks at the same time."""
    max_failures: int | None = None
    """Rows that may fail before a data migration is ended."""

    def over(self, settings: Settings) -> Settings:
        """The settings, with what is said here instead."""
        said = {
            field.name: value
            for field in dataclasses.fields(self)
            if field.name not in ("max_count", "max_time", "replicas")
            and (value := getattr(self, field.name)) is not None
        }
        if self.throttle_file:
            # A path on the command line is from here; one in the settings is from where they are.
            said["throttle_file"] = str(Path(self.throttle_file).absolute())
        if self.replicas:
            said["replicas"] = " ".join(self.replicas)
        return dataclasses.replace(settings, **said)


def pace_of(settings: Settings) -> Pace:
    """How long a chunk takes, and which part of the time is worked."""
    return Pace.named(
        settings.pace,
        chunk_time=settings.chunk_time or None,
        rest=settings.nice if settings.nice >= 0 else None,
        batch_size=settings.batch_size or None,
    )


def require_connections_of(engine: Engine, settings: Settings) -> None:
    """Refuses a run that needs more connections than the server, or the user, allows.

    A second connection of a worker, and the one that reads ahead, are not counted: it works without them.
    """
    with connect(engine) as connection:
        if dialect_of(connection).single_writer:
            return
    steered = pace_of(settings).steered
    # The heartbeat, the throttlers, and the canary.
    needed = settings.workers + 2 + steered
    options = ["--workers 1"] if settings.workers > 1 else []
    options += ["--pace full"] if steered else []
    fewer = f", or use fewer: {' '.join(options)}" if options else ""
    require_connections(engine, needed, "migrate", fewer=fewer)


@contextlib.contextmanager
def watched(
    engine: Engine,
    settings: Settings,
    folder: Path,
    *,
    clock: Clock,
    give_up: Callable[[str], None],
    say: Callable[[str], None],
) -> Iterator[Watched]:
    """Everything that says "wait" during a run, while the block lasts.

    *folder*: from where paths in the settings are, and where a user's module may be. *give_up*: told what a
    critical load is. *say*: told what cannot be watched. Raises
    :class:`~online_migrate.exceptions.ThrottlerBroken` for what was asked for and cannot be read.
    """
    rules = Rules(unreadable_waits=settings.if_unreadable == "wait")
    sessions = Sessions()
    asked = parse.make(settings, folder)
    critical = parse.make_critical(settings.critical_load)
    usual: list[Throttler] = []
    if settings.max_lag > 0:
        asked += _streaming(engine, settings, clock)
    elif settings.max_lag:
        usual += _streaming(engine, settings, clock)
    if rules.unreadable_waits:
        check([*asked, *critical], engine)
    usual += _of_the_server(engine, settings, clock, sessions)
    good, blind = readable(usual, engine)
    for name, reason in blind.items():
        say(f"not watched: {name}: {reason}; the run goes on without it")
    with contextlib.ExitStack() as stack:
        activity = Activity()
        canary, steering = _canary(engine, settings, activity)
        gates: list[Gate] = []
        if canary is not None:
            gates.append(stack.enter_context(canary))
            gates += [
                stack.enter_context(monitor) for monitor in _replicas(settings, canary, clock, rules, stack)
            ]
        main = Monitor(engine, [*asked, *good], critical=critical, give_up=give_up, clock=clock, rules=rules)
        gates.insert(0, stack.enter_context(main))
        yield Watched(Several(gates), steering, sessions, canary, activity)


def _streaming(engine: Engine, settings: Settings, clock: Clock) -> list[Throttler]:
    with connect(engine) as connection:
        streams = dialect_of(connection).streams
    if not streams and settings.max_lag > 0 and not settings.replicas:
        raise exceptions.ThrottlerBroken(
            name="max-lag",
            reason="cannot be read: this server does not tell how far its replicas are",
            hint="name each of them: --replica URL",
        )
    if not streams:
        return []
    ignored = [name.strip() for name in settings.lag_ignore.split(",")]
    return [StreamingLag(_max_lag(settings), clock, ignored)]


def _of_the_server(
    engine: Engine, settings: Settings, clock: Clock, sessions: Sessions
) -> Iterator[Throttler]:
    with connect(engine) as connection:
        dialect = dialect_of(connection)
        if dialect.single_writer:
            return
        if settings.pace != "full":
            yield Blocked(sessions)
        if not dialect.sees_all_sessions(connection):
            yield FlowControl(clock)
        if dialect.has_history and settings.max_history:
            yield History(settings.max_history if settings.max_history > 0 else USUAL_HISTORY)


def _max_lag(settings: Settings) -> float:
    return settings.max_lag if settings.max_lag > 0 else USUAL_LAG


def _urls(settings: Settings) -> list[str]:
    return settings.replicas.split() if settings.max_lag else []


def _canary(engine: Engine, settings: Settings, activity: Activity) -> tuple[Canary | None, Steering]:
    """Nobody is felt where one writer keeps all others waiting, or where nobody is to be spared."""
    pace = pace_of(settings)
    with connect(engine) as connection:
        alone = dialect_of(connection).single_writer
    if pace.steered and not alone:
        steered = Steered(most=pace.share, start=pace.share / 2)
        return Canary(engine, steered, activity=activity), steered
    return Canary(engine, None) if _urls(settings) else None, Fixed(1 / pace.share - 1)


def _replicas(
    settings: Settings, canary: Canary, clock: Clock, rules: Rules, stack: contextlib.ExitStack
) -> Iterator[Monitor]:
    for url in _urls(settings):
        engine = create_engine(url)
        stack.callback(engine.dispose)
        where = engine.url.host or safe_url(engine.url)
        name = where if engine.url.port is None else f"{where}:{engine.url.port}"
        try:
            connect(engine).close()
        except exceptions.ServerDown as error:
            if rules.unreadable_waits:
                raise exceptions.ThrottlerBroken(
                    name=f"lag of {name}", reason=f"cannot be read: {error}", hint=GO_ON
                ) from error
        yield Monitor(engine, [ReplicaLag(name, _max_lag(settings), clock, canary)], clock=clock, rules=rules)
