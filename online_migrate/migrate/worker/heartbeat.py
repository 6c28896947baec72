"""Heartbeats of this process's workers, and the operators' commands to them from other hosts.

A heartbeat has a connection and a thread of its own, so that a worker with a long chunk does not count as
dead, and still gets the commands. On a server with a single writer the workers send the heartbeat themselves,
between two chunks.
"""

from __future__ import annotations

import logging
import time
import weakref
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import state
from online_migrate.background import ConnectionLoop
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message, set_isolation
from online_migrate.migrate.run.context import RunState, read_status
from online_migrate.observe import events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

logger = logging.getLogger(__name__)
_HEARTBEAT_INTERVAL = 0.5
"""Seconds between two heartbeats. A command of an operator takes effect within two seconds."""
_KEEPALIVE_INTERVAL = 2.0
"""Seconds after which an idle session sends a statement, before the server's idle timeout ends it. A quarter
of that timeout if it is shorter: some callers wait for up to half a second between two calls."""


class Heartbeat:
    """Sends the heartbeats of all workers of a run state, inside its ``with`` block."""

    def __init__(self, run_state: RunState, engine: Engine, dialect: Dialect) -> None:
        self._run_state = run_state
        self._dialect = dialect
        self._loop = ConnectionLoop("heartbeat", engine, self._run, interval=_HEARTBEAT_INTERVAL)
        self._last = time.monotonic()
        self._keepalive_interval = min(_KEEPALIVE_INTERVAL, run_state.context.lease / 4)
        self._last_keepalive: weakref.WeakKeyDictionary[Connection, float] = weakref.WeakKeyDictionary()

    def __enter__(self) -> Heartbeat:
        if not self._dialect.single_writer:
            self._loop.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.stop()

    # --- in the worker's thread, on its connection -----------------------------------------------

    def beat_inline(self, connection: Connection) -> None:
        """Sends a heartbeat if one is due and the server has a single writer. Called between two chunks."""
        if not self._dialect.single_writer or time.monotonic() - self._last < _HEARTBEAT_INTERVAL:
            return
        try:
            self._tick(connection)
        except CLEANUP_ERRORS as error:
            # Another writer holds the lock. The next heartbeat is sent after the next chunk.
            events.emit(logger, events.HeartbeatSkipped(error_message(error)))

    def keep_alive(self, connection: Connection) -> None:
        """Sends a statement on *connection* if none was sent for a while: the idle timeout would end it.

        Called by a worker that waits, or that runs a long function.
        """
        if self._dialect.single_writer:
            return
        now = time.monotonic()
        if now - self._last_keepalive.get(connection, 0.0) < self._keepalive_interval:
            return
        self._last_keepalive[connection] = now
        inside = connection.in_transaction()
        connection.execute(sa.select(sa.literal(1)))
        if not inside:
            connection.rollback()

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self, connection: Connection) -> None:
        dialect_of(connection).prepare_data_session(connection, idle_timeout=self._run_state.context.lease)
        # One round trip: while the row of a worker is locked, its chunk waits to advance the lease.
        set_isolation(connection, "AUTOCOMMIT")
        # A heartbeat that waits for the chunk of its worker is no application that waits.
        with self._run_state.context.throttling.sessions.including(connection):
            while not self._loop.stopping.wait(_HEARTBEAT_INTERVAL):
                self._tick(connection)

    def _tick(self, connection: Connection) -> None:
        self._last = time.monotonic()
        with connection.begin():
            state.update_heartbeat(connection, self._run_state.reporter.worker_stats(), self._dialect.epoch())
        with self._dialect.read_transaction(connection), connection.begin():
            status = read_status(connection, self._run_state.name)
        self._run_state.status_changed(status)
