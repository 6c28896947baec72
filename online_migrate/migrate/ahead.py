"""Reads the next chunk, and calls the user's function for its rows, while the one before is written.

Invariants:

* What is read ahead is only a guess. It is used if the worker comes to just that place, and the statement
  that writes it leaves alone every row that has changed since, as after any other reading.
* The function is never called twice at the same time on behalf of one worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate.migrate.claims import Extent
from online_migrate.migrate.planner import Plan
from online_migrate.migrate.work import Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Beat = Callable[[], None]
_LOOK = 0.5
"""Seconds after which a worker that waits for what is read shows that it is alive."""


@dataclasses.dataclass(frozen=True)
class Ready:
    """A chunk that can be written."""

    plan: Plan
    prepared: Prepared | None
    seconds: float
    """What reading it, and calling the function, took."""


class _GoHome(Exception):
    """Nobody wants to know any more."""


class ReadAhead:
    """Keeps one chunk ready, by a thread and a connection of its own.

    *read*: gives the next *size* rows of an extent, and calls its last argument now and then. *connect*:
    opens a connection, when one is needed. For one worker, from his thread: :meth:`take`, then :meth:`ask`.
    """

    def __init__(
        self,
        read: Callable[[Connection, Extent, int, Beat], Ready],
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
    ) -> None:
        self._read = read
        self._connect = connect
        self._questions: queue.SimpleQueue[tuple[Extent, int] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Ready | None] = queue.SimpleQueue()
        self._asked: Extent | None = None
        self._answer: Ready | None = None
        self._waiting = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, extent: Extent, size: int) -> None:
        """Has the first *size* rows of *extent* read, and waits for nothing."""
        if self._thread is None:
            name = f"{threading.current_thread().name}-ahead"
            self._thread = threading.Thread(target=self._read_on, name=name, daemon=True)
            self._thread.start()
        self._asked, self._waiting = extent, True
        self._questions.put((extent, size))

    def take(self, extent: Extent, beat: Beat) -> Ready | None:
        """The first rows of *extent*. None: that was not asked for, or could not be read.

        *beat*: called now and then while it waits.
        """
        self.settle(beat)
        asked, answer = self._asked, self._answer
        self._asked = self._answer = None
        return answer if asked == extent else None

    def forget(self, beat: Beat) -> None:
        """What was asked for is not wanted any more: while nobody worked, it has grown old."""
        self.settle(beat)
        self._asked = self._answer = None

    def settle(self, beat: Beat) -> None:
        """Waits until nothing is being read; what was is kept for :meth:`take`."""
        while self._waiting:
            with contextlib.suppress(queue.Empty):
                self._answer = self._answers.get(timeout=_LOOK)
                self._waiting = False
                return
            beat()

    def close(self) -> None:
        """Ends the thread, after the row that it is at."""
        self._closed.set()
        self._questions.put(None)
        if self._thread is not None:
            self._thread.join()

    # --- its thread ------------------------------------------------------------------------------

    def _read_on(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                with self._connect() as connection:
                    while question is not None:
                        self._answers.put(self._read(connection, *question, self._check))
                        question = self._questions.get()
                    return
            except Exception:  # noqa: BLE001 - the worker reads it himself, and is told the same
                self._answers.put(None)

    def _check(self) -> None:
        if self._closed.is_set():
            raise _GoHome
