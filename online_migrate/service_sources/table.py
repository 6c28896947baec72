"""Reads a table in which services report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

NOW = "server_time"
"""The name of the server's clock in a row of :func:`read_table`."""
DEAD_AFTER = 60
"""Seconds of silence after which a service is stale: the default of ``service_down_time``."""
_SHOWN = 80
"""Characters of a value that a message shows."""

Row = Mapping[str, Any]


class TableUnreadable(Exception):
    """A table in which services report cannot be read. The text is the reason."""


def read_table(connection: Connection, query: sa.Select[Any], timeout: float) -> list[Row]:
    """Returns the rows of *query*, each with the server's clock as :data:`NOW`.

    *timeout*: the statement timeout in seconds. Raises :class:`TableUnreadable`, and one of
    :data:`~online_migrate.driver_errors.DATABASE_ERRORS` if the connection is lost.
    """
    dialect = dialect_of(connection)
    try:
        with dialect.statement_timeout(connection, timeout):
            found = connection.execute(query.add_columns(dialect.epoch().label(NOW)))
            return [dict(row._mapping) for row in found]
    except DATABASE_ERRORS as error:
        if dialect.is_connection_lost(error):
            raise
        connection.rollback()
        raise TableUnreadable(error_message(error)) from error
    except ValueError as error:
        # SQLite stores any value in any column.
        connection.rollback()
        raise TableUnreadable(" ".join(str(error).split())) from error


def silence_of(row: Row, column: str) -> int | None:
    """Returns the seconds since the heartbeat in *column*, which is in UTC; None if it has none.

    The application's host has written it, so it is compared with the server's clock as far as the two agree.
    """
    heartbeat = row[column]
    if not isinstance(heartbeat, datetime.datetime):
        return None
    if heartbeat.tzinfo is None:
        heartbeat = heartbeat.replace(tzinfo=datetime.UTC)
    return max(0, int(row[NOW] - heartbeat.timestamp()))


def shown(value: object) -> str:
    """Returns a value for a message."""
    return "NULL" if value is None else repr(value)[:_SHOWN]
