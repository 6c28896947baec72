"""The target time of a chunk and the duty cycle of a worker. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from online_migrate.walk.chunk_size import ChunkSize, SizeLimits

MAX_SLEEP = 1.0
"""The maximum sleep, in seconds, of a worker after a chunk: on SQLite no command of an operator is read
meanwhile."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """The target time of a chunk and the duty cycle of a worker."""

    chunk_time: float = 0.1
    """Target time of a chunk in seconds, in addition to the baseline latency of a commit."""
    longest_chunk_time: float | None = None
    """The target time of a chunk, in seconds, while the latency of the application's statements allows it;
    None: always *chunk_time*."""
    share: float = 1.0
    """The maximum duty cycle: the fraction of the time in which a worker works. Above 0, at most 1."""
    adaptive: bool = False
    """When the latency of the application's statements rises, chunks become as short as *chunk_time*, and
    then the duty cycle falls below *share*."""
    batch_size: int | None = None
    """A fixed number of rows in every chunk, whatever time it takes; None: the size is adapted."""
    first: int = 500
    """Rows in the first chunk, for which no measurement exists yet."""

    @property
    def shortest(self) -> float:
        """The shortest target time of a chunk, as a part of the longest one."""
        return self.chunk_time / (self.longest_chunk_time or self.chunk_time)

    @classmethod
    def named(
        cls,
        name: str,
        *,
        chunk_time: float | None = None,
        sleep_ratio: float | None = None,
        batch_size: int | None = None,
    ) -> Pace:
        """Returns one of :data:`PACES`, with overrides.

        *name*: a key of :data:`PACES`; raises ``KeyError`` for any other. *chunk_time*: in seconds.
        *sleep_ratio*: seconds of sleep for each second of work. *batch_size*: rows in every chunk.
        """
        usual = PACES[name]
        return dataclasses.replace(
            usual,
            chunk_time=chunk_time or usual.chunk_time,
            # Chunks of a fixed size cannot become shorter: worse latency reduces the duty cycle at once.
            longest_chunk_time=None if chunk_time or batch_size else usual.longest_chunk_time,
            share=usual.share if sleep_ratio is None else 1 / (1 + sleep_ratio),
            batch_size=batch_size,
        )

    def controller(self, largest: int) -> ChunkSize:
        """Returns the chunk size controller of one worker, for chunks of up to *largest* rows."""
        if self.batch_size is not None:
            fixed = SizeLimits(self.chunk_time, smallest=self.batch_size, largest=self.batch_size)
            return ChunkSize(fixed, self.batch_size)
        limits = SizeLimits(
            self.chunk_time,
            smallest=min(SizeLimits.smallest, largest),
            largest=largest,
            longest_target=self.longest_chunk_time,
        )
        return ChunkSize(limits, min(self.first, largest))


PACES: Mapping[str, Pace] = {
    "gentle": Pace(0.007, share=0.25, adaptive=True),
    # Measured (benchmarks/): the latency of the application depends on the duration of a chunk, and hardly on
    # the sleep after it.
    "default": Pace(0.012, longest_chunk_time=0.05, share=1.0, adaptive=True),
    # Measured: chunks of 0.5 s are not faster, and a session waits for the rows of two of them.
    "full": Pace(0.1),
}
