"""Values of an INSERT or an UPDATE that SQLAlchemy has no expression for."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class KeptDetail(sa.ColumnElement[Any]):
    """What a column is set to when the value of a column with less detail is written.

    In an UPDATE a column that has the same value in more detail keeps it. In an INSERT there is no row yet.
    """

    inherit_cache = True
    _traverse_internals = [
        ("converted", sa.sql.visitors.InternalTraversal.dp_clauseelement),
        ("kept", sa.sql.visitors.InternalTraversal.dp_clauseelement),
    ]

    def __init__(
        self, converted: sa.ColumnElement[Any], kept: sa.ColumnElement[Any], in_python: Any = None
    ) -> None:
        self.converted = converted
        self.kept = kept
        self.in_python = in_python
        """The converted value, if it is known: an object has it until the flush."""
        self.type = converted.type


@compiles(KeptDetail)
def _by_statement(element: KeptDetail, compiler: SQLCompiler, **options: Any) -> str:
    statement: Any = compiler.stack[-1]["selectable"] if compiler.stack else None
    kept = isinstance(statement, sa.Update)
    return compiler.process(element.kept if kept else element.converted, **options)
