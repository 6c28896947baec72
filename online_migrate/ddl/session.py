"""The session on which schema changes run: one migrator at a time, every wait bounded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.ddl.executor import install
from online_migrate.ddl.lock_queue import LockQueue
from online_migrate.dialects import Dialect, dialect_of, safe_url
from online_migrate.dialects.base import OWN_SESSIONS
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message, set_isolation
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

MIGRATOR = "migrator"
_LOCK_PATIENCE = 15.0
"""Seconds to wait for another migrator: a server needs some time to notice that a killed client is gone."""


@dataclasses.dataclass(frozen=True)
class Session:
    """A private connection for DDL, never pooled, that holds the migrator's lock.

    *journal_connection*: a second connection for the journal, on servers where DDL commits implicitly and so
    ends any open transaction; None elsewhere. *queue*: limits how long its statements wait for their tables.
    """

    connection: Connection
    journal_connection: Connection | None
    dialect: Dialect
    queue: LockQueue


def connect(engine: Engine) -> Connection:
    """Returns a connection of *engine*. Raises :class:`~online_migrate.exceptions.ServerDown`."""
    try:
        return engine.connect()
    except (*CLEANUP_ERRORS, OSError) as error:
        raise server_down(engine.url, error) from error


def server_down(url: sa.URL, error: BaseException) -> exceptions.ServerDown:
    """Returns the error for a failed connection, with a message on one line and without the password."""
    return exceptions.ServerDown(url=safe_url(url), reason=error_message(error))


def require_connections(engine: Engine, needed: int, command: str, *, fewer: str = "") -> None:
    """Refuses a command, before it begins, if the server or the user is allowed too few connections.

    *needed*: the number of connections. *fewer*: a hint how to use fewer of them. The connections are kept in
    the pool for the command. Raises :class:`~online_migrate.exceptions.TooFewConnections`, or
    :class:`~online_migrate.exceptions.ServerDown` if not even one can be opened.
    """
    with contextlib.ExitStack() as stack:
        for given in range(needed):
            try:
                stack.callback(connect(engine).close)
            except exceptions.ServerDown as error:
                if not given:
                    raise
                raise exceptions.TooFewConnections(
                    command=command, needed=needed, given=given, reason=error.reason, fewer=fewer
                ) from error


@contextlib.contextmanager
def private_connection(engine: Engine) -> Iterator[Connection]:
    """Yields a connection that is not returned to the pool, so its locks and settings end with it."""
    connection = connect(engine)
    try:
        yield connection
    finally:
        with contextlib.suppress(*CLEANUP_ERRORS):
            # The locks of a lost session are already released.
            connection.invalidate()
            connection.close()


@contextlib.contextmanager
def ddl_session(engine: Engine, settings: Settings, *, clock: Clock, stop: Stop) -> Iterator[Session]:
    """Yields the session for schema changes.

    Raises :class:`~online_migrate.exceptions.OtherMigrator` if another migrator holds the lock for more than
    15 seconds.
    """
    install(engine)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(private_connection(engine))
        dialect = dialect_of(connection)
        if dialect.ddl_isolation:
            set_isolation(connection, dialect.ddl_isolation)
        take_named_lock(dialect, connection, MIGRATOR, clock=clock, stop=stop)
        stack.callback(_free, dialect, connection)
        dialect.prepare_ddl_session(
            connection, lock_timeout=settings.lock_timeout, session_timeout=settings.session_timeout
        )
        side = None
        if not dialect.transactional_ddl:
            side = stack.enter_context(private_connection(engine))
            # A session that waits for the table locks may block the journal: that wait is bounded too.
            dialect.prepare_ddl_session(
                side, lock_timeout=settings.lock_timeout, session_timeout=settings.session_timeout
            )
            connection.info[OWN_SESSIONS] = [dialect.session_id(side)]
            side.rollback()
        queue = lock_queue(dialect, connection, side, settings, clock=clock, stop=stop)
        yield Session(connection, side, dialect, queue)


@contextlib.contextmanager
def session_beside(session: Session, settings: Settings, *, clock: Clock, stop: Stop) -> Iterator[Session]:
    """Yields a further session of the migrator, for statements that change the settings of their session.

    It shares the journal connection of *session*; the two must not be used at the same time.
    """
    with private_connection(session.connection.engine) as connection:
        dialect, side = session.dialect, session.journal_connection
        dialect.prepare_ddl_session(
            connection, lock_timeout=settings.lock_timeout, session_timeout=settings.session_timeout
        )
        queue = lock_queue(dialect, connection, side, settings, clock=clock, stop=stop)
        yield Session(connection, side, dialect, queue)


def lock_queue(
    dialect: Dialect,
    connection: Connection,
    beside: Connection | None,
    settings: Settings,
    *,
    clock: Clock,
    stop: Stop,
) -> LockQueue:
    """Returns the lock queue of a session for DDL; *beside*: see :class:`Session`, ``journal_connection``."""
    session = dialect.session_id(connection)
    connection.rollback()
    if beside is not None:
        beside.info[OWN_SESSIONS] = [*beside.info.get(OWN_SESSIONS, ()), session]
    old = settings.lock_timeout
    return LockQueue(dialect, connection, beside, session=session, old=old, clock=clock, stop=stop)


def take_named_lock(
    dialect: Dialect,
    connection: Connection,
    name: str,
    *,
    clock: Clock,
    stop: Stop,
    patience: float = _LOCK_PATIENCE,
) -> None:
    """Takes a named lock within *patience* seconds, or raises OtherMigrator.

    It raises :class:`~online_migrate.exceptions.OtherMigrator` earlier if *stop* is requested.
    """
    end = clock.monotonic() + patience
    while not dialect.try_named_lock(connection, name):
        if clock.monotonic() >= end or clock.wait(0.2, stop):
            raise exceptions.OtherMigrator()


def _free(dialect: Dialect, connection: Connection) -> None:
    with contextlib.suppress(*CLEANUP_ERRORS):
        # The end of the session releases the lock as well; on SQLite only this makes it certain.
        connection.rollback()
        dialect.free_named_lock(connection, MIGRATOR)
