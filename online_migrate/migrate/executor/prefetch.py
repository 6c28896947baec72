"""Reads the next chunk, and calls the user's function for its rows, while the previous chunk is written.

Invariants:

* A prefetched chunk is speculative. It is used only if the worker reaches exactly this position, and the
  statement that writes it skips every row that has changed since, as after any other read.
* The function is never called concurrently on behalf of one worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate.kinds.prepared import PreparedRows
from online_migrate.migrate.executor.background import BackgroundExecutor, Keepalive, noop
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.observe import events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PreparedChunk:
    """A chunk that is planned and read, and can be written."""

    plan: ChunkPlan
    prepared: PreparedRows | None
    seconds: float
    """Seconds for the read and the calls of the function."""


class PrefetchCancelled(Exception):
    """The prefetcher was closed during a read."""


class Prefetcher:
    """Prefetches one chunk, in a thread and on a connection of its own.

    *read*: plans and reads the first rows, up to the given size, of a key range, and calls its last argument
    periodically. *connect*: opens the connection when it is needed. For one worker, from its thread:
    :meth:`result`, then :meth:`submit`.
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
        """Chunks that were returned by :meth:`result` and put back unused."""
        self._closed = threading.Event()
        self._exit_stack = contextlib.ExitStack()
        self._connection: Connection | None = None

    def submit(self, key_range: KeyRange, size: int) -> None:
        """Starts the read of the first *size* rows of *key_range*, unless they are read or requested already.

        Waits for a running read of another range, and discards it.
        """
        if self._submitted == key_range or self._find_kept(key_range) is not None:
            return
        self._executor.result(noop)
        self._submitted = key_range
        self._executor.submit(lambda: self._fetch(key_range, size))

    def result(self, key_range: KeyRange, keepalive: Keepalive) -> PreparedChunk | None:
        """Returns the first rows of *key_range*. None: they were not requested, or the read failed.

        *keepalive*: called periodically while it waits.
        """
        kept = self._find_kept(key_range)
        if kept is not None:
            self._kept = [one for one in self._kept if one[1] is not kept]
            return kept
        answer = self._executor.result(keepalive)
        asked, self._submitted = self._submitted, None
        return answer if asked == key_range else None

    def put_back(self, key_range: KeyRange, ready: PreparedChunk) -> None:
        """Keeps a chunk that was taken and not written, so that the function is not called for it again."""
        self._kept.append((key_range, ready))

    def fetch(self, key_range: KeyRange, size: int, keepalive: Keepalive) -> None:
        """Waits until the first rows of *key_range* are read, or the read has failed.

        Starts the read of *size* rows if it was not requested. *keepalive*: called periodically while it
        waits.
        """
        if self._find_kept(key_range) is None:
            self.wait(keepalive)
            self.submit(key_range, size)
            self.wait(keepalive)

    def result_nowait(self, key_range: KeyRange) -> PreparedChunk | None:
        """Returns the first rows of *key_range* if they are read, else None; they stay for :meth:`result`.

        Does not wait.
        """
        if self._submitted == key_range:
            return self._executor.result_nowait()
        return self._find_kept(key_range)

    def _find_kept(self, key_range: KeyRange) -> PreparedChunk | None:
        return next((ready for kept, ready in self._kept if kept == key_range), None)

    def clear(self, keepalive: Keepalive) -> None:
        """Discards all prefetched chunks, which became stale while the worker was paused.

        *keepalive*: called periodically while it waits for a running read.
        """
        self._executor.result(keepalive)
        self._submitted = None
        self._kept.clear()

    def wait(self, keepalive: Keepalive) -> None:
        """Waits until no read is running; the result is kept for :meth:`result`."""
        self._executor.wait(keepalive)

    def close(self) -> None:
        """Ends the thread, after its current row."""
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
            events.emit(_log, events.PrefetchFailed(f"{error}"))
            # The next read gets a new connection, whatever the error was.
            self._connection = None
            self._exit_stack.close()
            raise

    def _raise_if_cancelled(self) -> None:
        if self._closed.is_set():
            raise PrefetchCancelled
