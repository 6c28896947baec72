"""Queries of a server's catalog, and SQL as text that is not executed by a driver with parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row


def rows(connection: Connection, query: str, **parameters: Any) -> Sequence[Row[Any]]:
    """Returns all rows of a catalog query."""
    return connection.execute(sa.text(query), parameters).all()


def sql_text(connection: Connection, element: sa.ClauseElement) -> str:
    """Returns a statement or an expression as text, with its values, for an operator or for the catalog.

    Raises ``sqlalchemy.exc.CompileError`` or NotImplementedError if a value has no text.
    """
    compiled = element.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    return _single_percents(connection, str(compiled))


def quoted(connection: Connection, name: str) -> str:
    """Returns a name as it is written in SQL text: in quotes if it needs them."""
    return _single_percents(connection, connection.dialect.identifier_preparer.quote(name))


def _single_percents(connection: Connection, text: str) -> str:
    """Returns the text without the doubling of percent signs, which a driver with parameters needs."""
    return text.replace("%%", "%") if connection.dialect.paramstyle in ("format", "pyformat") else text
