"""Generated rows: a value for each column, different in each row."""

from __future__ import annotations

import datetime
import decimal
import itertools
import string
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from online_migrate import exceptions

Changed = Callable[[str, dict[str, Any]], Mapping[str, Any] | None]
"""The project's function that changes a generated row: the table's name and the values by column name. None:
the row is not written."""
_DIGITS = string.digits + string.ascii_lowercase
_START = datetime.datetime(2024, 1, 1)
MOST_MEMBERS = 12
"""The number of members of an enum that are written at most."""


class Values:
    """Makes values. *changed*: see :data:`Changed`; None: rows stay as they are generated."""

    def __init__(self, changed: Changed | None = None) -> None:
        self._numbers = itertools.count(1)
        self._changed = changed

    def next(self) -> int:
        """Returns a number that no row has."""
        return next(self._numbers)

    def change(self, table: str, row: dict[str, Any]) -> Mapping[str, Any] | None:
        """Returns the row as the project wants it; None: it is not written."""
        return row if self._changed is None else self._changed(table, dict(row))

    def value(self, column: sa.Column[Any], number: int, member: int) -> Any:
        """Returns a value for a column. *number*: of the row; *member*: which member of an enum.

        Raises :class:`~online_migrate.exceptions.NoValue` for a type that is not known.
        """
        try:
            return _value(column.type, column.name, number, member)
        except (NotImplementedError, KeyError):
            raise exceptions.NoValue(column=f"{column.table}.{column.name}", type=repr(column.type)) from None


def members(column: sa.Column[Any]) -> int:
    """Returns the number of values that rows must have, so that each member of an enum is written."""
    kind = column.type
    return min(len(kind.enums), MOST_MEMBERS) if isinstance(kind, sa.Enum) else 1


def _value(kind: sa.types.TypeEngine[Any], name: str, number: int, member: int) -> Any:
    if isinstance(kind, sa.Enum):
        choices = list(kind.enum_class) if kind.enum_class is not None else kind.enums
        return choices[member % len(choices)]
    if isinstance(kind, sa.ARRAY):
        return [_value(kind.item_type, name, number, member)]
    for known, make in _MAKERS:
        if isinstance(kind, known):
            return make(kind, name, number)
    if isinstance(kind, sa.TypeDecorator):
        return _decorated(kind, name, number, member)
    return _BY_PYTHON_TYPE[kind.python_type](name, number)


def _decorated(kind: sa.TypeDecorator[Any], name: str, number: int, member: int) -> Any:
    """Returns a value for a type of the application: of the Python type that it names, else of its base."""
    if "python_type" in vars(type(kind)):
        return _BY_PYTHON_TYPE[kind.python_type](name, number)
    return _value(kind.impl_instance, name, number, member)


def _text(name: str, number: int, length: int | None) -> str:
    """Returns a text that is different for each number, as far as *length* allows."""
    text = f"{name} {number}"
    if length is None or len(text) <= length:
        return text
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits[-length:]


def _moment(number: int) -> datetime.datetime:
    return _START + datetime.timedelta(minutes=number)


def _date_time(kind: Any, _name: str, number: int) -> datetime.datetime:
    return _moment(number).replace(tzinfo=datetime.UTC if kind.timezone else None)


def _numeric(kind: Any, _name: str, number: int) -> Any:
    whole = kind.precision is None or kind.precision > (kind.scale or 0)
    value = decimal.Decimal(number % 9 + 1) if whole else decimal.Decimal("0.5")
    return value if kind.asdecimal else float(value)


_MAKERS: tuple[tuple[type, Callable[[Any, str, int], Any]], ...] = (
    (sa.Boolean, lambda _kind, _name, number: bool(number % 2)),
    (sa.Uuid, lambda kind, _name, n: uuid.UUID(int=n) if kind.as_uuid else str(uuid.UUID(int=n))),
    (sa.Float, lambda _kind, _name, number: number + 0.5),
    (sa.Numeric, _numeric),
    (sa.Integer, lambda _kind, _name, number: number),
    (sa.DateTime, _date_time),
    (sa.Date, lambda _kind, _name, number: _START.date() + datetime.timedelta(days=number)),
    (sa.Time, lambda _kind, _name, number: _moment(number).time()),
    (sa.Interval, lambda _kind, _name, number: datetime.timedelta(minutes=number)),
    (sa.LargeBinary, lambda _kind, _name, number: number.to_bytes(4, "big")),
    (sa.JSON, lambda _kind, _name, number: {"number": number}),
    (sa.String, lambda kind, name, number: _text(name, number, kind.length)),
)
_BY_PYTHON_TYPE: dict[type, Callable[[str, int], Any]] = {
    bool: lambda _name, number: bool(number % 2),
    int: lambda _name, number: number,
    str: lambda name, number: _text(name, number, None),
    float: lambda _name, number: number + 0.5,
    bytes: lambda _name, number: number.to_bytes(4, "big"),
    dict: lambda _name, number: {"number": number},
    list: lambda _name, number: [number],
    decimal.Decimal: lambda _name, number: decimal.Decimal(number % 9 + 1),
    uuid.UUID: lambda _name, number: uuid.UUID(int=number),
    datetime.datetime: lambda _name, number: _moment(number),
    datetime.date: lambda _name, number: _START.date() + datetime.timedelta(days=number),
    datetime.timedelta: lambda _name, number: datetime.timedelta(minutes=number),
}
