"""Plans the next chunk of a key range. Reads keys, locks nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.worker.bisection import FailureBisector
from online_migrate.migrate.worker.lease import KeyRange, checked_key
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.key import Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class ChunkPlan:
    """The plan of the next chunk."""

    upper: Key
    chunk: Chunk | None
    """None: there is no pending row up to *upper*."""
    rows: int | None
    """The number of rows in the range of the chunk, if it has the full chunk size; else None."""


class Planner:
    """Plans the chunks of one worker.

    *limited*: the number of rows of the run is limited. *run*: the id of the run.
    """

    def __init__(
        self, bound: BoundMigration, bisector: FailureBisector[Key], *, limited: bool, run: str
    ) -> None:
        self._migration = bound
        self._limited = limited
        self._run = run
        self._bisector = bisector
        self.blind = False
        """True after ``pending`` failed for a row: keys are read without it, until that row is isolated."""

    def uses_key_list(self, key_range: KeyRange) -> bool:
        """Returns True if the next chunk is planned by a list of keys instead of a range of keys.

        A list of keys is used where the chunk must not include any other row.
        """
        return key_range.sweep or self._limited or self._bisector.active or self.blind

    def plan(self, connection: Connection, key_range: KeyRange, size: int) -> ChunkPlan:
        """Plans the next *size* rows of *key_range*, or the rows up to its end."""
        how = self._by_keys if self.uses_key_list(key_range) else self._by_range
        return how(connection, key_range, size)

    def _by_range(self, connection: Connection, key_range: KeyRange, size: int) -> ChunkPlan:
        chunker = self._migration.chunker
        found = chunker.end_of(connection, key_range.lower, key_range.upper, size)
        upper = key_range.upper if found is None else found
        if found is not None:
            checked_key(self._migration.name, chunker, key_range.lower, upper)
        chunk = chunker.chunk(key_range.lower, upper, pending=self._migration.pending)
        return ChunkPlan(upper, chunk, None if found is None else size)

    def _by_keys(self, connection: Connection, key_range: KeyRange, size: int) -> ChunkPlan:
        """Plans by a list of keys, so that the chunk includes no other row, such as a newly inserted one."""
        chunker, bound = self._migration.chunker, self._migration
        end = self._bisector.end if self._bisector.active else key_range.upper
        assert end is not None
        only_pending = (key_range.sweep or self._bisector.active) and not self.blind
        condition = chunker.up_to(end)
        if only_pending and bound.pending is not None:
            condition = condition & bound.pending
        keys = chunker.next_keys(
            connection, key_range.lower, size, condition, sparse=key_range.sweep and not self.blind
        )
        upper = keys[-1] if len(keys) == size else end
        if keys and len(keys) == size:
            checked_key(bound.name, chunker, key_range.lower, upper)
        excluding = self._failed_in_this_run(connection, keys) if key_range.sweep else []
        if len(excluding) == len(keys):
            return ChunkPlan(upper, None, None)
        only = keys if self._limited else None
        chunk = chunker.chunk(
            key_range.lower,
            upper,
            pending=bound.pending,
            excluding=excluding,
            only=only,
            sparse=key_range.sweep,
        )
        return ChunkPlan(upper, chunk, len(keys) if len(keys) == size else None)

    def _failed_in_this_run(self, connection: Connection, keys: Sequence[Key]) -> list[Key]:
        """Returns the keys that failed in this run; they are not tried again in it."""
        rows = state.failed_keys(connection, self._migration.name, run=self._run)
        failed = {key for key, _error, _run in rows}
        return [key for key in keys if encode_key(key) in failed]
