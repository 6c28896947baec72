"""Detects a connection pooler in front of PostgreSQL, before any session setting is changed through it.

A pooler that assigns a server session to another client after every transaction (PgBouncer: ``pool_mode =
transaction``) also passes on the settings of this engine's sessions, such as a read-only default or a lock
timeout, and breaks the migrator's advisory lock. libpq receives the process id of the server session when it
connects. A pooler sends an id of its own instead (measured: PgBouncer 1.18, psycopg2 2.9, psycopg 3.3), so
that id differs from pg_backend_pid().
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from online_migrate import exceptions

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

Connect = Callable[[], Any]
"""Opens another DBAPI connection of the same engine."""


def install(engine: Engine, *, sessions_declared: bool) -> None:
    """Checks the first connection of *engine*.

    *sessions_declared*: True if the settings declare that the pooler keeps one session for each client. The
    connect then raises :class:`~online_migrate.exceptions.SharedSessions` only if two clients got the same
    session. Without the declaration it raises whenever there is a pooler.
    """
    checked = False

    def another() -> Any:
        arguments, keywords = engine.dialect.create_connect_args(engine.url)
        return engine.dialect.connect(*arguments, **keywords)

    def check_once(connection: Any, _record: object) -> None:
        nonlocal checked
        if not checked:
            check(connection, another, sessions_declared=sessions_declared)
            checked = True

    # Inserted first: it runs before any listener that changes the session.
    event.listen(engine, "connect", check_once, insert=True)


def check(connection: Any, connect: Connect, *, sessions_declared: bool) -> None:
    """Raises :class:`~online_migrate.exceptions.SharedSessions` if a pooler may share the session.

    *connection*: a DBAPI connection. *connect*: opens a second one, which is closed again. For
    *sessions_declared* see :func:`install`.
    """
    with _autocommit(connection):
        server = _server_process(connection)
        if server == connection.info.backend_pid:
            return
        with contextlib.closing(connect()) as other, _autocommit(other):
            shared = _server_process(other) == server
    if shared:
        raise exceptions.SharedSessions(
            reason="two concurrent clients got the same server session, so the pooler reassigns sessions "
            "after each transaction"
        )
    if not sessions_declared:
        raise exceptions.SharedSessions(
            reason="a client cannot determine whether it assigns one server session to each client"
        )


@contextlib.contextmanager
def _autocommit(connection: Any) -> Iterator[None]:
    """Inside the block statements run outside of a transaction, where a pooler may reassign the session."""
    before = connection.autocommit
    connection.autocommit = True
    try:
        yield
    finally:
        connection.autocommit = before


def _server_process(connection: Any) -> int:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
