"""Signs of life of this process's workers, and what operators say to them from elsewhere.

On a connection and in a thread of its own, so that a worker whose chunk takes long is neither taken for
dead nor deaf. Where there is one writer at a time, the workers do it themselves between two chunks.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.errors import AnyFault, words_of
from online_migrate.migrate.crew import Crew, record_status

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_log = logging.getLogger(__name__)
_EVERY = 0.5
"""Seconds between two beats. What an operator says is heard within two seconds."""
_KEEP_ALIVE = 2.0
"""Seconds after which a session that waits shows the server that somebody is there."""


class Pulse:
    """Beats for a crew while its ``with`` block lasts."""

    def __init__(self, crew: Crew, engine: Engine, dialect: Dialect) -> None:
        self._crew = crew
        self._engine = engine
        self._dialect = dialect
        self._end = threading.Event()
        self._last = time.monotonic()
        self._seen: weakref.WeakKeyDictionary[Connection, float] = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._beat_on, name="online-migrate-pulse", daemon=True)

    def __enter__(self) -> Pulse:
        if not self._dialect.single_writer:
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    # --- from the worker's thread, on its connection ---------------------------------------------

    def due(self, connection: Connection) -> None:
        """Called between two chunks."""
        if not self._dialect.single_writer or time.monotonic() - self._last < _EVERY:
            return
        try:
            self._tick(connection)
        except AnyFault as error:
            # Another writer keeps the lock; the next heartbeat is due soon.
            _log.info("a heartbeat was left out: %s", words_of(error))

    def keep_alive(self, connection: Connection) -> None:
        """Called by a worker that waits, or whose function takes its time."""
        if self._dialect.single_writer:
            return
        now = time.monotonic()
        if now - self._seen.get(connection, 0.0) < _KEEP_ALIVE:
            return
        self._seen[connection] = now
        inside = connection.in_transaction()
        connection.execute(sa.select(sa.literal(1)))
        if not inside:
            connection.rollback()

    # --- the thread ------------------------------------------------------------------------------

    def _beat_on(self) -> None:
        while not self._end.is_set():
            try:
                with private_connection(self._engine) as own:
                    dialect_of(own).prepare_data_session(own, idle_timeout=self._crew.place.lease)
                    while not self._end.wait(_EVERY):
                        self._tick(own)
            except (*AnyFault, exceptions.Failed) as error:
                # What goes wrong here goes wrong for the workers as well, which end with it.
                _log.info("the heartbeat of %s connects again: %s", self._crew.name, words_of(error))
            self._end.wait(_EVERY)

    def _tick(self, connection: Connection) -> None:
        self._last = time.monotonic()
        with connection.begin():
            state.beat(connection, self._crew.signs_of_life(), self._dialect.epoch())
        with self._dialect.looking(connection), connection.begin():
            status = record_status(connection, self._crew.name)
        self._crew.heard(status)
