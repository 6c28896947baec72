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
from online_migrate.dialects.errors import AnyFault, set_isolation, words_of
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.server import Trail
from online_migrate.throttle.steering import Felt, Steered, Tolerance, at_rest, is_worse

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_log = logging.getLogger(__name__)
_LISTENING = "canary: listening how quick the server is without us"
_SWITCH = 0.001
"""Seconds after which a thread of Python lets another one in: five times as often as usual, because what
the canary waits for them is not what users feel."""
_AFTERMATH = 0.02
"""Seconds after a chunk for which what is felt may be its doing: the disk, and who had to wait for it. A few
times what a chunk takes; were it much more, there would be no rest that is not some chunk's aftermath."""


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """When it does what, in seconds."""

    grace: float = 0.5
    """Before it listens for the first time."""
    every: float = 0.2
    """Between two measurements."""
    listen: float = 1.0
    """How long it listens; nobody works meanwhile."""
    settle: float = 0.2
    """Before that, for chunks that are under way to end."""
    again: float = 120.0
    """Between two times that it listens."""
    stale: float = 10.0
    """Without a measurement after which it counts as "wait"."""


class Canary:
    """Feels, and steers *steering*, in a thread of its own while its ``with`` block lasts.

    *steering*: None if it is only to write, for replicas that are watched. *activity*: when we are at work;
    None: all the time.
    """

    def __init__(
        self,
        engine: Engine,
        steering: Steered | None,
        *,
        activity: Activity | None = None,
        tolerance: Tolerance | None = None,
        rhythm: Rhythm | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.trail = Trail()
        self.felt: Felt | None = None
        """The last measurement."""
        self.rest: Felt | None = None
        """What is usual while we stand still."""
        self._engine = engine
        self._steering = steering
        self._activity = activity
        self._tolerance = tolerance or Tolerance()
        self._rhythm = rhythm or Rhythm()
        self._listening = False
        self._beat = 0
        self._listen_at = float("-inf")
        self._last: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sing_on, name="online-migrate-canary", daemon=True)
        self._switch = sys.getswitchinterval()

    @property
    def beats(self) -> int:
        """How often it has written, or tried to."""
        return self._beat

    def __enter__(self) -> Canary:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join(timeout=5.0)

    def reason(self) -> str | None:
        """Why no chunk may be begun: it listens, or it has felt nothing for long."""
        if self._listening:
            return _LISTENING
        silence = None if self._last is None else time.monotonic() - self._last
        if silence is not None and silence > self._rhythm.stale:
            return f"canary: nothing felt for {silence:.0f} s"
        return None

    # --- its thread ------------------------------------------------------------------------------

    def _sing_on(self) -> None:
        if self._steering is not None and self._end.wait(self._rhythm.grace):
            return
        sys.setswitchinterval(_SWITCH)
        try:
            while not self._end.is_set():
                try:
                    with private_connection(self._engine) as own:
                        self._sing(own, dialect_of(own))
                except (*AnyFault, exceptions.Failed) as error:
                    # A lost connection makes it silent, which says "wait" by itself.
                    _log.info("the canary connects again: %s", words_of(error))
                self._listening = False
                self._end.wait(self._rhythm.every)
        finally:
            sys.setswitchinterval(self._switch)

    def _sing(self, connection: Connection, dialect: Dialect) -> None:
        set_isolation(connection, "AUTOCOMMIT")
        state.canary.settle(connection, self.id, dialect.epoch())
        self._feel(connection, dialect)
        while not self._end.is_set():
            # A new connection does not change what is usual at rest.
            if self._steering is not None and time.monotonic() >= self._listen_at:
                self._listen(connection, dialect)
                self._listen_at = time.monotonic() + self._rhythm.again
            began = time.monotonic()
            felt = self._feel(connection, dialect)
            if self._steering is not None and self.rest is not None:
                worse = is_worse(felt, self.rest, self._tolerance)
                self._steering.observe(worse=worse, ours=self._at_work_since(began - _AFTERMATH))
            self._end.wait(self._rhythm.every)
        state.canary.leave(connection, self.id)

    def _at_work_since(self, moment: float) -> bool:
        return self._activity is None or self._activity.since(moment)

    def _listen(self, connection: Connection, dialect: Dialect) -> None:
        """Learns what is usual at rest, unless another process that works would be felt."""
        others = state.canary.rest_of_others(connection, self.id, dialect.epoch())
        if others is not None:
            self.rest = Felt(*others) if self.rest is None else self.rest
        else:
            self._listening = True
            self._end.wait(self._rhythm.settle)
            samples = [self._feel(connection, dialect)]
            end = time.monotonic() + self._rhythm.listen
            while time.monotonic() < end and not self._end.is_set():
                samples.append(self._feel(connection, dialect))
                self._end.wait(self._rhythm.every / 5)
            self.rest = at_rest(samples)
            self._listening = False
        state.canary.note_rest(connection, self.id, self.rest.read, self.rest.write)

    def _feel(self, connection: Connection, dialect: Dialect) -> Felt:
        began = time.perf_counter()
        state.canary.last_beat(connection, self.id)
        read = time.perf_counter()
        # Marked before it is written: a replica that has it is never taken for one that has not.
        self._beat += 1
        self.trail.mark(self._beat, time.monotonic())
        state.canary.beat(connection, self.id, self._beat, dialect.epoch())
        self.felt = Felt(read - began, time.perf_counter() - read)
        self._last = time.monotonic()
        return self.felt
