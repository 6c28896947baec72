"""The values that ``table=`` of a data migration accepts.

They are a name, a ``sa.Table``, a ``sa.table(...)`` and a mapped class.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

TableLike = str | sa.TableClause | type[Any]


def table_of(given: TableLike | None) -> Any:
    """Returns the ``sa.Table`` of a mapped class; any other value unchanged."""
    if isinstance(given, type):
        return getattr(getattr(given, "__mapper__", None), "local_table", given)
    return given


def name_of(given: str | sa.TableClause) -> tuple[str | None, str]:
    """Returns (schema, name) of a table that must be reflected."""
    if isinstance(given, str):
        schema, _, name = given.rpartition(".")
        return schema or None, name
    return given.schema, given.name


def key_of(column: Any) -> Any:
    """Returns the key of a column in its table; the key of a mapped class's attribute may differ from it."""
    return getattr(getattr(column, "expression", column), "key", column)


def is_lightweight(given: Any) -> bool:
    """Returns True for a ``sa.table(...)``, which has neither types nor keys."""
    return isinstance(given, sa.TableClause) and not isinstance(given, sa.Table)


def on_live_table(expression: Any, given: Any, live: sa.Table) -> Any:
    """Returns *expression* with the columns of *given*, a ``sa.table(...)``, replaced by those of *live*.

    *live*: the reflected table. An expression of any other *given* is returned unchanged. Raises ``KeyError``
    with the name of a column that the reflected table does not have.
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
