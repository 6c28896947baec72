"""Executes one task at a time in a background thread of a worker."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Keepalive = Callable[[], None]
"""Called periodically while the worker's thread waits; prevents an idle timeout of its sessions."""
_KEEPALIVE_INTERVAL = 0.5
"""Seconds between two keepalive calls while the worker waits for the background thread."""


class BackgroundExecutor(Generic[T]):
    """A background thread that executes one task after another. Not thread-safe: one thread submits.

    The thread is started with the first task.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """The error of the last task that was waited for; None if it succeeded."""
        self._tasks: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._busy = False
        self._result: T | None = None
        self._thread: threading.Thread | None = None

    @property
    def done(self) -> bool:
        """True if no task is running."""
        return not self._busy or not self._results.empty()

    def submit(self, work: Callable[[], T]) -> None:
        """Starts *work* in the thread and returns at once. The previous task must have been waited for."""
        if self._thread is None:
            name = f"{threading.current_thread().name}-ahead"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._thread = thread
        self._busy = True
        self._tasks.put(work)

    def wait(self, keepalive: Keepalive) -> None:
        """Waits until no task is running; the result is kept for :meth:`result`.

        *keepalive*: called every 0.5 s while it waits.
        """
        while self._busy:
            with contextlib.suppress(queue.Empty):
                self._result, self.error = self._results.get(timeout=_KEEPALIVE_INTERVAL)
                self._busy = False
                return
            keepalive()

    def result(self, keepalive: Keepalive) -> T | None:
        """Waits for the task, and returns its result once. None: there was no task, or it failed.

        *keepalive*: called every 0.5 s while it waits.
        """
        self.wait(keepalive)
        answer, self._result = self._result, None
        return answer

    def result_nowait(self) -> T | None:
        """Returns the result if the task has ended, else None. Does not wait.

        The result stays for :meth:`result`.
        """
        if self.done:
            self.wait(noop)
            return self._result
        return None

    def close(self) -> None:
        """Ends the thread, after its current task."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()
            self._thread = None

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._tasks.get()) is not None:
            try:
                self._results.put((work(), None))
            except BaseException as error:  # noqa: BLE001 - handled by the thread that waits
                self._results.put((None, error))


def noop() -> None:
    """A keepalive that does nothing."""
