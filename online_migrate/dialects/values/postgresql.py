"""Values of PostgreSQL, read as its own text where Python's type, or the driver, says less than that."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.dialects.postgresql.ranges import AbstractMultiRange, AbstractRange, MultiRange

from online_migrate.dialects.values.carried import carry, plain
from online_migrate.dialects.values.documents import JSONCodec
from online_migrate.dialects.values.exact import Codec


def codec_of(type_: sa.types.TypeEngine[Any]) -> Codec | None:
    """How values of a column of *type_* are read and written; None: the driver does it exactly."""
    if isinstance(type_, postgresql.DOMAIN):
        return codec_of(type_.data_type)
    if isinstance(type_, sa.ARRAY):
        return ArrayCodec(_item(type_.item_type))
    if isinstance(type_, AbstractMultiRange):
        return MultiRangeCodec(_bound(type_))
    if isinstance(type_, AbstractRange):
        return RangeCodec(_bound(type_))
    for kind, codec in _CODECS:
        if isinstance(type_, kind):
            return codec
    return None


class _AsText(Codec):
    """Read as text, so that no driver makes something of it."""

    def select(self, column: Any) -> Any:
        return sa.cast(column, sa.Text())


@dataclasses.dataclass(frozen=True)
class MomentCodec(_AsText):
    """Dates and times. What Python's type does not hold comes as its text: infinity, 44 BC, 24:00."""

    parse: Callable[[str], Any]
    digits: int
    """Before the first separator: Python would read other forms of a date as well."""
    separator: str

    def decode(self, stored: Any) -> Any:
        if stored[self.digits : self.digits + 1] != self.separator or stored.startswith("24:"):
            return stored
        try:
            return self.parse(stored)
        except ValueError:
            return stored

    def encode(self, value: Any) -> Any:
        if isinstance(value, datetime.datetime):
            return plain(value).isoformat(" ")
        if isinstance(value, datetime.date | datetime.time):
            return plain(value).isoformat()
        return value


_INTERVAL = re.compile(
    r"(?:(?P<years>[+-]?\d+) years? ?)?(?:(?P<months>[+-]?\d+) mons? ?)?(?:(?P<days>[+-]?\d+) days? ?)?"
    r"(?:(?P<sign>[+-]?)(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.(?P<fraction>\d+))?)?"
)


class IntervalCodec(_AsText):
    """Intervals. Months and days of 25 hours are kept, though a timedelta knows neither."""

    def decode(self, stored: Any) -> Any:
        found = _INTERVAL.fullmatch(stored)
        if found is None:
            return stored
        number = {name: int(text) for name, text in found.groupdict(default="0").items() if name != "sign"}
        microseconds = int((found["fraction"] or "0").ljust(6, "0"))
        time_ = (
            1_000_000 * (3600 * number["hours"] + 60 * number["minutes"] + number["seconds"]) + microseconds
        )
        time_ = -time_ if found["sign"] == "-" else time_
        months = 12 * number["years"] + number["months"]
        try:
            # A month has 30 days and a year 365, as in psycopg.
            days = number["days"] + 365 * int(months / 12) + 30 * (months - 12 * int(months / 12))
            value = datetime.timedelta(days=days, microseconds=time_)
        except OverflowError:
            return stored
        as_it_is = not months and 0 <= time_ < 86_400_000_000
        return value if as_it_is else carry(value, stored)

    def decode_key(self, stored: Any) -> Any:
        return stored

    def encode(self, value: Any) -> Any:
        if isinstance(value, datetime.timedelta):
            return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"
        return value


class NumberCodec(Codec):
    """Numbers, which drivers read exactly. Written as text: psycopg2 writes -0.0 as 0, infinity as NaN."""

    def decode_key(self, stored: Any) -> Any:
        # To Python NaN is not the same key as NaN.
        return stored if stored == stored else "NaN"

    def encode(self, value: Any) -> Any:
        if isinstance(value, float):
            return float.__repr__(value)
        return str(value) if isinstance(value, decimal.Decimal) else value


# --- values inside of values ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Item:
    """Elements of arrays, and bounds of ranges: text <-> value."""

    read: Callable[[str], Any]
    write: Callable[[Any], Any]


def _of(codec: Codec) -> Item:
    return Item(codec.decode, codec.encode)


def _same(value: Any) -> Any:
    return value


def _bytes(value: Any) -> Any:
    return "\\x" + bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else value


_MOMENTS = {
    sa.DateTime: MomentCodec(datetime.datetime.fromisoformat, 4, "-"),
    sa.Date: MomentCodec(datetime.date.fromisoformat, 4, "-"),
    sa.Time: MomentCodec(datetime.time.fromisoformat, 2, ":"),
}
_CODECS: list[tuple[Any, Codec]] = [
    *_MOMENTS.items(),
    ((sa.Interval, postgresql.INTERVAL), IntervalCodec()),
    (postgresql.JSONB, JSONCodec(cast=True)),
    (sa.JSON, JSONCodec(as_text=True, cast=True)),
    ((sa.Float, sa.Numeric), NumberCodec()),
]
_PLAIN: list[tuple[Any, Item]] = [
    (sa.Integer, Item(int, _same)),
    (sa.Boolean, Item(lambda text: text == "t", _same)),
    (sa.Float, Item(float, NumberCodec().encode)),
    (sa.Numeric, Item(decimal.Decimal, NumberCodec().encode)),
    (sa.LargeBinary, Item(lambda text: bytes.fromhex(text[2:]), _bytes)),
    (sa.Uuid, Item(uuid.UUID, _same)),
]


def _item(type_: sa.types.TypeEngine[Any]) -> Item:
    for kind, item in _PLAIN:
        if isinstance(type_, kind):
            return item
    codec = codec_of(type_)
    return Item(_same, _same) if codec is None else _of(codec)


def _bound(type_: sa.types.TypeEngine[Any]) -> Item:
    for kinds, bound in _BOUNDS:
        if isinstance(type_, kinds):
            return bound
    return Item(_same, _same)


_MOMENT, _DATE = _of(_MOMENTS[sa.DateTime]), _of(_MOMENTS[sa.Date])
_BOUNDS: list[tuple[Any, Item]] = [
    (
        (postgresql.INT4RANGE, postgresql.INT8RANGE, postgresql.INT4MULTIRANGE, postgresql.INT8MULTIRANGE),
        Item(int, _same),
    ),
    ((postgresql.NUMRANGE, postgresql.NUMMULTIRANGE), Item(decimal.Decimal, NumberCodec().encode)),
    ((postgresql.DATERANGE, postgresql.DATEMULTIRANGE), _DATE),
    (
        (postgresql.TSRANGE, postgresql.TSTZRANGE, postgresql.TSMULTIRANGE, postgresql.TSTZMULTIRANGE),
        _MOMENT,
    ),
]
_NEEDS_QUOTES = re.compile(r'[{}()\[\]",\\\s]|^$|^null$', re.IGNORECASE)
_ESCAPED = re.compile(r'(["\\])')


def _quoted(value: Any) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    text = str(plain(value))
    return '"' + _ESCAPED.sub(r"\\\1", text) + '"' if _NEEDS_QUOTES.search(text) else text


_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([{},])|((?:[^{},"\\]|\\.)+)', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class ArrayCodec(_AsText):
    """Arrays, of any dimensions, as lists."""

    item: Item

    def decode(self, stored: Any) -> Any:
        bounds, equals, rest = stored.partition("=")
        tokens = _TOKEN.finditer(rest if equals and bounds.startswith("[") else stored)
        next(tokens)
        try:
            value = self._list(tokens)
        except (ValueError, ArithmeticError):
            return stored
        return value if self.encode(value) == stored else carry(value, stored)

    def _list(self, tokens: Iterator[re.Match[str]]) -> list[Any]:
        found: list[Any] = []
        for token in tokens:
            quoted, sign, bare = token.groups()
            if sign == "{":
                found.append(self._list(tokens))
            elif sign == "}":
                break
            elif quoted is not None:
                found.append(self.item.read(_ESCAPE.sub(r"\1", quoted)))
            elif bare is not None:
                found.append(None if bare.upper() == "NULL" else self.item.read(_ESCAPE.sub(r"\1", bare)))
        return found

    def decode_key(self, stored: Any) -> Any:
        return stored

    def encode(self, value: Any) -> Any:
        return self._written(value) if isinstance(value, list | tuple) else value

    def _written(self, value: Any) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, list | tuple):
            return f"{{{','.join(map(self._written, value))}}}"
        stored = getattr(value, "stored", None)
        return _quoted(self.item.write(value) if stored is None else stored)

    def is_changed(self, value: Any) -> bool:
        return bool(self.encode(list(value)) != self.encode(plain(self.decode(value.stored))))


_RANGE = re.compile(r'empty|([\[(])("(?:[^"\\]|\\.|"")*"|[^,"]*),("(?:[^"\\]|\\.|"")*"|[^\])"]*)([\])])')


@dataclasses.dataclass(frozen=True)
class RangeCodec(_AsText):
    """Ranges. A bound that Python's type does not hold is its text: infinity."""

    bound: Item

    def decode(self, stored: Any) -> Any:
        found = _RANGE.fullmatch(stored)
        if found is None:
            return stored
        value = self.range_of(found)
        return value if self.encode(value) == stored else carry(value, stored)

    def range_of(self, found: re.Match[str]) -> Range[Any]:
        """What was found in a text."""
        opening, lower, upper, closing = found.groups()
        if opening is None:
            return Range(empty=True)
        bounds: Any = opening + closing
        return Range(self._read(lower), self._read(upper), bounds=bounds)

    def _read(self, text: str) -> Any:
        if not text:
            return None
        if text[0] == '"':
            text = _ESCAPE.sub(r"\1", text[1:-1].replace('""', '"'))
        return self.bound.read(text)

    def decode_key(self, stored: Any) -> Any:
        return stored

    def encode(self, value: Any) -> Any:
        if not isinstance(value, Range):
            return value
        if value.empty:
            return "empty"
        lower, upper = (
            "" if end is None else _quoted(self.bound.write(end)) for end in (value.lower, value.upper)
        )
        return f"{value.bounds[0]}{lower},{upper}{value.bounds[1]}"


class MultiRangeCodec(RangeCodec):
    """Several ranges."""

    def decode(self, stored: Any) -> Any:
        value = MultiRange([self.range_of(found) for found in _RANGE.finditer(stored)])
        return value if self.encode(value) == stored else carry(value, stored)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return f"{{{','.join(str(super(MultiRangeCodec, self).encode(one)) for one in value)}}}"

    def is_changed(self, value: Any) -> bool:
        return bool(self.encode(list(value)) != self.encode(plain(self.decode(value.stored))))
