"""Events that change the course of a run: something was retried, reconnected, skipped or taken over.

The docstring of a class is the message template of its events, and its fields fill the template. An event
is logged with :func:`emit`; ``--log-format json`` shows its name and its fields.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import Any, ClassVar

ATTRIBUTE = "online_migrate_event"
"""The attribute of a log record that holds the event."""


class Event:
    """The base class of all events; subclasses are frozen dataclasses."""

    level: ClassVar[int] = logging.INFO
    template: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        # Python removes docstrings with -OO; a dataclass without one gets its signature instead.
        cls.template = " ".join((cls.__doc__ or "").split())

    @property
    def name(self) -> str:
        """The name of the event in a JSON log: the name of its class, in lower case with underscores."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the event, by name."""
        return dict(vars(self))

    def __str__(self) -> str:
        return self.template.format_map(vars(self)) or f"{self.name}: {self.fields}"


def emit(logger: logging.Logger, event: Event) -> None:
    """Logs *event* at its level."""
    if logger.isEnabledFor(event.level):
        logger.log(event.level, "%s", event, extra={ATTRIBUTE: event})


# --- connections and transactions ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TransactionRetried(Event):
    """retrying the transaction in {seconds:.2f} s: {error}"""

    seconds: float
    error: str


@dataclasses.dataclass(frozen=True)
class RollbackFailed(Event):
    """a failed transaction could not be rolled back: {error}"""

    error: str


@dataclasses.dataclass(frozen=True)
class Reconnecting(Event):
    """{what}: the connection was lost; reconnecting in {seconds:.1f} s: {error}"""

    what: str
    """A data migration, or the start or the end of one."""
    seconds: float
    error: str


@dataclasses.dataclass(frozen=True)
class BackgroundReconnecting(Event):
    """{thread}: {error}; reconnecting in {seconds:g} s"""

    level = logging.WARNING

    thread: str
    seconds: float
    error: str


@dataclasses.dataclass(frozen=True)
class BackgroundNotStopped(Event):
    """{thread}: the thread has not stopped within {seconds:g} s"""

    level = logging.WARNING

    thread: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class HeartbeatSkipped(Event):
    """heartbeat: skipped: {error}"""

    error: str


# --- key ranges and chunks -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RangeTakenOver(Event):
    """{migration}: key range {number} of worker {dead_worker} is taken over: {reason}"""

    migration: str
    number: int
    dead_worker: str
    reason: str


@dataclasses.dataclass(frozen=True)
class LeaseTakenAway(Event):
    """{migration}: the key range of worker {worker} was taken over by another worker; its last chunk is
    rolled back, and it continues with another range"""

    level = logging.WARNING

    migration: str
    worker: str


@dataclasses.dataclass(frozen=True)
class ChunkBisected(Event):
    """{migration}: a chunk of {rows} rows failed; retrying with fewer rows: {error}"""

    migration: str
    rows: int
    error: str


@dataclasses.dataclass(frozen=True)
class RowFailed(Event):
    """{migration}: the row {key} is recorded as failed: {error}"""

    migration: str
    key: str
    error: str


@dataclasses.dataclass(frozen=True)
class PlannedByKey(Event):
    """{migration}: pending cannot be evaluated, planning by key: {error}"""

    migration: str
    error: str


@dataclasses.dataclass(frozen=True)
class SweptBlindly(Event):
    """{migration}: pending cannot be evaluated, sweeping all rows: {error}"""

    migration: str
    error: str


@dataclasses.dataclass(frozen=True)
class ChunkShortened(Event):
    """{migration}: the connection was lost {losses} time(s) at {key_range}; continuing with {rows} row(s)"""

    migration: str
    losses: int
    key_range: str
    rows: int


@dataclasses.dataclass(frozen=True)
class PrefetchFailed(Event):
    """prefetch of a chunk failed: {error}"""

    error: str


@dataclasses.dataclass(frozen=True)
class PipelineRolledBack(Event):
    """{migration}: both chunks are rolled back: {error}"""

    migration: str
    error: str


@dataclasses.dataclass(frozen=True)
class FailuresNotCounted(Event):
    """{migration}: {error}"""

    migration: str
    error: str


# --- throttling ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ThrottlerUnreadable(Event):
    """throttler {throttler}: {error}; {effect}"""

    level = logging.WARNING

    throttler: str
    error: str
    effect: str
    """``paused`` or ``ignored``."""


@dataclasses.dataclass(frozen=True)
class ThrottlerPaused(Event):
    """throttler {throttler}: paused: {reason}"""

    throttler: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ThrottlerContinued(Event):
    """throttler {throttler}: continuing"""

    throttler: str


@dataclasses.dataclass(frozen=True)
class BaselineMeasured(Event):
    """latency probe: baseline {read_ms:.1f} / {write_ms:.1f} ms"""

    level = logging.DEBUG

    read_ms: float
    write_ms: float


@dataclasses.dataclass(frozen=True)
class BaselineSkipped(Event):
    """latency probe: the old baseline is kept, because a chunk or a count ran for more than {seconds:g} s"""

    level = logging.INFO

    seconds: float


# --- schema --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ForeignKeysUnchecked(Event):
    """foreign keys of table {table!r} cannot be checked: {error}"""

    level = logging.WARNING

    table: str
    error: str


@dataclasses.dataclass(frozen=True)
class LockWaited(Event):
    """{revision}: waiting outside of the lock queue, for {seconds:.0f} s so far: {holders}"""

    revision: str
    seconds: float
    holders: str


@dataclasses.dataclass(frozen=True)
class StatementWaited(Event):
    """{revision}: {statement} runs, and has waited for {seconds:.0f} s: {holders}"""

    revision: str
    statement: str
    seconds: float
    holders: str


@dataclasses.dataclass(frozen=True)
class LockTimedOut(Event):
    """{revision}: no lock after {waited:g} s in the queue: {holders}; next try in {pause:.1f} s"""

    revision: str
    waited: float
    pause: float
    holders: str


@dataclasses.dataclass(frozen=True)
class BlockerEnded(Event):
    """{revision}: ended a session that had held its lock for {seconds:.0f} s: {holder}"""

    level = logging.WARNING

    revision: str
    seconds: float
    holder: str


@dataclasses.dataclass(frozen=True)
class BlockerSpared(Event):
    """{revision}: not ended, because {reason}: {holder}"""

    level = logging.WARNING

    revision: str
    holder: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ToolSaid(Event):
    """{tool}: {line}"""

    tool: str
    """The tool that copies a table."""
    line: str
    """A line of its output."""


@dataclasses.dataclass(frozen=True)
class QueueWatchFailed(Event):
    """lock queue: a statement is not watched: {error}"""

    level = logging.WARNING

    error: str


# --- services ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ServiceRegistered(Event):
    """{service}: registered as {id} on {where}"""

    service: str
    id: str
    where: str


@dataclasses.dataclass(frozen=True)
class ServiceCodeRefused(Event):
    """{service}: {reason} {hint}"""

    level = logging.ERROR

    service: str
    reason: str
    hint: str


@dataclasses.dataclass(frozen=True)
class ServiceForgotten(Event):
    """{service}: its row {id} was deleted while it runs; registering again"""

    level = logging.WARNING

    service: str
    id: str


@dataclasses.dataclass(frozen=True)
class ServiceIdentityShared(Event):
    """{service}: another process reports as {id}; registering under a new id"""

    level = logging.WARNING

    service: str
    id: str


@dataclasses.dataclass(frozen=True)
class ServiceForcedDown(Event):
    """{service}: was forced down while it runs, and counts as live: {by}"""

    level = logging.WARNING

    service: str
    by: str


@dataclasses.dataclass(frozen=True)
class PinChanged(Event):
    """{pinned}: pinned to {pin} now, {before} before"""

    pinned: str
    before: str
    pin: str


@dataclasses.dataclass(frozen=True)
class PinNotRead(Event):
    """{pinned}: the registry cannot be read, so the pin stays {pin}: {error}"""

    level = logging.WARNING

    pinned: str
    pin: str
    error: str


@dataclasses.dataclass(frozen=True)
class ServiceStopNotRecorded(Event):
    """{service}: its clean stop could not be recorded, so it counts as stale later: {error}"""

    level = logging.WARNING

    service: str
    error: str
