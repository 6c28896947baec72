"""Column types under which a value is read and written back exactly.

User expressions keep SQLAlchemy's types. The types of this module are used in the statements of the engine
that read the rows for a row function and write the values that the function returned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from online_migrate.values.carried import Carried

_INFO = "online_migrate_exact"


@dataclasses.dataclass(frozen=True)
class Codec:
    """Converts between the driver's values and the values that are passed to a row function."""

    def select(self, column: Any) -> Any:
        """Returns the SQL expression with which the column is read."""
        return column

    def decode(self, stored: Any) -> Any:
        """Returns the natural Python value for *stored*; *stored* itself if there is none."""
        return stored

    def decode_key(self, stored: Any) -> Any:
        """Returns the value of a part of a key, which is only used in queries, messages and checkpoints."""
        return self.decode(stored)

    def encode(self, value: Any) -> Any:
        """Returns the value that is passed to the driver; *value* itself where the driver converts it."""
        return value

    def is_changed(self, value: Any) -> bool:
        """Returns True if *value*, which carries its stored form, was changed after it was read."""
        return False


class Exact(sa.types.UserDefinedType[Any]):
    """The type of a column in the statements of the engine; *plain*: SQLAlchemy's type of the column."""

    cache_ok = True

    def __init__(self, plain: sa.types.TypeEngine[Any], codec: Codec, key: bool = False) -> None:
        self.plain = plain
        self.codec = codec
        self.key = key

    def get_col_spec(self, **_options: Any) -> str:
        return ""

    def column_expression(self, colexpr: Any) -> Any:
        selected = self.codec.select(colexpr)
        return colexpr if selected is colexpr else sa.type_coerce(selected, self)

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        encode, is_changed, is_key = self.codec.encode, self.codec.is_changed, self.key

        def process(value: Any) -> Any:
            if value is None or (is_key and isinstance(value, str)):
                # The text of a key was produced by the server itself.
                return value
            if isinstance(value, Carried) and hasattr(value, "stored") and not is_changed(value):
                return value.stored
            return encode(value)

        return process

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        decode = self.codec.decode_key if self.key else self.codec.decode
        return lambda stored: None if stored is None else decode(stored)


def mark(column: sa.Column[Any], codec: Codec | None) -> None:
    """Sets the codec with which a reflected column is read and written exactly; None: SQLAlchemy's type."""
    if codec is not None:
        column.info[_INFO] = codec


def exact_type(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    """Returns the type under which a column is written."""
    codec = column.info.get(_INFO)
    return column.type if codec is None else Exact(column.type, codec)


def exact_column(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Returns the expression with which a column is read for a row function."""
    codec = column.info.get(_INFO)
    return column if codec is None else sa.type_coerce(column, Exact(column.type, codec))


def exact_key(column: sa.Column[Any], codec: Codec | None) -> sa.ColumnElement[Any]:
    """Returns the expression with which a key column is read and compared."""
    return column if codec is None else sa.type_coerce(column, Exact(column.type, codec, key=True))


def column_of(expression: sa.ColumnElement[Any]) -> sa.Column[Any] | None:
    """Returns the column of which *expression* is at most a type coercion; None for any other expression."""
    if isinstance(expression, sa.TypeCoerce):
        expression = expression.clause
    return expression if isinstance(expression, sa.Column) else None
