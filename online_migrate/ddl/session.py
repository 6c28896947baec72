"""The connection on which schema changes run: one migrator at a time, every wait with an end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.ddl.executor import install
from online_migrate.dialects import Dialect, dialect_of, safe_url
from online_migrate.dialects.base import OWN_SESSIONS
from online_migrate.dialects.errors import AnyFault, set_isolation, words_of
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

MIGRATOR = "migrator"
_PATIENCE = 15.0
"""Seconds to wait for another migrator: a server needs a moment to see that a killed client is gone."""


@dataclasses.dataclass(frozen=True)
class Session:
    """A connection of its own for DDL, never pooled, that holds the migrator's lock.

    *side*: a second connection for records, on servers where DDL commits whatever is open.
    """

    connection: Connection
    side: Connection | None
    dialect: Dialect


def connect(engine: Engine) -> Connection:
    """A connection, or :class:`~online_migrate.exceptions.ServerDown`."""
    try:
        return engine.connect()
    except (*AnyFault, OSError) as error:
        raise server_down(engine.url, error) from error


def server_down(url: sa.URL, error: BaseException) -> exceptions.ServerDown:
    """What a failed connection says to a person, on one line and without the password."""
    return exceptions.ServerDown(url=safe_url(url), reason=words_of(error))


def require_connections(engine: Engine, needed: int, command: str, *, fewer: str = "") -> None:
    """Refuses a command for which the server, or the user, allows too few connections, before it begins.

    *fewer*: how to use fewer of them. The connections are kept in the pool, for the command.
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
    """A connection that does not come back to the pool, whatever locks and settings it has by then."""
    connection = connect(engine)
    try:
        yield connection
    finally:
        with contextlib.suppress(*AnyFault):
            # A session that is gone has already freed what it held.
            connection.invalidate()
            connection.close()


@contextlib.contextmanager
def migrator(engine: Engine, settings: Settings, *, clock: Clock, stop: Stop) -> Iterator[Session]:
    """The session for schema changes.

    Raises :class:`~online_migrate.exceptions.OtherMigrator` if somebody else is at it for long.
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
            # Who waits for our table locks must not keep us waiting, for our records, in turn.
            dialect.prepare_ddl_session(
                side, lock_timeout=settings.lock_timeout, session_timeout=settings.session_timeout
            )
            connection.info[OWN_SESSIONS] = [dialect.session_id(side)]
            side.rollback()
        yield Session(connection, side, dialect)


def take_named_lock(
    dialect: Dialect,
    connection: Connection,
    name: str,
    *,
    clock: Clock,
    stop: Stop,
    patience: float = _PATIENCE,
) -> None:
    """Takes a named lock within *patience* seconds, or raises OtherMigrator."""
    end = clock.monotonic() + patience
    while not dialect.try_named_lock(connection, name):
        if clock.monotonic() >= end or clock.wait(0.2, stop):
            raise exceptions.OtherMigrator()


def _free(dialect: Dialect, connection: Connection) -> None:
    with contextlib.suppress(*AnyFault):
        # The end of the session frees the lock as well; this makes it certain on SQLite.
        connection.rollback()
        dialect.free_named_lock(connection, MIGRATOR)
