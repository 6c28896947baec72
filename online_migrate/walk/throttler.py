"""What says "wait": no chunk is begun while it does.

A throttler looks: at a file, at the server, at whatever a user wrote. Looking may take its time, so a
monitor does it, beside the work and over and over, and answers from what it saw last. What it cannot see,
or has not seen for long, counts as "wait": a signal that is gone is no sign that all is well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import dialect_of
from online_migrate.dialects.errors import AnyFault, words_of
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


class Throttler(Protocol):
    """One reason to wait."""

    @property
    def name(self) -> str:
        """Shown in front of the reason."""

    def look(self, connection: Connection) -> str | None:
        """Why no chunk may be begun just now; None: one may. May raise: that counts as a reason."""


class Gate(Protocol):
    """Who is asked before every chunk."""

    def reason(self) -> str | None:
        """Why not, with the throttler's name in front; None: it may."""


class Open:
    """Never says wait."""

    def reason(self) -> str | None:
        return None


# --- the kinds -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class File:
    """Waits while a file is there; ``touch`` and ``rm`` are the quickest way to stop and to go on."""

    path: Path
    name: str = "file"

    def look(self, connection: Connection) -> str | None:
        return f"{self.path} is there" if self.path.exists() else None


@dataclasses.dataclass(frozen=True)
class Query:
    """Waits while the first value that a query gives is true: above 0, or a text."""

    sql: str
    name: str = "query"

    def look(self, connection: Connection) -> str | None:
        value = connection.scalar(sa.text(self.sql.replace(":", r"\:")))
        return f"it gives {value}" if value else None


@dataclasses.dataclass(frozen=True)
class Load:
    """Waits while a counter of the server is above its limit.

    *limits*: ``Threads_running`` and whatever else SHOW GLOBAL STATUS names; on PostgreSQL
    ``active_backends``, ``waiting_backends`` or ``idle_in_transaction``.
    """

    limits: Mapping[str, float]
    name: str = "load"

    def look(self, connection: Connection) -> str | None:
        found = dialect_of(connection).load(connection, sorted(self.limits))
        for counter, limit in self.limits.items():
            if counter not in found:
                raise LookupError(f"this server has no counter {counter!r}")
            if found[counter] > limit:
                return f"{counter}={found[counter]:g}, and {limit:g} is the limit"
        return None


@dataclasses.dataclass(frozen=True)
class Call:
    """Waits while a function says so: by True, or by a text that says why."""

    function: Callable[[], object]
    name: str = "callable"

    def look(self, connection: Connection) -> str | None:
        answer = self.function()
        if not answer:
            return None
        return answer if isinstance(answer, str) else "it says so"


# --- who looks -----------------------------------------------------------------------------------


@dataclasses.dataclass
class _Seen:
    reason: str | None
    at: float


class Monitor:
    """Looks with all throttlers, in a thread of its own, while its ``with`` block lasts.

    *every*: seconds between two looks. *stale*: seconds after which a look says nothing any more.
    *critical*: as throttlers, but what they see is told to *give_up*, once.
    """

    stale: ClassVar[float] = 10.0

    def __init__(
        self,
        engine: Engine,
        throttlers: Sequence[Throttler],
        *,
        critical: Sequence[Throttler] = (),
        give_up: Callable[[str], None] = lambda reason: None,
        clock: Clock,
        every: float = 0.5,
    ) -> None:
        self._engine = engine
        self._throttlers = tuple(throttlers)
        self._critical = tuple(critical)
        self._give_up = give_up
        self._clock = clock
        self._every = every
        self._began = clock.monotonic()
        self._seen: dict[int, _Seen] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="online-migrate-monitor", daemon=True)

    def __enter__(self) -> Monitor:
        if self._throttlers or self._critical:
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def reason(self) -> str | None:
        """The first reason to wait, the throttler's name in front."""
        now = self._clock.monotonic()
        for i, throttler in enumerate(self._throttlers):
            seen = self._seen.get(i)
            if seen is None:
                return f"{throttler.name}: not read yet"
            if now - seen.at > self.stale:
                return f"{throttler.name}: not read for {now - seen.at:.0f} s"
            if seen.reason is not None:
                return f"{throttler.name}: {seen.reason}"
        return None

    def _look_on(self) -> None:
        while not self._end.is_set():
            with contextlib.suppress(*AnyFault), self._engine.connect() as connection:
                # A connection that is lost makes what was seen stale, which says "wait" by itself.
                while not self._end.is_set():
                    self._look(connection)
                    self._end.wait(self._every)
            self._end.wait(self._every)

    def _look(self, connection: Connection) -> None:
        for i, throttler in enumerate(self._throttlers):
            reason = look(throttler, connection)
            self._seen[i] = _Seen(reason, self._clock.monotonic())
        for throttler in self._critical:
            reason = look(throttler, connection)
            if reason is not None:
                self._give_up(f"{throttler.name}: {reason}")


def look(throttler: Throttler, connection: Connection) -> str | None:
    """What a throttler sees; what it cannot see is a reason to wait."""
    try:
        return throttler.look(connection)
    except AnyFault as error:
        if dialect_of(connection).is_connection_lost(error):
            raise
        return f"cannot be read: {words_of(error)}"
    except Exception as error:  # noqa: BLE001 - a user's function: what it raises is said, and waited for
        return f"cannot be read: {type(error).__name__}: {error}"
    finally:
        with contextlib.suppress(*AnyFault):
            connection.rollback()


def check(throttlers: Iterable[Throttler], connection: Connection) -> None:
    """Refuses what could never be read: a run would wait for it forever."""
    for throttler in throttlers:
        reason = look(throttler, connection)
        if reason is not None and reason.startswith("cannot be read"):
            raise exceptions.ThrottlerBroken(name=throttler.name, reason=reason)
