"""One form for the errors that a server, its driver, SQLAlchemy and oslo.db raise.

oslo.db converts some errors into classes of its own and leaves others as they are, and the set differs
between servers. Code that expects an error of the server therefore catches :data:`DATABASE_ERRORS`. The
dialect classifies the error by its code; see :meth:`~online_migrate.dialects.base.Dialect.blame`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from oslo_db import exception as oslo
from sqlalchemy import exc

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import IsolationLevel

E = TypeVar("E", bound=BaseException)

DATABASE_ERRORS = (exc.DBAPIError, oslo.DBError)
"""For ``except``: every error that a server, its driver or the network causes."""


def set_isolation(connection: Connection, level: IsolationLevel) -> None:
    """Sets the isolation level of the session of *connection*.

    Raises one of :data:`DATABASE_ERRORS`: SQLAlchemy sets the level without its own error handling, so the
    driver's error would arrive unwrapped, and no caller catches that. It is wrapped here.
    """
    driver = connection.dialect.loaded_dbapi.Error
    try:
        connection.execution_options(isolation_level=level)
    except driver as error:
        lost = connection.dialect.is_disconnect(error, None, None)
        raise exc.DBAPIError.instance(
            f"isolation level {level}",
            None,
            error,
            driver,
            connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error


def driver_error_of(error: BaseException) -> BaseException | None:
    """Returns the DB-API exception that SQLAlchemy or oslo.db wrapped: only that holds the server's code.

    Returns *error* itself if it wraps nothing.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        inner = getattr(current, "inner_exception", None) or getattr(current, "orig", None)
        if inner is None:
            break
        current = inner
    return current


def find_cause(error: BaseException, kind: type[E]) -> E | None:
    """Returns the error of class *kind* that *error* is or wraps; None if there is none.

    Searches ``inner_exception`` (oslo.db), ``__cause__`` and ``__context__``: an error that was raised inside
    a statement is wrapped by oslo.db.
    """
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        if isinstance(current, kind):
            return current
        seen.add(id(current))
        queue += [getattr(current, "inner_exception", None), current.__cause__, current.__context__]
    return None


def statement_of(error: BaseException) -> str | None:
    """Returns the SQL text of the statement that failed; None if it is not known."""
    found = find_cause(error, exc.StatementError)
    return None if found is None else found.statement


def error_message(error: BaseException) -> str:
    """Returns the server's message on one line, with its error number where the driver gives one."""
    inner = driver_error_of(error) or error
    arguments = inner.args
    if len(arguments) > 1 and isinstance(arguments[0], int):
        return f"{' '.join(str(arguments[1]).split())} (error {arguments[0]})"
    return " ".join(str(inner).split())


CLEANUP_ERRORS = (exc.SQLAlchemyError, oslo.DBError)
"""For ``except`` during cleanup: a session that has ended needs no cleanup."""
