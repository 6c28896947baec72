"""What other libraries do not log: errors that the engine reports itself, and contexts that it makes.

oslo.db logs each error that it has no class for, with its traceback, before the engine can handle it. Alembic
logs each context that is made. The logging configuration in Alembic's template prints both.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_ERRORS = "oslo_db.sqlalchemy.exc_filters"
_CONTEXTS = "alembic.runtime.migration"
_PARTS = ("command", "migrate", "throttle", "services", "background", "demo")
"""The parts of online-migrate that a command, or a thread of the engine, starts in."""
_STARTS = tuple(f"{__name__.partition('.')[0]}.{part}" for part in _PARTS)


class _ErrorsOfEngine(logging.Filter):
    """Drops the error of a statement that the engine, or a script under it, has sent.

    The engine handles it, or raises it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if str(frame.f_globals.get("__name__", "")).startswith(_STARTS):
                return False
            frame = frame.f_back
        return True


class _OfThread(threading.local):
    silent = 0
    """The number of blocks of the current thread in which Alembic logs no context."""


_of_thread = _OfThread()


class _Contexts(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _of_thread.silent


_errors, _contexts = _ErrorsOfEngine(), _Contexts()


def drop_errors_of_engine() -> None:
    """Makes oslo.db log no error of a statement that a command has sent; it logs those of other code."""
    logging.getLogger(_ERRORS).addFilter(_errors)  # a logger has a filter once only


@contextlib.contextmanager
def no_context_logged() -> Iterator[None]:
    """Inside the block, Alembic logs no context that this thread makes."""
    logging.getLogger(_CONTEXTS).addFilter(_contexts)
    _of_thread.silent += 1
    try:
        yield
    finally:
        _of_thread.silent -= 1
