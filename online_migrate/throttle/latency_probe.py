"""What users feel: a tiny read and a committed tiny write of our own, timed a few times a second.

First it listens, while no chunk is begun, how quick both are at rest; then it steers by how much slower
they become. It listens again now and then, because a server is not the same at noon and at night. A run
that is over in half a second needs no canary. What it writes counts up, so it also shows on a replica how
much of our writing has arrived there.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
import threading
import time
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.errors import CLEANUP_ERRORS, error_message, set_isolation
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle, Latency, Tolerance, baseline_of, is_worse
from online_migrate.throttle.server_throttlers import PositionHistory

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_log = logging.getLogger(__name__)
_MEASURING_BASELINE = "canary: listening how quick the server is without us"
_SWITCH_INTERVAL = 0.001
"""Seconds after which a thread of Python lets another one in: five times as often as usual, because what
the canary waits for them is not what users feel."""
_AFTERMATH = 0.02
"""Seconds after a chunk for which what is felt may be its doing: the disk, and who had to wait for it. A few
times what a chunk takes; were it much more, there would be no rest that is not some chunk's aftermath."""


@dataclasses.dataclass(frozen=True)
class ProbeIntervals:
    """When it does what, in seconds."""

    grace: float = 0.5
    """Before it listens for the first time."""
    every: float = 0.2
    """Between two measurements."""
    baseline: float = 1.0
    """How long it listens; nobody works meanwhile."""
    settle: float = 0.2
    """Before that, for chunks that are under way to end."""
    baseline_every: float = 120.0
    """Between two times that it listens."""
    stale: float = 10.0
    """Without a measurement after which it counts as "wait"."""


class LatencyProbe:
    """Feels, and steers *steering*, in a thread of its own while its ``with`` block lasts.

    *steering*: None if it is only to write, for replicas that are watched. *activity*: when we are at work;
    None: all the time.
    """

    def __init__(
        self,
        engine: Engine,
        duty_cycle: AdaptiveDutyCycle | None,
        *,
        activity: Activity | None = None,
        tolerance: Tolerance | None = None,
        rhythm: ProbeIntervals | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.positions = PositionHistory()
        self.latency: Latency | None = None
        """The last measurement."""
        self.baseline: Latency | None = None
        """What is usual while we stand still."""
        self._engine = engine
        self._duty_cycle = duty_cycle
        self._activity = activity
        self._tolerance = tolerance or Tolerance()
        self._intervals = rhythm or ProbeIntervals()
        self._measuring_baseline = False
        self._write_number = 0
        self._listen_at = float("-inf")
        self._last_measured: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="online-migrate-canary", daemon=True)
        self._switch = sys.getswitchinterval()

    @property
    def writes(self) -> int:
        """How often it has written, or tried to."""
        return self._write_number

    def __enter__(self) -> LatencyProbe:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join(timeout=5.0)

    def reason(self) -> str | None:
        """Why no chunk may be begun: it listens, or it has felt nothing for long."""
        if self._measuring_baseline:
            return _MEASURING_BASELINE
        idle_seconds = None if self._last_measured is None else time.monotonic() - self._last_measured
        if idle_seconds is not None and idle_seconds > self._intervals.stale:
            return f"canary: nothing felt for {idle_seconds:.0f} s"
        return None

    # --- its thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._duty_cycle is not None and self._end.wait(self._intervals.grace):
            return
        sys.setswitchinterval(_SWITCH_INTERVAL)
        try:
            while not self._end.is_set():
                try:
                    with private_connection(self._engine) as own:
                        self._probe(own, dialect_of(own))
                except (*CLEANUP_ERRORS, exceptions.Failed) as error:
                    # A lost connection makes it silent, which says "wait" by itself.
                    _log.info("the canary connects again: %s", error_message(error))
                self._measuring_baseline = False
                self._end.wait(self._intervals.every)
        finally:
            sys.setswitchinterval(self._switch)

    def _probe(self, connection: Connection, dialect: Dialect) -> None:
        set_isolation(connection, "AUTOCOMMIT")
        state.latency_probe.insert(connection, self.id, dialect.epoch())
        self._measure(connection, dialect)
        while not self._end.is_set():
            # A new connection does not change what is usual at rest.
            if self._duty_cycle is not None and time.monotonic() >= self._listen_at:
                self._measure_baseline(connection, dialect)
                self._listen_at = time.monotonic() + self._intervals.baseline_every
            began = time.monotonic()
            latency = self._measure(connection, dialect)
            if self._duty_cycle is not None and self.baseline is not None:
                worse = is_worse(latency, self.baseline, self._tolerance)
                self._duty_cycle.observe(worse=worse, ours=self._active_since(began - _AFTERMATH))
            self._end.wait(self._intervals.every)
        state.latency_probe.delete(connection, self.id)

    def _active_since(self, moment: float) -> bool:
        return self._activity is None or self._activity.active_since(moment)

    def _measure_baseline(self, connection: Connection, dialect: Dialect) -> None:
        """Learns what is usual at rest, unless another process that works would be felt."""
        others = state.latency_probe.peer_baseline(connection, self.id, dialect.epoch())
        if others is not None:
            self.baseline = Latency(*others) if self.baseline is None else self.baseline
        else:
            self._measuring_baseline = True
            self._end.wait(self._intervals.settle)
            samples = [self._measure(connection, dialect)]
            end = time.monotonic() + self._intervals.baseline
            while time.monotonic() < end and not self._end.is_set():
                samples.append(self._measure(connection, dialect))
                self._end.wait(self._intervals.every / 5)
            self.baseline = baseline_of(samples)
            self._measuring_baseline = False
        state.latency_probe.record_baseline(connection, self.id, self.baseline.read, self.baseline.write)

    def _measure(self, connection: Connection, dialect: Dialect) -> Latency:
        began = time.perf_counter()
        state.latency_probe.read(connection, self.id)
        read = time.perf_counter()
        # Marked before it is written: a replica that has it is never taken for one that has not.
        self._write_number += 1
        self.positions.mark(self._write_number, time.monotonic())
        state.latency_probe.write(connection, self.id, self._write_number, dialect.epoch())
        self.latency = Latency(read - began, time.perf_counter() - read)
        self._last_measured = time.monotonic()
        return self.latency
