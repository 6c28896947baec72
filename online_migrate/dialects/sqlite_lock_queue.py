"""The queue for the write lock of SQLite."""

from __future__ import annotations

from typing import ClassVar

from online_migrate.dialects.facets.lock_queue import LockQueues


class SQLiteLockQueues(LockQueues):
    """The driver waits for the lock of the file, for as long as its own timeout."""

    queue_is_limited: ClassVar[bool] = False
