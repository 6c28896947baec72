"""JSON that is written back as it was read: with numbers that no float holds, and as the same text."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import sqlalchemy as sa

from online_migrate.dialects.values.carried import Carried, can_carry, carry
from online_migrate.dialects.values.exact import Codec


class JSONNull:
    """The document ``null``, which is a value; a column without a value is None.

    It is false, and equal to None.
    """

    def __init__(self, stored: str = "null") -> None:
        self.stored = stored

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, JSONNull)

    def __hash__(self) -> int:
        return hash(None)

    def __repr__(self) -> str:
        return "null"


def _number(text: str) -> float:
    value = float(text)
    return value if repr(value) == text else carry(value, text)


def _integer(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        # Python reads no integer of more than some thousand digits.
        return carry(float(text), text)


def loads(text: str) -> Any:
    """A document, whose numbers remember their text where a float says less."""
    return json.loads(text, parse_float=_number, parse_int=_integer)


def dumps(value: Any) -> str:
    """The text of a document."""
    return _written(value) if _remembers(value) else json.dumps(value)


def _remembers(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_remembers, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_remembers, value))
    return isinstance(value, Carried | JSONNull)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        # A key is written as the standard library writes it: true, 1 and null are keys as well.
        return f"{{{', '.join(f'{_key(key)}: {_written(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, JSONNull):
        return value.stored
    if isinstance(value, float) and isinstance(value, Carried) and hasattr(value, "stored"):
        return str(value.stored)
    return json.dumps(value)


def _key(key: Any) -> str:
    return json.dumps({key: 0})[1:-4]


@dataclasses.dataclass(frozen=True)
class JSONCodec(Codec):
    """JSON; *as_text*: the server keeps the text, not only what it says."""

    as_text: bool = False
    cast: bool = False
    """The driver has to be kept from reading it."""

    def select(self, column: Any) -> Any:
        return sa.cast(column, sa.Text()) if self.cast else column

    def decode(self, stored: Any) -> Any:
        if not isinstance(stored, str):
            return stored
        try:
            value = loads(stored)
        except (ValueError, RecursionError):
            return carry(stored, stored)
        if value is None:
            return JSONNull(stored if self.as_text else "null")
        if self.as_text and can_carry(value) and dumps(value) != stored:
            return carry(value, stored)
        return value

    def decode_key(self, stored: Any) -> Any:
        return stored

    def encode(self, value: Any) -> Any:
        return dumps(value)

    def is_changed(self, value: Any) -> bool:
        if not isinstance(value, dict | list):
            return False
        return dumps(value) != dumps(loads(value.stored))  # type: ignore[union-attr]
