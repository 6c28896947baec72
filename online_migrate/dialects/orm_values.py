"""Expressions of SQLAlchemy that are written differently on the servers, for :mod:`online_migrate.orm`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class ExactText(sa.ColumnElement[Any]):
    """A text that is compared character by character, whatever the collation of its column.

    Under a collation that ignores case, a changed case would count as no change.
    """

    inherit_cache = True
    _traverse_internals = [("text", sa.sql.visitors.InternalTraversal.dp_clauseelement)]

    def __init__(self, text: sa.ColumnElement[Any]) -> None:
        self.text = text
        self.type = sa.LargeBinary()


@compiles(ExactText)
def _plain(element: ExactText, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.text, **options)


@compiles(ExactText, "postgresql")
def _c_collation(element: ExactText, compiler: SQLCompiler, **options: Any) -> str:
    return f'(CAST({compiler.process(element.text, **options)} AS TEXT) COLLATE "C")'


@compiles(ExactText, "sqlite")
def _binary_collation(element: ExactText, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.text, **options)} COLLATE BINARY)"


@compiles(ExactText, "mysql", "mariadb")
def _bytes(element: ExactText, compiler: SQLCompiler, **options: Any) -> str:
    # The two columns may have different character sets.
    return f"CAST(CONVERT({compiler.process(element.text, **options)} USING utf8mb4) AS BINARY)"


class AssignedValue(sa.ColumnElement[Any]):
    """The value that an UPDATE has just assigned to *column*: *value*, an expression of the old row.

    MySQL and MariaDB evaluate assignments from left to right, so a second use of *value* would see columns
    that are changed already. There the column itself is named, which has the assigned value.
    """

    inherit_cache = True
    _traverse_internals = [
        ("column", sa.sql.visitors.InternalTraversal.dp_clauseelement),
        ("value", sa.sql.visitors.InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: sa.ColumnElement[Any], value: sa.ColumnElement[Any]) -> None:
        self.column = column
        self.value = value
        self.type = column.type


@compiles(AssignedValue)
def _expression(element: AssignedValue, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.value.self_group(), **options)


@compiles(AssignedValue, "mysql", "mariadb")
def _column(element: AssignedValue, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.column, **options)


class SameValue(sa.ColumnElement[bool]):
    """Whether two expressions have the same value, or are both NULL; never NULL.

    Like ``is_not_distinct_from()``, which loses the options of the compiler on SQLite, MySQL and MariaDB: a
    constant inside of it would have no text.
    """

    inherit_cache = True
    _traverse_internals = [
        ("left", sa.sql.visitors.InternalTraversal.dp_clauseelement),
        ("right", sa.sql.visitors.InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, left: sa.ColumnElement[Any], right: sa.ColumnElement[Any]) -> None:
        self.left = left
        self.right = right
        self.type = sa.Boolean()

    def self_group(self, against: Any = None) -> SameValue:
        """It is written in parentheses, and is no column that would be compared with 1."""
        return self


@compiles(SameValue)
def _not_distinct(element: SameValue, compiler: SQLCompiler, **options: Any) -> str:
    return _compared(element, "IS NOT DISTINCT FROM", compiler, options)


@compiles(SameValue, "sqlite")
def _is(element: SameValue, compiler: SQLCompiler, **options: Any) -> str:
    return _compared(element, "IS", compiler, options)


@compiles(SameValue, "mysql", "mariadb")
def _null_safe(element: SameValue, compiler: SQLCompiler, **options: Any) -> str:
    return _compared(element, "<=>", compiler, options)


def _compared(element: SameValue, operator: str, compiler: SQLCompiler, options: dict[str, Any]) -> str:
    left, right = (compiler.process(each.self_group(), **options) for each in (element.left, element.right))
    return f"(({left}) {operator} ({right}))"
