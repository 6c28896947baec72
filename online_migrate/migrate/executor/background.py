"""One thing at a time, done in a thread beside the worker's own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Keepalive = Callable[[], None]
"""Called now and then by whoever waits: it shows that somebody is there."""
_KEEPALIVE_INTERVAL = 0.5
"""Seconds after which a worker that waits shows that it is alive."""


class BackgroundExecutor(Generic[T]):
    """A thread, begun when it is needed, that does one thing after another. For one worker to ask."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """Why what was settled last failed."""
        self._tasks: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._busy = False
        self._result: T | None = None
        self._thread: threading.Thread | None = None

    @property
    def done(self) -> bool:
        """True if nothing is being done at this moment."""
        return not self._busy or not self._results.empty()

    def submit(self, work: Callable[[], T]) -> None:
        """Has *work* done, and waits for nothing. What was done before must be settled."""
        if self._thread is None:
            name = f"{threading.current_thread().name}-ahead"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._thread = thread
        self._busy = True
        self._tasks.put(work)

    def wait(self, keepalive: Keepalive) -> None:
        """Waits until nothing is being done; what came of it is kept for :meth:`take`."""
        while self._busy:
            with contextlib.suppress(queue.Empty):
                self._result, self.error = self._results.get(timeout=_KEEPALIVE_INTERVAL)
                self._busy = False
                return
            keepalive()

    def result(self, keepalive: Keepalive) -> T | None:
        """What came of it, once. None: nothing was to be done, or it failed."""
        self.wait(keepalive)
        answer, self._result = self._result, None
        return answer

    def result_nowait(self) -> T | None:
        """What came of it, if it is over; it stays for :meth:`take`. Waits for nothing."""
        if self.done:
            self.wait(noop)
            return self._result
        return None

    def close(self) -> None:
        """Ends the thread, after what it is at."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()
            self._thread = None

    # --- its thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._tasks.get()) is not None:
            try:
                self._results.put((work(), None))
            except BaseException as error:  # noqa: BLE001 - whoever waits for an answer decides what it means
                self._results.put((None, error))


def noop() -> None:
    """Nobody is kept waiting."""
