"""Connections for chunks, and transactions that are retried when the server rolls them back."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.observe import events
from online_migrate.waiting import Clock, Stop, backoff

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")
_log = logging.getLogger(__name__)
_JITTER = random.Random()
_MAX_ATTEMPTS = 10
"""The maximum number of attempts of a transaction that the server rolls back (deadlock, lock timeout)."""


@contextlib.contextmanager
def data_connection(engine: Engine, lease: float, *, durable: bool = True) -> Iterator[Connection]:
    """Opens a connection for chunks, with its isolation level, a lock timeout and an idle timeout.

    *lease*: the idle timeout in seconds, after which the server ends the session. *durable*: see
    :meth:`~online_migrate.dialects.Dialect.prepare_data_session`.
    """
    with private_connection(engine) as connection:
        dialect = dialect_of(connection)
        problem = dialect.check_data_server(connection)
        connection.rollback()
        if problem is not None:
            raise exceptions.Refused(reason=problem.reason, hint=problem.hint)
        dialect.prepare_data_session(connection, idle_timeout=lease, durable=durable)
        yield connection


def run_transaction(clock: Clock, dialect: Dialect, connection: Connection, work: Callable[[], T]) -> T:
    """Runs *work* in a transaction and returns its result; retries when the server rolled it back.

    Transient errors are retried with back-off, ten times at most. Raises any other error, and the last one.
    """
    pauses = backoff(waited=0.05, attempts=_MAX_ATTEMPTS, longest=2.0, jitter=_JITTER)
    while True:
        try:
            with connection.begin():
                return work()
        except DATABASE_ERRORS as error:
            _end_failed_commit(dialect, connection, error)
            pause = next(pauses, None)
            if pause is None or not dialect.is_transient(error):
                raise
            events.emit(_log, events.TransactionRetried(pause, error_message(error)))
            clock.wait(pause, Stop())


def _end_failed_commit(dialect: Dialect, connection: Connection, error: BaseException) -> None:
    """Rolls back the transaction that a failed COMMIT left open: SQLite keeps it open for a second attempt.

    SQLAlchemy treats a transaction as ended when its COMMIT has failed.
    """
    if connection.invalidated or connection.in_transaction() or dialect.is_connection_lost(error):
        return
    driver = connection.connection.dbapi_connection
    try:
        if driver is not None:
            driver.rollback()
    except connection.dialect.loaded_dbapi.Error as problem:
        # The next statement raises the error of the lost session.
        events.emit(_log, events.RollbackFailed(f"{problem}"))


def run_read_transaction(clock: Clock, dialect: Dialect, connection: Connection, read: Callable[[], T]) -> T:
    """Runs *read* in a read-only transaction and returns its result; retries like :func:`run_transaction`."""
    with dialect.read_transaction(connection):
        return run_transaction(clock, dialect, connection, read)


@dataclasses.dataclass(frozen=True)
class TransactionRunner:
    """Runs transactions on one connection, and repeats those that the server rolled back."""

    clock: Clock
    dialect: Dialect
    connection: Connection

    def run(self, work: Callable[[], T]) -> T:
        """Runs *work* in a transaction and returns its result; see :func:`run_transaction`."""
        return run_transaction(self.clock, self.dialect, self.connection, work)

    def run_read_only(self, read: Callable[[], T]) -> T:
        """Runs *read* in a read-only transaction and returns its result."""
        return run_read_transaction(self.clock, self.dialect, self.connection, read)
