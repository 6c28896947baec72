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

from online_migrate.migrate.aside import Aside, Beat, nothing
from online_migrate.migrate.claims import Extent
from online_migrate.migrate.planner import Plan
from online_migrate.migrate.work import Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_log = logging.getLogger(__name__)


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
        self._aside: Aside[Ready] = Aside()
        self._asked: Extent | None = None
        self._kept: list[tuple[Extent, Ready]] = []
        """What was taken and not used."""
        self._closed = threading.Event()
        self._opened = contextlib.ExitStack()
        self._connection: Connection | None = None

    def ask(self, extent: Extent, size: int) -> None:
        """Has the first *size* rows of *extent* read, unless they are here; waits for nothing else."""
        if self._asked == extent or self._from_kept(extent) is not None:
            return
        self._aside.take(nothing)
        self._asked = extent
        self._aside.begin(lambda: self._look(extent, size))

    def take(self, extent: Extent, beat: Beat) -> Ready | None:
        """The first rows of *extent*. None: that was not asked for, or could not be read.

        *beat*: called now and then while it waits.
        """
        kept = self._from_kept(extent)
        if kept is not None:
            self._kept = [one for one in self._kept if one[1] is not kept]
            return kept
        answer = self._aside.take(beat)
        asked, self._asked = self._asked, None
        return answer if asked == extent else None

    def keep(self, extent: Extent, ready: Ready) -> None:
        """It was taken and not written: who comes to that place again need not call the function again."""
        self._kept.append((extent, ready))

    def have(self, extent: Extent, size: int, beat: Beat) -> None:
        """Waits until its first rows are read, or could not be; has them read, if nobody asked for them."""
        if self._from_kept(extent) is None:
            self.settle(beat)
            self.ask(extent, size)
            self.settle(beat)

    def peek(self, extent: Extent) -> Ready | None:
        """The first rows of *extent* if they are there; they stay for :meth:`take`. Waits for nothing."""
        if self._asked == extent:
            return self._aside.peek()
        return self._from_kept(extent)

    def _from_kept(self, extent: Extent) -> Ready | None:
        return next((ready for kept, ready in self._kept if kept == extent), None)

    def forget(self, beat: Beat) -> None:
        """Nothing of it is wanted any more: while nobody worked, it has grown old."""
        self._aside.take(beat)
        self._asked = None
        self._kept.clear()

    def settle(self, beat: Beat) -> None:
        """Waits until nothing is being read; what was is kept for :meth:`take`."""
        self._aside.settle(beat)

    def close(self) -> None:
        """Ends the thread, after the row that it is at."""
        self._closed.set()
        self._aside.close()
        self._opened.close()

    # --- in the thread ---------------------------------------------------------------------------

    def _look(self, extent: Extent, size: int) -> Ready:
        try:
            if self._connection is None:
                self._connection = self._opened.enter_context(self._connect())
            return self._read(self._connection, extent, size, self._check)
        except Exception as error:
            _log.info("a chunk could not be read ahead: %s", error)
            # Whatever it was, the next one has a connection that nothing has happened to.
            self._connection = None
            self._opened.close()
            raise

    def _check(self) -> None:
        if self._closed.is_set():
            raise _GoHome
