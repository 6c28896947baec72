"""The chunks in which a connection was lost; the next worker of such a chunk decides how to handle it."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from online_migrate.migrate.worker.bisection import FailureBisector
    from online_migrate.migrate.worker.lease import KeyRange
    from online_migrate.migrate.worker.planner import ChunkPlan
    from online_migrate.walk.key import Key


@dataclasses.dataclass(frozen=True)
class LostChunk:
    """The first chunk of a key range, in which a connection was lost."""

    lower: Key | None
    plan: ChunkPlan | None
    bisection: FailureBisector[Key]
    error: BaseException
    losses: int
    """The number of lost connections in a row at this chunk."""


class LostChunks:
    """The lost chunks of one run in this process, one for each key range. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: dict[int, LostChunk] = {}

    def record(
        self,
        key_range: KeyRange,
        plan: ChunkPlan | None,
        bisection: FailureBisector[Key],
        error: BaseException,
    ) -> None:
        """Records that a connection was lost in the first chunk of *key_range*."""
        with self._lock:
            before = self._chunks.get(key_range.number)
            losses = 1 + (before.losses if before is not None and before.lower == key_range.lower else 0)
            self._chunks[key_range.number] = LostChunk(key_range.lower, plan, bisection, error, losses)

    def find(self, key_range: KeyRange) -> LostChunk | None:
        """Returns the record of the first chunk of *key_range*; None once that chunk is committed."""
        with self._lock:
            found = self._chunks.get(key_range.number)
            if found is not None and found.lower != key_range.lower:
                del self._chunks[key_range.number]
                return None
            return found
