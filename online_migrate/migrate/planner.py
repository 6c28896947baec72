"""What the next chunk of an extent is. Reads keys, locks nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.migrate.claims import Extent, moved_on
from online_migrate.migrate.crew import Crew
from online_migrate.migrate.isolation import Isolation
from online_migrate.migrate.job import Job
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunker import Chunk, Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the next chunk is going to be."""

    upper: Key
    chunk: Chunk | None
    """None: there is no pending row up to *upper*."""
    rows: int | None
    """How many rows are examined, if the whole size of a chunk is."""


class Planner:
    """Plans the chunks of one worker."""

    def __init__(self, crew: Crew, job: Job, isolation: Isolation[Key]) -> None:
        self._crew = crew
        self._job = job
        self._isolation = isolation
        self.blind = False
        """``pending`` fails for a row: keys are read without it, until that row stands alone."""

    def by_name(self, extent: Extent) -> bool:
        """The rows are named one by one, because no other may be touched, instead of a range of keys."""
        return extent.sweep or self._crew.place.budget.limited or self._isolation.active or self.blind

    def plan(self, connection: Connection, extent: Extent, size: int) -> Plan:
        """The next *size* rows of the extent, or those up to its end."""
        how = self._named if self.by_name(extent) else self._range
        return how(connection, extent, size)

    def _range(self, connection: Connection, extent: Extent, size: int) -> Plan:
        chunker = self._job.chunker
        found = chunker.end_of(connection, extent.lower, extent.upper, size)
        upper = extent.upper if found is None else found
        if found is not None:
            moved_on(self._job.name, chunker, extent.lower, upper)
        chunk = chunker.chunk(extent.lower, upper, pending=self._job.pending)
        return Plan(upper, chunk, None if found is None else size)

    def _named(self, connection: Connection, extent: Extent, size: int) -> Plan:
        """By name where no row more may be touched: one that is inserted just now would be too many."""
        chunker, job = self._job.chunker, self._job
        end = self._isolation.end if self._isolation.active else extent.upper
        assert end is not None
        only_pending = (extent.sweep or self._isolation.active) and not self.blind
        condition = chunker.up_to(end)
        if only_pending and job.pending is not None:
            condition = condition & job.pending
        keys = chunker.next_keys(
            connection, extent.lower, size, condition, sparse=extent.sweep and not self.blind
        )
        upper = keys[-1] if len(keys) == size else end
        if keys and len(keys) == size:
            moved_on(job.name, chunker, extent.lower, upper)
        excluding = self._failed_already(connection, keys) if extent.sweep else []
        if len(excluding) == len(keys):
            return Plan(upper, None, None)
        only = keys if self._crew.place.budget.limited else None
        chunk = chunker.chunk(
            extent.lower, upper, pending=job.pending, excluding=excluding, only=only, sparse=extent.sweep
        )
        return Plan(upper, chunk, len(keys) if len(keys) == size else None)

    def _failed_already(self, connection: Connection, keys: Sequence[Key]) -> list[Key]:
        """Those that failed in this run: they are not tried again in it."""
        rows = state.failed_keys(connection, self._job.name, run=self._crew.run)
        failed = {key for key, _error, _run in rows}
        return [key for key in keys if encode_key(key) in failed]
