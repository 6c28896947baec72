"""Hides the bookkeeping tables from a script that reflects the database.

A script may list all tables to do something with each: nova's first one creates a shadow table of each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from online_migrate import state

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@contextlib.contextmanager
def engine_tables_hidden(connection: Connection) -> Iterator[None]:
    """Leaves the bookkeeping tables out of the names that SQLAlchemy's inspector returns.

    It holds for every connection of the same engine while the block lasts.
    """
    dialect: Any = connection.dialect
    table_names = dialect.get_table_names

    def without_ours(*arguments: Any, **keywords: Any) -> list[str]:
        return [name for name in table_names(*arguments, **keywords) if name not in state.TABLES]

    dialect.get_table_names = without_ours
    try:
        yield
    finally:
        del dialect.get_table_names
