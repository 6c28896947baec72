"""What a server, its driver, SQLAlchemy or oslo.db raise, as one thing.

oslo.db turns some errors into classes of its own, others not, and not the same ones on every server. So
whoever expects the server to say no catches :data:`ServerFault`, and asks the dialect what was meant.
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
"""For ``except``: everything that a server, or the way to it, answers with."""


def set_isolation(connection: Connection, level: IsolationLevel) -> None:
    """Sets the isolation level of a session; raises :data:`ServerFault`.

    SQLAlchemy sends it past its own handling of errors: what came out is the driver's, which nobody expects.
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
    """The DB-API exception inside what SQLAlchemy or oslo.db made of it: only that says what happened."""
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
    """The error of *kind* that *error* is, or that was raised inside a statement and wrapped by oslo.db."""
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
    """The statement to which the server said no, if it is known."""
    found = find_cause(error, exc.StatementError)
    return None if found is None else found.statement


def error_message(error: BaseException) -> str:
    """What the server said, on one line."""
    inner = driver_error_of(error) or error
    arguments = inner.args
    if len(arguments) > 1 and isinstance(arguments[0], int):
        return f"{' '.join(str(arguments[1]).split())} (error {arguments[0]})"
    return " ".join(str(inner).split())


CLEANUP_ERRORS = (exc.SQLAlchemyError, oslo.DBError)
"""For tidying up, where a session that is gone has already done it."""
