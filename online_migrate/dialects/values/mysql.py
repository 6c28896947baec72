"""Values of MySQL and MariaDB, read so that nothing of them is lost on the way."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from online_migrate.dialects.values.carried import carry, plain
from online_migrate.dialects.values.documents import JSONCodec
from online_migrate.dialects.values.exact import Codec


class Unknown(sa.types.NullType):
    """A type that SQLAlchemy does not know, with its arguments: VECTOR(3)."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        super().__init__()


class TypeNames(dict[str, Any]):
    """SQLAlchemy's types by their names. One with arguments that it does not know is an error there."""

    def __missing__(self, name: str) -> Any:
        return Unknown


@dataclasses.dataclass(frozen=True)
class MomentCodec(Codec):
    """Dates and times, as text: mysqlclient reads 0000-00-00 as NULL. What no date is comes as its text."""

    parse: Callable[[str], Any]

    def select(self, column: Any) -> Any:
        return sa.cast(column, mysql.CHAR())

    def decode(self, stored: Any) -> Any:
        try:
            return self.parse(stored)
        except (ValueError, OverflowError):
            return carry(stored, stored)

    def decode_key(self, stored: Any) -> Any:
        return plain(self.decode(stored))


_TIME = re.compile(r"(-?)(\d+):(\d\d):(\d\d)(?:\.(\d+))?")


def _time(stored: str) -> datetime.time | datetime.timedelta:
    found = _TIME.fullmatch(stored)
    if found is None:
        raise ValueError(stored)
    sign, hours, minutes, seconds, fraction = found.groups()
    microseconds = int((fraction or "").ljust(6, "0"))
    if not sign and int(hours) < 24:
        return datetime.time(int(hours), int(minutes), int(seconds), microseconds)
    value = datetime.timedelta(
        hours=int(hours), minutes=int(minutes), seconds=int(seconds), microseconds=microseconds
    )
    return -value if sign else value


class TimeCodec(MomentCodec):
    """Times: a ``time`` within a day, a ``timedelta`` beyond it. PyMySQL writes -00:30 as -01:30."""

    def encode(self, value: Any) -> Any:
        if not isinstance(value, datetime.timedelta):
            return value
        sign, size = ("-", -value) if value < datetime.timedelta(0) else ("", value)
        hours, seconds = divmod(size.seconds, 3600)
        return (
            f"{sign}{size.days * 24 + hours:02}:{seconds // 60:02}:{seconds % 60:02}.{size.microseconds:06}"
        )


class FloatCodec(Codec):
    """Numbers that the server shows with fewer digits than they have."""

    def select(self, column: Any) -> Any:
        return column + sa.literal_column("0E0")


class EnumCodec(Codec):
    """The text. MySQL says ? for some characters in a definition, so that SQLAlchemy refuses them."""


class SetCodec(Codec):
    """The same, as a set of texts."""

    def decode(self, stored: Any) -> Any:
        return set(filter(None, stored.split(",")))

    def encode(self, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, set | frozenset | list | tuple) else value


class BytesCodec(Codec):
    """Types that no driver knows."""

    def select(self, column: Any) -> Any:
        return sa.func.hex(column)

    def decode(self, stored: Any) -> Any:
        return bytes.fromhex(stored)


_BY_NAME: dict[str, Codec] = {
    "date": MomentCodec(datetime.date.fromisoformat),
    "datetime": MomentCodec(datetime.datetime.fromisoformat),
    "timestamp": MomentCodec(datetime.datetime.fromisoformat),
    "time": TimeCodec(_time),
    "float": FloatCodec(),
    "double": FloatCodec(),
    "json": JSONCodec(),
    "enum": EnumCodec(),
    "set": SetCodec(),
    "vector": BytesCodec(),
    **dict.fromkeys(
        (
            "geometry",
            "point",
            "linestring",
            "polygon",
            "multipoint",
            "multilinestring",
            "multipolygon",
            "geometrycollection",
            "geomcollection",
        ),
        BytesCodec(),
    ),
}


def codec_of(name: str) -> Codec | None:
    """How values of a type, called as in information_schema, are read and written; None: as by the driver."""
    return _BY_NAME.get(name.lower())
