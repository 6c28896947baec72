"""Throttlers, which pause a run, and the duty cycle, which limits its share of time between pauses.

throttlers         throttlers that the operator can configure: a file, a query, a function, a server counter
server_throttlers  throttlers on the effects of the run: replication lag, flow control, lock waiters, history
monitor            samples the throttlers periodically, in the background
latency_probe      the latency that users see: a small read and a small write, timed
activity           whether chunks run at the time of a measurement
duty_cycle         from the measured latency to the length of chunks and a share of time (pure)
factory            makes throttlers from the settings of the operator
opening            opens all of them together for one run
"""

from __future__ import annotations

import dataclasses

from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import DutyCycle, FixedDutyCycle
from online_migrate.throttle.latency_probe import LatencyProbe
from online_migrate.throttle.server_throttlers import WorkerSessions
from online_migrate.throttle.throttlers import NoThrottle, Throttle


@dataclasses.dataclass(frozen=True)
class Throttling:
    """The throttle to ask before every chunk, and the pause after it. The default has neither."""

    throttle: Throttle = dataclasses.field(default_factory=NoThrottle)
    duty_cycle: DutyCycle = dataclasses.field(default_factory=FixedDutyCycle)
    sessions: WorkerSessions = dataclasses.field(default_factory=WorkerSessions)
    """The sessions of the workers; each worker adds and removes its own."""
    latency_probe: LatencyProbe | None = None
    activity: Activity = dataclasses.field(default_factory=Activity)
    """Records when the workers run chunks."""

    @property
    def commit_seconds(self) -> float:
        """Seconds that a small committed write takes while no chunk runs; 0 as long as it is not measured."""
        rest = None if self.latency_probe is None else self.latency_probe.baseline
        return 0.0 if rest is None else rest.write
