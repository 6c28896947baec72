"""How long a chunk takes, and which part of the time a worker works. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from online_migrate.walk.chunk_size import ChunkSize, SizeLimits


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a chunk takes, and which part of the time is worked."""

    chunk_time: float = 0.1
    """Seconds that a chunk should take, besides what a commit takes at rest."""
    share: float = 1.0
    """Of the time, what a worker works at the most: above 0, at most 1."""
    adaptive: bool = False
    """Less than *share*, when users feel it."""
    batch_size: int | None = None
    """Rows in every chunk, whatever time it takes."""
    first: int = 500
    """Rows in the first chunk, of which nothing is known yet."""

    @classmethod
    def named(
        cls,
        name: str,
        *,
        chunk_time: float | None = None,
        sleep_ratio: float | None = None,
        batch_size: int | None = None,
    ) -> Pace:
        """One of :data:`PACES`, with overrides. *sleep_ratio*: seconds of sleep for each second of work."""
        usual = PACES[name]
        return dataclasses.replace(
            usual,
            chunk_time=chunk_time or usual.chunk_time,
            share=usual.share if sleep_ratio is None else 1 / (1 + sleep_ratio),
            batch_size=batch_size,
        )

    def controller(self, largest: int) -> ChunkSize:
        """What follows the times of one worker's chunks, up to *largest* rows."""
        if self.batch_size is not None:
            fixed = SizeLimits(self.chunk_time, smallest=self.batch_size, largest=self.batch_size)
            return ChunkSize(fixed, self.batch_size)
        return ChunkSize(SizeLimits(self.chunk_time, largest=largest), min(self.first, largest))


PACES: Mapping[str, Pace] = {
    "gentle": Pace(0.007, share=0.25, adaptive=True),
    # Measured: what users feel depends on how long a chunk is, and hardly on how long we rest after it.
    "default": Pace(0.007, share=1.0, adaptive=True),
    "full": Pace(0.5),
}
