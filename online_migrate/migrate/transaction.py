"""Connections for chunks, and transactions that are repeated when the server rolls them back."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.waiting import Clock, Stop, backoff

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")
_log = logging.getLogger(__name__)
_JITTER = random.Random()
_REPEATS = 10
"""How often a transaction is tried that the server rolls back: a deadlock, a lock timeout."""


@contextlib.contextmanager
def data_connection(engine: Engine, lease: float, *, lasting: bool = True) -> Iterator[Connection]:
    """A connection for chunks: its isolation level, bounded lock waits, and an end if we stand still.

    *lasting*: see :meth:`~online_migrate.dialects.Dialect.prepare_data_session`.
    """
    with private_connection(engine) as connection:
        dialect = dialect_of(connection)
        problem = dialect.data_problem(connection)
        connection.rollback()
        if problem is not None:
            raise exceptions.Refused(reason=problem.reason, hint=problem.hint)
        dialect.prepare_data_session(connection, idle_timeout=lease, lasting=lasting)
        yield connection


def committed(clock: Clock, dialect: Dialect, connection: Connection, work: Callable[[], T]) -> T:
    """*work* in a transaction, again when the server rolled it back."""
    pauses = backoff(waited=0.05, attempts=_REPEATS, longest=2.0, jitter=_JITTER)
    while True:
        try:
            with connection.begin():
                return work()
        except ServerFault as error:
            _end_failed_commit(dialect, connection, error)
            pause = next(pauses, None)
            if pause is None or not dialect.is_transient(error):
                raise
            _log.info("the transaction is repeated in %.2f s: %s", pause, words_of(error))
            clock.wait(pause, Stop())


def _end_failed_commit(dialect: Dialect, connection: Connection, error: BaseException) -> None:
    """Rolls back what a COMMIT that failed left open: SQLite keeps the transaction, for a second attempt.

    SQLAlchemy takes a transaction whose COMMIT failed for ended.
    """
    if connection.invalidated or connection.in_transaction() or dialect.is_connection_lost(error):
        return
    driver = connection.connection.dbapi_connection
    try:
        if driver is not None:
            driver.rollback()
    except connection.dialect.loaded_dbapi.Error as problem:
        # The next statement says that the session is lost.
        _log.info("a failed transaction could not be rolled back: %s", problem)


def looked(clock: Clock, dialect: Dialect, connection: Connection, look: Callable[[], T]) -> T:
    """*look* in a transaction that only reads."""
    with dialect.looking(connection):
        return committed(clock, dialect, connection, look)
