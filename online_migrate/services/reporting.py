"""The heartbeat of one process: a thread that reports to the registry until it is stopped."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from online_migrate import exceptions, state
from online_migrate.background import ConnectionLoop
from online_migrate.ddl.session import private_connection
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS, error_message, set_isolation
from online_migrate.observe import events
from online_migrate.services import errors
from online_migrate.services.registration import Registration

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

logger = logging.getLogger(__name__)
OnRefused = Callable[[exceptions.Refused], object]


class Heartbeat:
    """The heartbeat of this process. It is stopped by :meth:`stop`, by the end of its ``with`` block, or at
    the exit of the interpreter.

    A process that is forked from this one gets a heartbeat of its own, under an id of its own.
    """

    def __init__(
        self, engine: Engine, new: state.NewService, *, interval: float, on_refused: OnRefused | None
    ) -> None:
        self._engine = engine
        self._registration = Registration(new)
        self._interval = interval
        self._on_refused = on_refused
        self._registered = False
        self._reported: str | None = None
        self._connection: Connection | None = None
        self._stopped = False
        self._sending = threading.Lock()
        self._loop = self._new_loop()

    @property
    def id(self) -> str:
        """The id of this process in the registry."""
        return self._registration.new.id

    @property
    def refused(self) -> errors.ServiceRefused | None:
        """The refusal, if the database has been contracted beyond what the code of this process survives.

        None otherwise. It is known one heartbeat after the database was contracted, at the latest.
        """
        return self._registration.refused

    def start(self) -> None:
        """Registers this process, and starts the thread.

        Raises :class:`~online_migrate.services.errors.ServiceRefused`,
        :class:`~online_migrate.services.errors.ServiceRegistryMissing`,
        :class:`~online_migrate.exceptions.ServerDown` or :class:`~online_migrate.exceptions.ServerError`.
        """
        try:
            with private_connection(self._engine) as connection:
                _set_autocommit(connection)
                self._registration.register(connection)
        except DATABASE_ERRORS as error:
            raise exceptions.ServerError(reason=error_message(error)) from error
        self._registered = True
        _RUNNING.add(self)
        atexit.register(self.stop)
        self._loop.start()

    def stop(self) -> None:
        """Stops the thread, and records that this process has stopped cleanly. Raises nothing."""
        if self._stopped:
            return
        self._stopped = True
        _RUNNING.discard(self)
        atexit.unregister(self.stop)
        self._loop.stop()
        try:
            with private_connection(self._engine) as connection:
                _set_autocommit(connection)
                self._registration.mark_stopped(connection)
        except (*CLEANUP_ERRORS, exceptions.Failed) as error:
            service = self._registration.new.service
            events.emit(logger, events.ServiceStopNotRecorded(service, error_message(error)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- in the thread ---------------------------------------------------------------------------

    def _new_loop(self) -> ConnectionLoop:
        name = f"heartbeat of {self._registration.new.service}"
        return ConnectionLoop(
            name,
            self._engine,
            self._run,
            interval=min(self._interval, 2.0),
            on_lost=self._registration.connection_lost,
        )

    def _run(self, connection: Connection) -> None:
        self._connection = connection
        # Each statement is one round trip: nothing else is sent to begin or to commit.
        _set_autocommit(connection)
        statement = state.Beat(connection)
        while not self._loop.stopping.is_set():
            with self._sending:
                self._report(connection, statement)
            self._loop.stopping.wait(self._interval)

    def _report(self, connection: Connection, statement: state.Beat) -> None:
        try:
            if self._registered:
                self._registration.beat(connection, statement)
            else:
                self._registration.enter(connection)
                self._registered = True
            refusal: exceptions.Refused | None = self._registration.refused
        except errors.ServiceRegistryMissing as error:
            refusal = error
        if refusal is not None and str(refusal) != self._reported:
            self._tell(refusal)
        self._reported = None if refusal is None else str(refusal)

    def _tell(self, refusal: exceptions.Refused) -> None:
        service = self._registration.new.service
        events.emit(logger, events.ServiceCodeRefused(service, str(refusal), refusal.hint))
        if self._on_refused is None:
            return
        try:
            self._on_refused(refusal)
        except Exception:
            logger.exception("%s: on_refused raised an error", service)

    # --- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Waits, for a moment, until no statement is being sent.

        SQLite keeps its locks of a file in the memory of the process. A copy of them, from the middle of a
        statement, would lock the file in the new process for ever.
        """
        if self._sending.acquire(timeout=_FORK_PATIENCE):
            _HELD.append(self._sending)

    def forked(self) -> None:
        """Starts a heartbeat of the new process, which has neither the thread nor the session of the old."""
        _OF_PARENT.append(self._connection)
        self._engine.dispose(close=False)
        self._registration.renew(process=str(os.getpid()))
        self._registered = False
        self._sending = threading.Lock()
        self._loop = self._new_loop()
        self._loop.start()


def _set_autocommit(connection: Connection) -> None:
    """Makes each statement a transaction of its own, also if the engine has a listener that sends BEGIN.

    SQLAlchemy's recipe for SQLite is such a listener. It is called once, because the transaction, as
    SQLAlchemy sees it, does not end before the connection is closed.
    """
    set_isolation(connection, "AUTOCOMMIT")
    connection.begin()
    if getattr(connection.connection.dbapi_connection, "in_transaction", False):
        connection.exec_driver_sql("COMMIT")


_RUNNING: weakref.WeakSet[Heartbeat] = weakref.WeakSet()
_HELD: list[threading.Lock] = []
"""The locks that are held during a fork."""
_OF_PARENT: list[object] = []
"""Connections of the parent process. Some drivers end the session of the server, which the parent still uses,
when the object is freed."""
_FORK_PATIENCE = 1.0
"""Seconds that a fork waits for a heartbeat to end."""


def _before_fork() -> None:
    for one in list(_RUNNING):
        one.before_fork()


def _after_fork_in_parent() -> None:
    while _HELD:
        _HELD.pop().release()


def _after_fork_in_child() -> None:
    _HELD.clear()
    for one in list(_RUNNING):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
