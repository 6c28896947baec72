"""Recognises a connection pooler in front of PostgreSQL, before a session is changed through it.

A pooler that gives a session to another client after every transaction (PgBouncer: ``pool_mode =
transaction``) hands over what our sessions set, such as a read-only default or a lock timeout, and breaks the
migrator's advisory lock. libpq learns the process id of the server when it connects; a pooler sends an id of
its own there (measured: PgBouncer 1.18, psycopg2 2.9, psycopg 3.3), so the two ids differ.
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

    *sessions_declared*: the settings say that the pooler gives each client a session of its own. The connect
    then raises :class:`~online_migrate.exceptions.SharedSessions` only where two clients are seen to share
    one; without the declaration it raises whenever there is a pooler.
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

    # First: before any listener that changes the session.
    event.listen(engine, "connect", check_once, insert=True)


def check(connection: Any, connect: Connect, *, sessions_declared: bool) -> None:
    """Raises :class:`~online_migrate.exceptions.SharedSessions`; see :func:`install`."""
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
    """Outside of a transaction, as a pooler may give the session away."""
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
