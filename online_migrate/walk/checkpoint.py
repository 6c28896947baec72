"""Exact text encoding of row keys, with which a walk resumes after its checkpoint. Pure."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import uuid
from collections.abc import Sequence
from typing import Any

_TAG = "$"


def encode_key(key: Sequence[Any]) -> str:
    """Returns the values of a key as JSON text; the same key always gives the same text.

    Raises :class:`TypeError` for a type that no key of the supported servers has.
    """
    return json.dumps([_encode(value) for value in key], ensure_ascii=False, separators=(",", ":"))


def decode_key(text: str) -> tuple[Any, ...]:
    """Returns the key that :func:`encode_key` was given."""
    return tuple(_decode(value) for value in json.loads(text))


def show_key(key: Sequence[Any]) -> str:
    """Returns the key formatted for display: ``42``, or ``(7, 'a')``."""
    values = [repr(value) if isinstance(value, str | bytes | int | float) else str(value) for value in key]
    return values[0] if len(values) == 1 else f"({', '.join(values)})"


def _encode(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return {_TAG: "float", "v": value.hex()}
    if isinstance(value, decimal.Decimal):
        return {_TAG: "decimal", "v": str(value)}
    if isinstance(value, uuid.UUID):
        return {_TAG: "uuid", "v": str(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return {_TAG: "bytes", "v": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime.datetime):
        return {_TAG: "datetime", "v": value.isoformat()}
    if isinstance(value, datetime.date):
        return {_TAG: "date", "v": value.isoformat()}
    if isinstance(value, datetime.time):
        return {_TAG: "time", "v": value.isoformat()}
    if isinstance(value, datetime.timedelta):
        return {_TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]}
    raise TypeError(f"a key of type {type(value).__name__} cannot be stored")


_DECODERS: dict[str, Any] = {
    "float": float.fromhex,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "bytes": base64.b64decode,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda v: datetime.timedelta(*v),
}


def _decode(value: Any) -> Any:
    return _DECODERS[value[_TAG]](value["v"]) if isinstance(value, dict) else value
