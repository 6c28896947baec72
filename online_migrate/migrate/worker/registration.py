"""Registers a worker: its row in the state tables, and the named lock that shows that it is alive."""

from __future__ import annotations

import contextlib
import secrets

from online_migrate import exceptions
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.migrate.executor.tools import ChunkTools
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.worker.lease import worker_lock_name


def new_worker_id() -> str:
    """Returns an id that no other worker has."""
    return secrets.token_hex(8)


class Registration:
    """Registers the worker with the id *worker*, and removes it at the end."""

    def __init__(self, worker: str, run_state: RunState, tools: ChunkTools) -> None:
        self._worker = worker
        self._run_state = run_state
        self._transactions = tools.transactions
        self._leases = tools.leases
        self._sessions = run_state.context.throttling.sessions
        self._session = 0

    def register(self) -> None:
        """Inserts the worker's row, and takes its named lock."""
        connection, dialect = self._transactions.connection, self._transactions.dialect
        # Before the worker's row is inserted: a registered worker whose lock is free counts as dead.
        dialect.try_named_lock(connection, worker_lock_name(self._worker))
        self._transactions.run(lambda: self._leases.register(connection))
        self._session = self._transactions.run_read_only(lambda: dialect.session_id(connection))
        self._sessions.add(self._session)
        self._run_state.reporter.add_worker(self._worker)

    def remove(self, *, holds_range: bool) -> None:
        """Removes the worker; other workers detect a lost connection by themselves.

        *holds_range*: the worker still holds a key range, which is released.
        """
        connection = self._transactions.connection
        self._run_state.reporter.remove_worker(self._worker)
        self._sessions.remove(self._session)
        with contextlib.suppress(*CLEANUP_ERRORS, exceptions.Failed):
            connection.rollback()
            self._transactions.run(lambda: self._leases.unregister(connection, holds=holds_range))
            self._transactions.dialect.free_named_lock(connection, worker_lock_name(self._worker))
