"""Reads the next chunk, and calls the user's function for its rows, while the one before is written.

Invariants:

* What is read ahead is only a guess. It is used if the worker comes to just that place, and the statement
  that writes it leaves alone every row that has changed since, as after any other reading.
* The function is never called twice at the same time on behalf of one worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate.kinds.execution import PreparedRows
from online_migrate.migrate.executor.background import BackgroundExecutor, Keepalive, noop
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PreparedChunk:
    """A chunk that can be written."""

    plan: ChunkPlan
    prepared: PreparedRows | None
    seconds: float
    """What reading it, and calling the function, took."""


class PrefetchCancelled(Exception):
    """Nobody wants to know any more."""


class Prefetcher:
    """Keeps one chunk ready, by a thread and a connection of its own.

    *read*: gives the next *size* rows of an extent, and calls its last argument now and then. *connect*:
    opens a connection, when one is needed. For one worker, from his thread: :meth:`take`, then :meth:`ask`.
    """

    def __init__(
        self,
        read: Callable[[Connection, KeyRange, int, Keepalive], PreparedChunk],
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
    ) -> None:
        self._read = read
        self._connect = connect
        self._executor: BackgroundExecutor[PreparedChunk] = BackgroundExecutor()
        self._submitted: KeyRange | None = None
        self._kept: list[tuple[KeyRange, PreparedChunk]] = []
        """What was taken and not used."""
        self._closed = threading.Event()
        self._exit_stack = contextlib.ExitStack()
        self._connection: Connection | None = None

    def submit(self, key_range: KeyRange, size: int) -> None:
        """Has the first *size* rows of *extent* read, unless they are here; waits for nothing else."""
        if self._submitted == key_range or self._find_kept(key_range) is not None:
            return
        self._executor.result(noop)
        self._submitted = key_range
        self._executor.submit(lambda: self._fetch(key_range, size))

    def result(self, key_range: KeyRange, keepalive: Keepalive) -> PreparedChunk | None:
        """The first rows of *extent*. None: that was not asked for, or could not be read.

        *beat*: called now and then while it waits.
        """
        kept = self._find_kept(key_range)
        if kept is not None:
            self._kept = [one for one in self._kept if one[1] is not kept]
            return kept
        answer = self._executor.result(keepalive)
        asked, self._submitted = self._submitted, None
        return answer if asked == key_range else None

    def put_back(self, key_range: KeyRange, ready: PreparedChunk) -> None:
        """It was taken and not written: who comes to that place again need not call the function again."""
        self._kept.append((key_range, ready))

    def fetch(self, key_range: KeyRange, size: int, keepalive: Keepalive) -> None:
        """Waits until its first rows are read, or could not be; has them read, if nobody asked for them."""
        if self._find_kept(key_range) is None:
            self.wait(keepalive)
            self.submit(key_range, size)
            self.wait(keepalive)

    def result_nowait(self, key_range: KeyRange) -> PreparedChunk | None:
        """The first rows of *extent* if they are there; they stay for :meth:`take`. Waits for nothing."""
        if self._submitted == key_range:
            return self._executor.result_nowait()
        return self._find_kept(key_range)

    def _find_kept(self, key_range: KeyRange) -> PreparedChunk | None:
        return next((ready for kept, ready in self._kept if kept == key_range), None)

    def clear(self, keepalive: Keepalive) -> None:
        """Nothing of it is wanted any more: while nobody worked, it has grown old."""
        self._executor.result(keepalive)
        self._submitted = None
        self._kept.clear()

    def wait(self, keepalive: Keepalive) -> None:
        """Waits until nothing is being read; what was is kept for :meth:`take`."""
        self._executor.wait(keepalive)

    def close(self) -> None:
        """Ends the thread, after the row that it is at."""
        self._closed.set()
        self._executor.close()
        self._exit_stack.close()

    # --- in the thread ---------------------------------------------------------------------------

    def _fetch(self, key_range: KeyRange, size: int) -> PreparedChunk:
        try:
            if self._connection is None:
                self._connection = self._exit_stack.enter_context(self._connect())
            return self._read(self._connection, key_range, size, self._raise_if_cancelled)
        except Exception as error:
            _log.info("prefetch of a chunk failed: %s", error)
            # Whatever it was, the next one has a connection that nothing has happened to.
            self._connection = None
            self._exit_stack.close()
            raise

    def _raise_if_cancelled(self) -> None:
        if self._closed.is_set():
            raise PrefetchCancelled
