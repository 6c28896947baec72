"""The results of an executor: a committed chunk, or the error of a chunk."""

from __future__ import annotations

import dataclasses

from online_migrate.migrate.worker.lease import RangeCandidate
from online_migrate.migrate.worker.planner import ChunkPlan


@dataclasses.dataclass(frozen=True)
class CommittedChunk:
    """A chunk that is committed."""

    plan: ChunkPlan
    done: int
    """Rows migrated."""
    failed: int = 0
    """Rows recorded as failed."""
    read_seconds: float = 0.0
    """Seconds for the read of its rows and the calls of the function."""
    hidden_seconds: float = 0.0
    """The part of *read_seconds* in which the previous chunk was written."""
    candidate: RangeCandidate | None = None
    """The next key range to acquire, if it was looked up during the last chunk."""


class ChunkError(Exception):
    """The error of a chunk, which is rolled back.

    *plan*: of the chunk; None: the planning failed. *hidden_seconds*: seconds for which its rows were read
    while the previous chunk was written.
    """

    def __init__(self, plan: ChunkPlan | None, error: BaseException, *, hidden_seconds: float = 0.0) -> None:
        super().__init__(plan, error)
        self.plan = plan
        self.error = error
        self.hidden_seconds = hidden_seconds

    @property
    def position(self) -> str:
        """The chunk, as the end of an error message; empty if it is not known."""
        return f" ({self.plan.chunk})" if self.plan is not None and self.plan.chunk is not None else ""
