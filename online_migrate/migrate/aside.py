"""One thing at a time, done in a thread beside the worker's own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Beat = Callable[[], None]
"""Called now and then by whoever waits: it shows that somebody is there."""
_LOOK = 0.5
"""Seconds after which a worker that waits shows that it is alive."""


class Aside(Generic[T]):
    """A thread, begun when it is needed, that does one thing after another. For one worker to ask."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """Why what was settled last failed."""
        self._questions: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._busy = False
        self._answer: T | None = None
        self._thread: threading.Thread | None = None

    @property
    def idle(self) -> bool:
        """True if nothing is being done at this moment."""
        return not self._busy or not self._answers.empty()

    def begin(self, work: Callable[[], T]) -> None:
        """Has *work* done, and waits for nothing. What was done before must be settled."""
        if self._thread is None:
            name = f"{threading.current_thread().name}-ahead"
            thread = threading.Thread(target=self._work_on, name=name, daemon=True)
            thread.start()
            self._thread = thread
        self._busy = True
        self._questions.put(work)

    def settle(self, beat: Beat) -> None:
        """Waits until nothing is being done; what came of it is kept for :meth:`take`."""
        while self._busy:
            with contextlib.suppress(queue.Empty):
                self._answer, self.error = self._answers.get(timeout=_LOOK)
                self._busy = False
                return
            beat()

    def take(self, beat: Beat) -> T | None:
        """What came of it, once. None: nothing was to be done, or it failed."""
        self.settle(beat)
        answer, self._answer = self._answer, None
        return answer

    def peek(self) -> T | None:
        """What came of it, if it is over; it stays for :meth:`take`. Waits for nothing."""
        if self.idle:
            self.settle(nothing)
            return self._answer
        return None

    def close(self) -> None:
        """Ends the thread, after what it is at."""
        if self._thread is not None:
            self._questions.put(None)
            self._thread.join()
            self._thread = None

    # --- its thread ------------------------------------------------------------------------------

    def _work_on(self) -> None:
        while (work := self._questions.get()) is not None:
            try:
                self._answers.put((work(), None))
            except BaseException as error:  # noqa: BLE001 - whoever waits for an answer decides what it means
                self._answers.put((None, error))


def nothing() -> None:
    """Nobody is kept waiting."""
