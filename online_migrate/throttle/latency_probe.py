"""The latency that users see: a read and a committed write of one row, timed a few times a second.

The probe first measures a baseline, before the first chunk, while the run still reads the table's definition;
then the duty cycle follows how much slower both become. The first baseline is short, so that the run does not
wait for it. The baseline is measured again after a while, and then from time to time, because the load of a
server changes; for these measurements the workers pause. The number that the probe writes grows, so a replica
shows by it how far it has replayed.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.background import ConnectionLoop
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.driver_errors import set_isolation
from online_migrate.observe import events
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle, Latency, Tolerance, baseline_of, is_worse
from online_migrate.throttle.server_throttlers import PositionHistory

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

logger = logging.getLogger(__name__)

_MEASURING_BASELINE = "latency probe: measuring the baseline while no chunk runs"
_SWITCH_INTERVAL = 0.001
"""Seconds after which a Python thread lets another one run: a fifth of the default, because the time that
the probe waits for the interpreter's lock is not latency that users see."""
_FIRST_BASELINE_WAIT = 1.0
"""Seconds for which the first chunk waits for the first baseline. If the connection, or a statement, takes
longer, the baseline is measured later, in a pause."""
_FIRST_SAMPLES = 8
"""The number of samples of the first baseline, if they take no longer than its limit."""
_AFTERMATH = 0.02
"""Seconds after a chunk for which latency may be its effect: its disk writes, its lock waits. A few times
the time of a chunk; much more would leave no moment that counts as idle."""
_DRAIN_POLL_INTERVAL = 0.02
"""Seconds between two checks whether a chunk still runs, before a baseline."""


@dataclasses.dataclass(frozen=True)
class ProbeIntervals:
    """The timing of the probe, in seconds."""

    every: float = 0.2
    """Between two measurements."""
    first_baseline: float = 0.1
    """How long the first baseline is measured at most; the first chunk waits for it."""
    baseline: float = 1.0
    """How long a further baseline is measured; no chunk runs meanwhile."""
    settle: float = 0.2
    """Before that, for running chunks to end."""
    drain: float = 2.0
    """After that, for a long chunk or a count to end; if it does not end, the old baseline is kept."""
    second_after: float = 30.0
    """Between the first baseline and the second one."""
    baseline_every: float = 120.0
    """Between two further baselines."""
    retry: float = 2.0
    """Before a baseline is measured again during which the connection was lost; doubled each time, up to
    *second_after*."""
    stale: float = 10.0
    """Without a measurement after which the probe is a reason to wait."""


class LatencyProbe:
    """Measures latency in a thread of its own, and adapts *duty_cycle*, while its ``with`` block lasts.

    *duty_cycle*: None if the probe only writes, for replicas that are watched. *activity*: when chunks run;
    None: all the time.
    """

    def __init__(
        self,
        engine: Engine,
        duty_cycle: AdaptiveDutyCycle | None,
        *,
        activity: Activity | None = None,
        tolerance: Tolerance | None = None,
        intervals: ProbeIntervals | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.positions = PositionHistory()
        self.latency: Latency | None = None
        """The last measurement."""
        self.baseline: Latency | None = None
        """The usual latency while no chunk runs."""
        self._duty_cycle = duty_cycle
        self._activity = activity
        self._tolerance = tolerance or Tolerance()
        self._intervals = intervals or ProbeIntervals()
        self._measuring_baseline = False
        self._no_chunk_yet = True
        """No chunk can have run: the thread is in its first connection, and in its first baseline."""
        self._first_deadline = float("inf")
        self._write_number = 0
        self._baseline_at = float("-inf")
        self._retry = self._intervals.retry
        self._last_measured: float | None = None
        self._loop = ConnectionLoop(
            "latency-probe",
            engine,
            self._run,
            interval=self._intervals.every,
            on_lost=self._connection_lost,
        )
        self._switch_interval = sys.getswitchinterval()

    @property
    def writes(self) -> int:
        """How often the probe has written, or tried to."""
        return self._write_number

    def __enter__(self) -> LatencyProbe:
        if self._duty_cycle is not None:
            sys.setswitchinterval(_SWITCH_INTERVAL)
            # Before the thread starts: no worker may start a chunk during the first baseline.
            self._measuring_baseline = True
        # A probe that never measures is a reason to wait as well.
        self._last_measured = time.monotonic()
        self._first_deadline = self._last_measured + _FIRST_BASELINE_WAIT
        self._loop.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.stop()
        sys.setswitchinterval(self._switch_interval)

    def reason(self) -> str | None:
        """Why no chunk may start: a baseline is measured, or the last measurement is too old."""
        if self._no_chunk_yet and time.monotonic() >= self._first_deadline:
            self._measuring_baseline = self._no_chunk_yet = False
        if self._measuring_baseline:
            return _MEASURING_BASELINE
        idle_seconds = None if self._last_measured is None else time.monotonic() - self._last_measured
        if idle_seconds is not None and idle_seconds > self._intervals.stale:
            return f"latency probe: no measurement for {idle_seconds:.0f} s"
        return None

    # --- the thread ------------------------------------------------------------------------------

    def _connection_lost(self) -> None:
        # The measurements grow old, which is a reason to wait by itself.
        self._measuring_baseline = self._no_chunk_yet = False

    def _run(self, connection: Connection) -> None:
        try:
            self._measure_until_stopped(connection)
        finally:
            # An unexpected error ends the thread; without this the workers would wait for it for ever.
            self._measuring_baseline = False

    def _measure_until_stopped(self, connection: Connection) -> None:
        dialect = dialect_of(connection)
        set_isolation(connection, "AUTOCOMMIT")
        state.latency_probe.insert(connection, self.id, dialect.epoch())
        self._measure(connection, dialect)
        while not self._loop.stopping.is_set():
            # A new connection does not change the baseline.
            if self._duty_cycle is not None and time.monotonic() >= self._baseline_at:
                self._measure_next_baseline(connection, dialect)
            began = time.monotonic()
            latency = self._measure(connection, dialect)
            if self._duty_cycle is not None and self.baseline is not None:
                worse = is_worse(latency, self.baseline, self._tolerance)
                active = self._active_since(began - _AFTERMATH)
                self._duty_cycle.observe(worse=worse, caused_by_workers=active)
            self._loop.stopping.wait(self._intervals.every)
        state.latency_probe.delete(connection, self.id)

    def _active_since(self, moment: float) -> bool:
        return self._activity is None or self._activity.active_since(moment)

    def _measure_next_baseline(self, connection: Connection, dialect: Dialect) -> None:
        # Set before the measurement: connections that are lost again and again must not let a new
        # measurement begin each time, because no chunk runs during it.
        self._baseline_at = time.monotonic() + self._retry
        self._retry = min(2 * self._retry, self._intervals.second_after)
        first = self.baseline is None
        self._measure_baseline(connection, dialect)
        pause = self._intervals.second_after if first else self._intervals.baseline_every
        self._baseline_at = time.monotonic() + pause
        self._retry = self._intervals.retry

    def _measure_baseline(self, connection: Connection, dialect: Dialect) -> None:
        """Measures the baseline, or takes over that of another process whose chunks would distort it."""
        others = state.latency_probe.peer_baseline(connection, self.id, dialect.epoch())
        if others is not None:
            self.baseline = _lower(Latency(*others), self.baseline)
        else:
            self._measuring_baseline = True
            samples = list(self._samples(connection, dialect))
            if samples:
                self.baseline = baseline_of(samples)
                read_ms, write_ms = 1000 * self.baseline.read, 1000 * self.baseline.write
                events.emit(logger, events.BaselineMeasured(read_ms, write_ms))
        self._measuring_baseline = self._no_chunk_yet = False
        if self.baseline is not None:
            state.latency_probe.record_baseline(connection, self.id, self.baseline.read, self.baseline.write)

    def _samples(self, connection: Connection, dialect: Dialect) -> Iterator[Latency]:
        """Yields the samples of a baseline; none if a chunk, or a count, runs for longer than it may wait."""
        if self._no_chunk_yet:
            end = time.monotonic() + self._intervals.first_baseline
            yield self._measure(connection, dialect)
            for _ in range(_FIRST_SAMPLES - 1):
                if time.monotonic() >= end or self._loop.stopping.is_set():
                    return
                yield self._measure(connection, dialect)
            return
        if not self._wait_until_idle():
            if not self._loop.stopping.is_set():
                events.emit(logger, events.BaselineSkipped(self._intervals.drain))
            return
        yield self._measure(connection, dialect)
        end = time.monotonic() + self._intervals.baseline
        while time.monotonic() < end and not self._loop.stopping.is_set():
            yield self._measure(connection, dialect)
            self._loop.stopping.wait(self._intervals.every / 5)

    def _wait_until_idle(self) -> bool:
        """Waits for running chunks to end, and for their effects to pass; returns False if they do not."""
        settle, stopping = self._intervals.settle, self._loop.stopping
        stopping.wait(settle)
        end = time.monotonic() + self._intervals.drain
        while self._activity is not None and self._activity.active_since(time.monotonic() - settle):
            if time.monotonic() >= end or stopping.wait(_DRAIN_POLL_INTERVAL):
                return False
        return True

    def _measure(self, connection: Connection, dialect: Dialect) -> Latency:
        began = time.perf_counter()
        state.latency_probe.read(connection, self.id)
        read = time.perf_counter()
        # Marked before the write: a replica that has the number is never taken for one that lacks it.
        self._write_number += 1
        self.positions.mark(self._write_number, time.monotonic())
        state.latency_probe.write(connection, self.id, self._write_number, dialect.epoch())
        self.latency = Latency(read - began, time.perf_counter() - read)
        self._last_measured = time.monotonic()
        return self.latency


def _lower(latency: Latency, other: Latency | None) -> Latency:
    """Returns the lower of both latencies: a baseline beside the chunks of another process is too high."""
    if other is None:
        return latency
    return Latency(min(latency.read, other.read), min(latency.write, other.write))
