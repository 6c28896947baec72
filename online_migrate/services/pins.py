"""The pins of named versions, as a client of an RPC API uses them: read from the registry, and cached.

Invariant: while a process that reports a version counts, its pin does not fall, because a process that starts
with an older version is refused. So a cached pin stays valid while the registry cannot be read.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from sqlalchemy import URL
from sqlalchemy.engine import Engine

from online_migrate import exceptions
from online_migrate.ddl.session import connect
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.observe import events
from online_migrate.services import errors
from online_migrate.services.bind import engine_of
from online_migrate.services.pin_rule import pin_in
from online_migrate.services.registry import read_registry
from online_migrate.services.service import is_version

logger = logging.getLogger(__name__)


class Pins:
    """The pins of a database. One object serves all threads of a process.

    *bind*: the application's engine, or the URL of the database. *minimum*: the pin of a name that no process
    reports. *expires*: seconds after which a pin is read again. *pooler*: ``session`` for a URL of a pooler
    that keeps one session of PostgreSQL for each client.

    Raises :class:`~online_migrate.exceptions.UsageError` for a minimum that is no version, and for an unknown
    *pooler*.
    """

    def __init__(
        self,
        bind: Engine | URL | str,
        *,
        minimum: Mapping[str, str] | None = None,
        expires: float = 60.0,
        pooler: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine_of(bind, pooler)
        self._minimum = dict(minimum or {})
        for name, version in self._minimum.items():
            if not is_version(version):
                raise exceptions.UsageError(message=f"the minimum of {name} is no version: {version!r}")
        self._expires = expires
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: dict[str, tuple[str, float]] = {}

    def pin(self, name: str) -> str:
        """Returns the version of *name* that every process understands that reports it.

        It is cached, except for a minimum: the first process that reports sets the pin at once. If the
        registry cannot be read, the cached pin is used, and that is logged.

        Raises :class:`~online_migrate.services.errors.PinUnknown` if no process reports the name and there is
        no minimum, or if it cannot be read from a row; and :class:`~online_migrate.exceptions.ServerError` if
        the registry cannot be read and no pin is cached.
        """
        with self._lock:
            cached, until = self._cached.get(name, (None, 0.0))
            if cached is not None and self._clock() < until:
                return cached
            try:
                found = self._read(name, cached)
            except errors.PinUnknown:
                # Not to be used again when the registry cannot be read: a process has started since.
                self._cached.pop(name, None)
                raise
            if found is None:
                self._cached.pop(name, None)
                return self._minimum_of(name)
            if cached is not None and found != cached:
                events.emit(logger, events.PinChanged(name, cached, found))
            self._cached[name] = (found, self._clock() + self._expires)
            return found

    def refresh(self) -> None:
        """Lets the next :meth:`pin` of each name read the registry. May be called in a signal handler."""
        # Replaced, not changed: a signal may interrupt pin() while it holds the lock.
        self._cached = {name: (pin, 0.0) for name, (pin, _until) in self._cached.copy().items()}

    def refresh_on_signal(self, number: signal.Signals = signal.SIGHUP) -> None:
        """Refreshes the pins when the process receives the signal. The handler before is called as well.

        To be called in the main thread, like :func:`signal.signal`.
        """
        before: Any = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None) -> None:
            self.refresh()
            if callable(before):
                before(received, frame)

        signal.signal(number, handle)

    def _read(self, name: str, cached: str | None) -> str | None:
        try:
            with connect(self._engine) as connection:
                registry = read_registry(connection)
        except (*DATABASE_ERRORS, exceptions.ServerDown) as error:
            if cached is None:
                raise exceptions.ServerError(reason=error_message(error)) from error
            events.emit(logger, events.PinNotRead(name, cached, error_message(error)))
            return cached
        return pin_in(registry, name)

    def _minimum_of(self, name: str) -> str:
        if name not in self._minimum:
            raise errors.PinUnknown(name=name, reason="no process that may still run reports it")
        return self._minimum[name]
