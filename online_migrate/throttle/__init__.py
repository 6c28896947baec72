"""What says "wait", and how much of the server's time is taken while nothing says it.

signals   the throttlers that anybody can ask for: a file, a query, a function, a counter of the server
server    those that look at what we do to the server: replication lag, flow control, locks, history
monitor   who looks, beside the work and over and over
canary    what users feel: a tiny read and a tiny write of our own, timed
activity  whether we are at work meanwhile
steering  from what is felt to a share of time (pure)
parse     from what an operator writes to throttlers
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
    """Who is asked before every chunk, and how long to rest after it; by itself: nobody, and not at all."""

    throttle: Throttle = dataclasses.field(default_factory=NoThrottle)
    duty_cycle: DutyCycle = dataclasses.field(default_factory=FixedDutyCycle)
    sessions: WorkerSessions = dataclasses.field(default_factory=WorkerSessions)
    """The sessions of our workers, which they write down here."""
    latency_probe: LatencyProbe | None = None
    activity: Activity = dataclasses.field(default_factory=Activity)
    """Where our workers work."""

    @property
    def commit_seconds(self) -> float:
        """Seconds that a committed tiny write takes while nobody works; 0 as long as nobody knows."""
        rest = None if self.latency_probe is None else self.latency_probe.baseline
        return 0.0 if rest is None else rest.write
