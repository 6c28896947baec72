"""Codecs for SQLite, where a column stores a value of any storage class, whatever its declared type is.

A value that SQLAlchemy would not have stored in such a column is returned as it is stored. A value that
SQLAlchemy would have stored in another form carries its stored form.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from online_migrate.values.carried import carry
from online_migrate.values.documents import JSONCodec
from online_migrate.values.exact import Codec


@dataclasses.dataclass(frozen=True)
class MomentCodec(Codec):
    """Dates and times, which SQLite stores as text."""

    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    digits: int
    separator: str

    def decode(self, stored: Any) -> Any:
        if isinstance(stored, bytes):
            return stored
        if not isinstance(stored, str) or stored[self.digits : self.digits + 1] != self.separator:
            return carry(stored, stored)
        try:
            value = self.parse(stored)
        except ValueError:
            return carry(stored, stored)
        return value if self.write(value) == stored else carry(value, stored)

    def encode(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, datetime.date | datetime.time):
            # As in SQLAlchemy: a text that a program produced may not be a date.
            raise TypeError(f"{value!r} is not a date or time")
        return self.write(value)


def _moment(value: datetime.date) -> str:
    """Returns the text that SQLAlchemy stores: without the time zone."""
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


def _date(value: datetime.date) -> str:
    return datetime.date(value.year, value.month, value.day).isoformat()


def _time(value: Any) -> str:
    return str(value.replace(tzinfo=None).isoformat("microseconds"))


@dataclasses.dataclass(frozen=True)
class NumberCodec(Codec):
    """Numbers with a scale, as Decimals that carry the stored float or integer."""

    scale: int

    def decode(self, stored: Any) -> Any:
        if not isinstance(stored, int | float):
            return stored
        # As SQLAlchemy reads it, unless rounding to the scale gives another number.
        text = f"{stored:.{self.scale}f}"
        return carry(decimal.Decimal(text if float(text) == stored else repr(stored)), stored)

    def encode(self, value: Any) -> Any:
        return float(value) if isinstance(value, decimal.Decimal) else value


class BooleanCodec(Codec):
    """Booleans, stored as 0 and 1; any other value is returned as it is stored."""

    def decode(self, stored: Any) -> Any:
        return bool(stored) if isinstance(stored, int) and stored in (0, 1) else stored

    def encode(self, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value


class DocumentCodec(JSONCodec):
    """JSON, stored as text. The declared type JSON has NUMERIC affinity: a number is stored as a number."""

    def encode(self, value: Any) -> Any:
        return value if isinstance(value, bytes) else super().encode(value)


_CODECS: list[tuple[Any, Codec]] = [
    (sa.DateTime, MomentCodec(datetime.datetime.fromisoformat, _moment, 4, "-")),
    (sa.Date, MomentCodec(datetime.date.fromisoformat, _date, 4, "-")),
    (sa.Time, MomentCodec(datetime.time.fromisoformat, _time, 2, ":")),
    (sa.JSON, DocumentCodec(as_text=True)),
    (sa.Boolean, BooleanCodec()),
    (sa.Float, Codec()),
    (sa.LargeBinary, Codec()),
]


def codec_of(type_: sa.types.TypeEngine[Any]) -> Codec | None:
    """Returns the codec for a column of *type_*; None: values are read and written as they are stored."""
    if isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float):
        return NumberCodec(type_._effective_decimal_return_scale)
    return next((codec for kind, codec in _CODECS if isinstance(type_, kind)), None)
