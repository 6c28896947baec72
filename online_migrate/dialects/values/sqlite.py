"""Values of SQLite, where a column holds a value of any storage class, whatever its type is called.

A value that is not what SQLAlchemy would have stored in such a column is read as it is; one that is, in
another form, remembers that form.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from online_migrate.dialects.values.carried import carry
from online_migrate.dialects.values.documents import JSONCodec
from online_migrate.dialects.values.exact import Codec


@dataclasses.dataclass(frozen=True)
class MomentCodec(Codec):
    """Dates and times, which are texts here."""

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
            # As SQLAlchemy: a text that was made by a program may be no date at all.
            raise TypeError(f"{value!r} is no date or time")
        return self.write(value)


def _moment(value: datetime.date) -> str:
    """As SQLAlchemy writes it: without its zone."""
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


def _date(value: datetime.date) -> str:
    return datetime.date(value.year, value.month, value.day).isoformat()


def _time(value: Any) -> str:
    return str(value.replace(tzinfo=None).isoformat("microseconds"))


@dataclasses.dataclass(frozen=True)
class NumberCodec(Codec):
    """Numbers with a scale: Decimals that remember the float or the integer that is stored."""

    scale: int

    def decode(self, stored: Any) -> Any:
        if not isinstance(stored, int | float):
            return stored
        # As SQLAlchemy reads it, unless that is another number.
        text = f"{stored:.{self.scale}f}"
        return carry(decimal.Decimal(text if float(text) == stored else repr(stored)), stored)

    def encode(self, value: Any) -> Any:
        return float(value) if isinstance(value, decimal.Decimal) else value


class BooleanCodec(Codec):
    """0 and 1; anything else is no boolean."""

    def decode(self, stored: Any) -> Any:
        return bool(stored) if isinstance(stored, int) and stored in (0, 1) else stored

    def encode(self, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value


class DocumentCodec(JSONCodec):
    """JSON in a text. The name JSON is a numeric one: numbers are stored as such."""

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
    """How values of a column of *type_* are read and written; None: as they are stored."""
    if isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float):
        return NumberCodec(type_._effective_decimal_return_scale)
    return next((codec for kind, codec in _CODECS if isinstance(type_, kind)), None)
