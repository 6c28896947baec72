"""Python values that remember what the server stores, because they do not say it by themselves.

An interval of one month is a timedelta of 30 days, which would be written back as another interval. So it is
read as an instance of a subclass of timedelta that keeps the text of the server. A value that was computed
from it is a plain one.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.dialects.postgresql.ranges import MultiRange

V = TypeVar("V")


class Carried:
    """A mixin: the value that the server stores is in *stored*."""

    stored: Any
    """Missing in an instance that Python made of another one, by ``replace`` for example."""


def _moment(cls: Any, value: Any) -> Any:
    return cls(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
        fold=value.fold,
    )


def _time(cls: Any, value: Any) -> Any:
    return cls(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)


def _range(cls: Any, value: Any) -> Any:
    return cls(value.lower, value.upper, bounds=value.bounds, empty=value.empty)


_COPIES: dict[type, Callable[[Any, Any], Any]] = {
    datetime.datetime: _moment,
    datetime.date: lambda cls, value: cls(value.year, value.month, value.day),
    datetime.time: _time,
    datetime.timedelta: lambda cls, value: cls(value.days, value.seconds, value.microseconds),
    Range: _range,
    **{base: lambda cls, value: cls(value) for base in (str, int, float, decimal.Decimal, dict, list)},
    MultiRange: lambda cls, value: cls(value),
}
"""How an instance of a class is made of one of its base class, or the other way round."""
_CLASSES = {base: type(base.__name__, (Carried, base), {"__module__": __name__}) for base in _COPIES}
_BASES = {carrying: base for base, carrying in _CLASSES.items()}


def can_carry(value: object) -> bool:
    """False for what has no subclass: True, False, None, bytes."""
    return type(value) in _CLASSES


def carry(value: V, stored: object) -> V:
    """*value*, which remembers what is *stored*."""
    base = type(value)
    carried = _COPIES[base](_CLASSES[base], value)
    object.__setattr__(carried, "stored", stored)
    result: V = carried
    return result


def plain(value: V) -> V:
    """*value* as an instance of the class that it stands for, which every driver knows."""
    base = _BASES.get(type(value))
    if base is None:
        return value
    result: V = _COPIES[base](base, value)
    return result
