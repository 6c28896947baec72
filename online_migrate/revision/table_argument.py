"""What ``table=`` of a data migration may be: a name, a ``sa.Table``, a ``sa.table(...)``, a mapped class."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

TableLike = str | sa.TableClause | type[Any]


def table_of(given: TableLike | None) -> Any:
    """The ``sa.Table`` of a mapped class; anything else as it is."""
    if isinstance(given, type):
        return getattr(getattr(given, "__mapper__", None), "local_table", given)
    return given


def name_of(given: str | sa.TableClause) -> tuple[str | None, str]:
    """(schema, name) of a table that has to be reflected."""
    if isinstance(given, str):
        schema, _, name = given.rpartition(".")
        return schema or None, name
    return given.schema, given.name


def key_of(column: Any) -> Any:
    """The key of a column in its table; an attribute of a mapped class may have another one there."""
    return getattr(getattr(column, "expression", column), "key", column)


def is_lightweight(given: Any) -> bool:
    """True for a ``sa.table(...)``, which knows neither types nor keys."""
    return isinstance(given, sa.TableClause) and not isinstance(given, sa.Table)


def on_live_table(expression: Any, given: Any, live: sa.Table) -> Any:
    """*expression* with the columns of *given*, a ``sa.table(...)``, taken from the reflected table instead.

    Raises ``KeyError`` with the name of a column that the reflected table has not.
    """
    if not is_lightweight(given) or not isinstance(expression, sa.ClauseElement):
        return expression

    def replacement(element: Any, **_: Any) -> Any:
        if element is given:
            return live
        if isinstance(element, sa.ColumnClause) and element.table is given:
            return live.c[element.name]
        return None

    return visitors.replacement_traverse(expression, {}, replacement)
