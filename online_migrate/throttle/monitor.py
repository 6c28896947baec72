"""Who looks with the throttlers.

Looking may take its time, so it is done beside the work and over and over, and what was seen last counts.
What cannot be seen, or was not seen for long, counts as "wait": a signal that is gone is no sign that all
is well. Who thinks otherwise says ``if_unreadable = go``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate import exceptions
from online_migrate.ddl.session import connect, private_connection
from online_migrate.dialects import dialect_of
from online_migrate.dialects.errors import AnyFault, words_of
from online_migrate.throttle.signals import Throttler
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


_log = logging.getLogger(__name__)
GO_ON = "mend it or leave it out; or run on whether it can be read or not: --if-unreadable go"
"""The way out of a refusal."""
_FIRST_LOOK = 0.5
"""Seconds to wait for the first look; if it takes longer, chunks wait for it instead."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a throttler saw."""

    reason: str | None
    readable: bool = True


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a monitor looks."""

    every: float = 0.5
    """Seconds between two looks."""
    unreadable_waits: bool = True
    """What cannot be read is a reason to wait."""


class Monitor:
    """Looks with throttlers on one server, in a thread of its own, while its ``with`` block lasts.

    *critical*: as throttlers, but what they see is told to *give_up*, once.
    """

    stale: ClassVar[float] = 10.0
    """Seconds after which a look says nothing any more."""

    def __init__(
        self,
        engine: Engine,
        throttlers: Sequence[Throttler],
        *,
        critical: Sequence[Throttler] = (),
        give_up: Callable[[str], None] = lambda reason: None,
        clock: Clock,
        rules: Rules | None = None,
    ) -> None:
        self._engine = engine
        self._throttlers = tuple(throttlers)
        self._critical = tuple(critical)
        self._give_up = give_up
        self._clock = clock
        self._rules = rules or Rules()
        self._seen: dict[int, tuple[Reading, float]] = {}
        self._looked = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="online-migrate-monitor", daemon=True)

    def __enter__(self) -> Monitor:
        if self._throttlers or self._critical:
            self._thread.start()
            # Else every run would begin with a wait for what takes milliseconds.
            self._looked.wait(_FIRST_LOOK)
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def reason(self) -> str | None:
        """The first reason to wait, the throttler's name in front."""
        for i, throttler in enumerate(self._throttlers):
            reason = self._reason(i)
            if reason is not None:
                return f"{throttler.name}: {reason}"
        return None

    def _reason(self, i: int) -> str | None:
        if i not in self._seen:
            return "not read yet" if self._rules.unreadable_waits else None
        reading, at = self._seen[i]
        silence = self._clock.monotonic() - at
        if silence > self.stale:
            return f"not read for {silence:.0f} s" if self._rules.unreadable_waits else None
        return reading.reason if reading.readable or self._rules.unreadable_waits else None

    def _look_on(self) -> None:
        while not self._end.is_set():
            try:
                with private_connection(self._engine) as connection:
                    while not self._end.is_set():
                        self._look(connection)
                        self._end.wait(self._rules.every)
            except (*AnyFault, exceptions.Failed) as error:
                # A connection that is lost makes what was seen stale, which says "wait" by itself.
                _log.info("the throttlers connect again: %s", words_of(error))
            self._end.wait(self._rules.every)

    def _look(self, connection: Connection) -> None:
        for i, throttler in enumerate(self._throttlers):
            reading = look(throttler, connection)
            self._seen[i] = reading, self._clock.monotonic()
        for throttler in self._critical:
            reading = look(throttler, connection)
            if reading.reason is not None and (reading.readable or self._rules.unreadable_waits):
                self._give_up(f"{throttler.name}: {reading.reason}")
        self._looked.set()


def look(throttler: Throttler, connection: Connection) -> Reading:
    """What a throttler sees, or why it sees nothing."""
    try:
        return Reading(throttler.look(connection))
    except AnyFault as error:
        if dialect_of(connection).is_connection_lost(error):
            raise
        return Reading(f"cannot be read: {words_of(error)}", readable=False)
    except Exception as error:  # noqa: BLE001 - a user's function: what it raises is said, and waited for
        return Reading(f"cannot be read: {type(error).__name__}: {error}", readable=False)
    finally:
        with contextlib.suppress(*AnyFault):
            connection.rollback()


def check(throttlers: Iterable[Throttler], engine: Engine) -> None:
    """Refuses what could never be read: a run would wait for it forever.

    Raises :class:`~online_migrate.exceptions.ThrottlerBroken`.
    """
    with connect(engine) as connection:
        for throttler in throttlers:
            reading = look(throttler, connection)
            if not reading.readable:
                raise exceptions.ThrottlerBroken(name=throttler.name, reason=reading.reason, hint=GO_ON)


def readable(throttlers: Iterable[Throttler], engine: Engine) -> tuple[list[Throttler], dict[str, str]]:
    """Those of *throttlers* that see something; and by name why the others do not."""
    good: list[Throttler] = []
    blind: dict[str, str] = {}
    with connect(engine) as connection:
        for throttler in throttlers:
            reading = look(throttler, connection)
            if reading.readable:
                good.append(throttler)
            else:
                blind[throttler.name] = str(reading.reason)
    return good, blind
