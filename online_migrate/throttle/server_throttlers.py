"""Throttlers on the effects of the run on the servers.

Replication lag is measured with one clock, that of this process. For a replica that streams from a PostgreSQL
primary, the primary reports the WAL position that the replica has replayed, and the throttler has recorded
when the primary itself was at that position. On any other replica the throttler reads the last number of the
latency probe that was replicated, and the probe has recorded when it wrote that number.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Protocol

from online_migrate import state
from online_migrate.dialects import dialect_of
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class PositionHistory:
    """The times at which a growing position was recorded, to determine the age of a replica's position.

    *memory*: the number of positions that are kept. Thread-safe.
    """

    def __init__(self, memory: int = 20_000) -> None:
        self._marks: collections.deque[tuple[float, float]] = collections.deque(maxlen=memory)
        self._lock = threading.Lock()

    def mark(self, position: float, at: float) -> None:
        """Records that the primary is at *position* at the time *at*, in seconds."""
        with self._lock:
            if not self._marks or position > self._marks[-1][0]:
                self._marks.append((position, at))

    def age(self, position: float, now: float) -> float:
        """Returns the seconds since the primary left *position*; 0 if it is still there.

        *now*: in seconds of the same clock as for :meth:`mark`.
        """
        with self._lock:
            return next((now - at for there, at in self._marks if there > position), 0.0)


def _lag_reason(name: str, seconds: float, limit: float) -> str:
    return f"{name} is {seconds:.1f} s behind (limit: {limit:g} s)"


class StreamingLag:
    """Waits while a replica that streams from this PostgreSQL server is behind.

    *limit*: the maximum lag in seconds. *ignored*: application names of replicas that are delayed on purpose.
    """

    name = "lag"

    def __init__(self, limit: float, clock: Clock, ignored: Collection[str] = ()) -> None:
        self._limit = limit
        self._clock = clock
        self._ignored = frozenset(ignored)
        self._positions = PositionHistory()

    def sample(self, connection: Connection) -> str | None:
        here, replicas = dialect_of(connection).replication_positions(connection)
        now = self._clock.monotonic()
        self._positions.mark(here, now)
        for name, place in replicas.items():
            if name in self._ignored:
                continue
            if place is None:
                raise LookupError(
                    f"this user may not read the position of replica {name!r} "
                    "(GRANT pg_monitor TO ...; --max-lag 0 ignores replicas)"
                )
            behind = self._positions.age(place, now)
            if behind > self._limit:
                return _lag_reason(name, behind, self._limit)
        return None


class ReplicationMarker(Protocol):
    """A row that is written periodically with growing numbers."""

    id: str
    positions: PositionHistory


class ReplicaLag:
    """Waits while the numbers of *marker* arrive late on a replica, to which this throttler is connected.

    *replica*: the name of the replica. *limit*: the maximum lag in seconds.
    """

    def __init__(self, replica: str, limit: float, clock: Clock, marker: ReplicationMarker) -> None:
        self.name = "lag"
        self._replica = replica
        self._limit = limit
        self._clock = clock
        self._marker = marker

    def sample(self, connection: Connection) -> str | None:
        beat = state.latency_probe.read(connection, self._marker.id)
        behind = self._marker.positions.age(-math.inf if beat is None else beat, self._clock.monotonic())
        return _lag_reason(self._replica, behind, self._limit) if behind > self._limit else None


class RateOfChange:
    """The rate of change of a counter."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def per_second(self, value: float, now: float) -> float:
        """Returns the growth per second since the last call; 0 at the first call, and after a reset.

        *now*: in seconds.
        """
        last, self._last = self._last, (value, now)
        if last is None or now <= last[1]:
            return 0.0
        return max(0.0, (value - last[0]) / (now - last[1]))


class FlowControl:
    """Waits while flow control pauses the writers of a Galera cluster because a node cannot keep up.

    *limit*: the maximum share of the time since the last sample in which writers were paused.
    """

    name = "flow-control"

    def __init__(self, clock: Clock, limit: float = 0.05) -> None:
        self._clock = clock
        self._limit = limit
        self._rate = RateOfChange()

    def sample(self, connection: Connection) -> str | None:
        held_back = dialect_of(connection).flow_control(connection) or 0.0
        share = self._rate.per_second(held_back, self._clock.monotonic())
        if share <= self._limit:
            return None
        return f"Galera flow control paused writes for {min(share, 1.0):.0%} of the time"


class WorkerSessions:
    """The sessions of the workers, by the server's session number. Thread-safe."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        """Adds the session of a worker that starts."""
        with self._lock:
            self._numbers.add(number)

    def remove(self, number: int) -> None:
        """Removes the session of a worker that ended."""
        with self._lock:
            self._numbers.discard(number)

    @contextlib.contextmanager
    def including(self, connection: Connection) -> Iterator[None]:
        """Adds the session of *connection*, which is in no transaction, while the block lasts."""
        number = dialect_of(connection).session_id(connection)
        connection.rollback()
        self.add(number)
        try:
            yield
        finally:
            self.remove(number)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all sessions, sorted."""
        with self._lock:
            return sorted(self._numbers)


class LockWaiters:
    """Waits while other sessions wait for locks of the workers."""

    name = "blocked"

    def __init__(self, sessions: WorkerSessions) -> None:
        self._sessions = sessions

    def sample(self, connection: Connection) -> str | None:
        blocked = dialect_of(connection).blocked_by(connection, self._sessions.numbers)
        return f"{blocked} other session(s) wait for locks of the workers" if blocked else None


_HISTORY = "history_list_length"


class HistoryLength:
    """Waits while InnoDB's history list is too long.

    It grows while a long transaction prevents the purge of old row versions. *limit*: the maximum length.
    """

    name = "history"

    def __init__(self, limit: float) -> None:
        self._limit = limit

    def sample(self, connection: Connection) -> str | None:
        found = dialect_of(connection).load(connection, [_HISTORY])
        length = found.get(_HISTORY, 0.0)
        if length <= self._limit:
            return None
        return (
            f"the InnoDB history list has {length:,.0f} transactions, kept by a long transaction "
            f"(limit: {self._limit:,.0f})"
        )
