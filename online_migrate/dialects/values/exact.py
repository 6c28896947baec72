"""A column's type under which a value is read, and written back, exactly.

The user's own expressions keep SQLAlchemy's types. These are for the statements of the engine: they read the
rows for a function of a row, and write what it gave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from online_migrate.dialects.values.carried import Carried

_INFO = "online_migrate_exact"


@dataclasses.dataclass(frozen=True)
class Codec:
    """What the driver gives <-> what a function of a row sees."""

    def select(self, column: Any) -> Any:
        """How the column is read, in SQL."""
        return column

    def decode(self, stored: Any) -> Any:
        """A natural Python value; *stored* itself if there is none."""
        return stored

    def decode_key(self, stored: Any) -> Any:
        """The same for a part of a key, which is only found again, shown, and kept in a checkpoint."""
        return self.decode(stored)

    def encode(self, value: Any) -> Any:
        """What the driver is given; *value* itself where the driver knows better."""
        return value

    def is_changed(self, value: Any) -> bool:
        """True if *value*, which remembers what was stored, was changed since it was read."""
        return False


class Exact(sa.types.UserDefinedType[Any]):
    """The type of a column, *plain* to SQLAlchemy, in the statements of the engine."""

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
                # The text of a key is what the server wrote itself.
                return value
            if isinstance(value, Carried) and hasattr(value, "stored") and not is_changed(value):
                return value.stored
            return encode(value)

        return process

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        decode = self.codec.decode_key if self.key else self.codec.decode
        return lambda stored: None if stored is None else decode(stored)


def mark(column: sa.Column[Any], codec: Codec | None) -> None:
    """Says how a reflected column is read and written exactly; None: as SQLAlchemy does it."""
    if codec is not None:
        column.info[_INFO] = codec


def exact_type(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    """The type under which a column is written."""
    codec = column.info.get(_INFO)
    return column.type if codec is None else Exact(column.type, codec)


def exact_column(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column as it is read for a function of a row."""
    codec = column.info.get(_INFO)
    return column if codec is None else sa.type_coerce(column, Exact(column.type, codec))


def exact_key(column: sa.Column[Any], codec: Codec | None) -> sa.ColumnElement[Any]:
    """A column of a key as it is read and compared."""
    return column if codec is None else sa.type_coerce(column, Exact(column.type, codec, key=True))


def column_of(expression: sa.ColumnElement[Any]) -> sa.Column[Any] | None:
    """The column that *expression* is but for its type; None if it is another expression."""
    if isinstance(expression, sa.TypeCoerce):
        expression = expression.clause
    return expression if isinstance(expression, sa.Column) else None


def plain_type(type_: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """SQLAlchemy's own type."""
    return type_.plain if isinstance(type_, Exact) else type_
