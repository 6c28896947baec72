"""The collaborators of one worker that process its chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.executor.prefetch import Prefetcher
from online_migrate.migrate.executor.reader import ChunkReader
from online_migrate.migrate.worker.bisection import FailureBisector
from online_migrate.migrate.worker.chunk_timer import ChunkTimer
from online_migrate.migrate.worker.lease import LeaseManager
from online_migrate.migrate.worker.planner import Planner
from online_migrate.migrate.worker.session import TransactionRunner
from online_migrate.walk.key import Key


@dataclasses.dataclass(frozen=True)
class ChunkTools:
    """The collaborators of one worker, created once."""

    migration: BoundMigration
    transactions: TransactionRunner
    """The transactions on the worker's connection."""
    leases: LeaseManager
    bisector: FailureBisector[Key]
    planner: Planner
    timer: ChunkTimer
    reader: ChunkReader
    prefetcher: Prefetcher
    keepalive: Callable[[], None]
    """Called periodically while the worker waits without an open transaction."""
