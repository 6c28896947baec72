"""Python values that carry the stored form of a value that their Python type cannot represent.

An interval of one month is read as a timedelta of 30 days, which would be written back as another interval.
It is therefore read as an instance of a subclass of timedelta that keeps the server's text. A value that is
computed from it is a plain value.
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
    """A mixin for values whose stored form is in *stored*."""

    stored: Any
    """The stored form; missing in an instance that Python derived from another, such as by ``replace``."""


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
"""Functions that convert an instance of the base class to the carrying subclass, or the other way round."""
_CLASSES = {base: type(base.__name__, (Carried, base), {"__module__": __name__}) for base in _COPIES}
_BASES = {carrying: base for base, carrying in _CLASSES.items()}


def can_carry(value: object) -> bool:
    """Returns False for a value whose type has no carrying subclass: True, False, None, bytes."""
    return type(value) in _CLASSES


def carry(value: V, stored: object) -> V:
    """Returns *value* as an instance of the carrying subclass, with its stored form *stored*."""
    base = type(value)
    carried = _COPIES[base](_CLASSES[base], value)
    object.__setattr__(carried, "stored", stored)
    result: V = carried
    return result


def plain(value: V) -> V:
    """Returns *value* as an instance of its base class, which every driver supports."""
    base = _BASES.get(type(value))
    if base is None:
        return value
    result: V = _COPIES[base](base, value)
    return result
