"""Samples throttlers on one server, in the background.

A sample may take long, so it is taken beside the work, over and over, and the last one counts. A throttler
that cannot be read, or was not read for long, counts as a reason to wait: a missing signal does not mean that
the server is healthy. ``if_unreadable = go`` turns that around.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate import exceptions
from online_migrate.background import ConnectionLoop
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
from online_migrate.observe import events
from online_migrate.throttle.throttlers import Throttler
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

logger = logging.getLogger(__name__)

IGNORE_HINT = "correct the setting or remove it; --if-unreadable go ignores a throttler that cannot be read"
"""The way out of a refusal."""
_FIRST_SAMPLE_TIMEOUT = 0.5
"""Seconds that the start waits for the first samples; if they take longer, the chunks wait instead."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a throttler returned."""

    reason: str | None
    """Why no chunk may start; None: one may."""
    readable: bool = True


@dataclasses.dataclass(frozen=True)
class SamplingPolicy:
    """How often a monitor samples, and what an unreadable throttler means."""

    every: float = 0.5
    """Seconds between two samples."""
    unreadable_waits: bool = True
    """A throttler that cannot be read is a reason to wait."""


class Monitor:
    """Samples throttlers on one server, in a thread of its own, while its ``with`` block lasts.

    *critical*: throttlers whose first reason is passed to *abort*.
    """

    stale: ClassVar[float] = 10.0
    """Seconds after which a sample no longer counts."""

    def __init__(
        self,
        engine: Engine,
        throttlers: Sequence[Throttler],
        *,
        critical: Sequence[Throttler] = (),
        abort: Callable[[str], None] = lambda reason: None,
        clock: Clock,
        policy: SamplingPolicy | None = None,
    ) -> None:
        self._throttlers = tuple(throttlers)
        self._critical = tuple(critical)
        self._abort = abort
        self._clock = clock
        self._policy = policy or SamplingPolicy()
        self._samples: dict[int, tuple[Sample, float]] = {}
        self._sampled = threading.Event()
        self._loop = ConnectionLoop("monitor", engine, self._run, interval=self._policy.every)

    def __enter__(self) -> Monitor:
        if self._throttlers or self._critical:
            self._loop.start()
            # The first samples usually take milliseconds; without this wait every run would start paused.
            self._sampled.wait(_FIRST_SAMPLE_TIMEOUT)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.stop()

    def reason(self) -> str | None:
        """The first reason to wait, after the name of its throttler; None if there is none."""
        for i, throttler in enumerate(self._throttlers):
            reason = self._reason(i)
            if reason is not None:
                return f"{throttler.name}: {reason}"
        return None

    def _reason(self, i: int) -> str | None:
        if i not in self._samples:
            return "no sample yet" if self._policy.unreadable_waits else None
        taken, at = self._samples[i]
        age = self._clock.monotonic() - at
        if age > self.stale:
            return f"no sample for {age:.0f} s" if self._policy.unreadable_waits else None
        return taken.reason if taken.readable or self._policy.unreadable_waits else None

    # --- the thread ------------------------------------------------------------------------------

    def _run(self, connection: Connection) -> None:
        while not self._loop.stopping.is_set():
            self._sample_all(connection)
            self._loop.stopping.wait(self._policy.every)

    def _sample_all(self, connection: Connection) -> None:
        for i, throttler in enumerate(self._throttlers):
            taken = sample(throttler, connection)
            self._log_change(i, throttler, taken)
            self._samples[i] = taken, self._clock.monotonic()
        for throttler in self._critical:
            taken = sample(throttler, connection)
            if taken.reason is not None and (taken.readable or self._policy.unreadable_waits):
                self._abort(f"{throttler.name}: {taken.reason}")
        self._sampled.set()

    def _log_change(self, i: int, throttler: Throttler, taken: Sample) -> None:
        before = self._samples[i][0] if i in self._samples else Sample(None)
        if not taken.readable and before.readable:
            effect = "paused" if self._policy.unreadable_waits else "ignored"
            events.emit(logger, events.ThrottlerUnreadable(throttler.name, f"{taken.reason}", effect))
        elif taken.reason is not None and before.reason is None:
            events.emit(logger, events.ThrottlerPaused(throttler.name, taken.reason))
        elif taken.reason is None and before.reason is not None:
            events.emit(logger, events.ThrottlerContinued(throttler.name))


def sample(throttler: Throttler, connection: Connection) -> Sample:
    """Reads a throttler; an error other than a lost connection becomes the reason."""
    try:
        return Sample(throttler.sample(connection))
    except CLEANUP_ERRORS as error:
        if dialect_of(connection).is_connection_lost(error):
            raise
        return Sample(f"cannot be read: {error_message(error)}", readable=False)
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything; it becomes the reason
        return Sample(f"cannot be read: {type(error).__name__}: {error}", readable=False)
    finally:
        with contextlib.suppress(*CLEANUP_ERRORS):
            connection.rollback()


def check(throttlers: Iterable[Throttler], engine: Engine) -> None:
    """Refuses throttlers that cannot be read: a run would wait for them without an end.

    Raises :class:`~online_migrate.exceptions.ThrottlerBroken`.
    """
    with connect(engine) as connection:
        for throttler in throttlers:
            taken = sample(throttler, connection)
            if not taken.readable:
                raise exceptions.ThrottlerBroken(name=throttler.name, reason=taken.reason, hint=IGNORE_HINT)


def readable(
    throttlers: Iterable[Throttler], connection: Connection
) -> tuple[list[Throttler], dict[str, str]]:
    """The throttlers that can be read, and for the others the reason by name."""
    good: list[Throttler] = []
    unreadable: dict[str, str] = {}
    for throttler in throttlers:
        taken = sample(throttler, connection)
        if taken.readable:
            good.append(throttler)
        else:
            unreadable[throttler.name] = str(taken.reason)
    return good, unreadable
