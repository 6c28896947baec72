"""A background thread with its own database connection, which is replaced when it is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
from online_migrate.observe import events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

logger = logging.getLogger(__name__)
_JOIN_TIMEOUT = 5.0
"""Seconds that :meth:`ConnectionLoop.stop` waits for the thread to end."""


class ConnectionLoop:
    """A daemon thread that calls *work* with its own connection until it is stopped.

    *work* returns when :attr:`stopping` is set. When it raises a database error, *on_lost* is called, the
    error is logged, the connection is replaced after *interval* seconds, and *work* is called again.
    The first connection is opened after *delay* seconds.
    Any other exception ends the thread and is logged with its traceback.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        work: Callable[[Connection], None],
        *,
        interval: float,
        delay: float = 0.0,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.stopping = threading.Event()
        self._name = name
        self._engine = engine
        self._work = work
        self._interval = interval
        self._delay = delay
        self._on_lost = on_lost
        self._thread = threading.Thread(target=self._run, name=f"online-migrate-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread, and waits up to 5 seconds for it to end."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_JOIN_TIMEOUT)
            if self._thread.is_alive():
                events.emit(logger, events.BackgroundNotStopped(self._name, _JOIN_TIMEOUT))

    def _run(self) -> None:
        try:
            self.stopping.wait(self._delay)
            while not self.stopping.is_set():
                self._connect_and_work()
                self.stopping.wait(self._interval)
        except Exception:
            logger.exception("%s: ended by an unexpected error", self._name)
            raise

    def _connect_and_work(self) -> None:
        try:
            with private_connection(self._engine) as connection:
                self._work(connection)
        except (*CLEANUP_ERRORS, exceptions.Failed) as error:
            self._on_lost()
            if not self.stopping.is_set():
                reason = error_message(error)
                events.emit(logger, events.BackgroundReconnecting(self._name, self._interval, reason))
