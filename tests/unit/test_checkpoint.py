"""Row keys are encoded as text: without loss, and as the same text for the same key."""

from __future__ import annotations

import datetime
import enum
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.walk.checkpoint import decode_key, encode_key, show_key

_ZONES = st.sampled_from(
    [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30, seconds=-7))]
)
_PARTS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.binary(),
    st.datetimes(timezones=_ZONES),
    st.dates(),
    st.times(),
    st.timedeltas(),
)
_KEYS = st.lists(_PARTS, min_size=1, max_size=4).map(tuple)


@given(_KEYS)
def test_key_round_trip(key: tuple[Any, ...]) -> None:
    """Values and their types are preserved: a walk continues exactly where it stopped."""
    found = decode_key(encode_key(key))
    assert found == key
    assert [type(part) for part in found] == [type(part) for part in key]


@given(_KEYS, _KEYS)
def test_encoded_keys_are_equal_only_for_equal_keys(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    """A failed row is found by this text: equal type and value give the same text, others a different one."""
    same = [(type(part), repr(part)) for part in a] == [(type(part), repr(part)) for part in b]
    assert (encode_key(a) == encode_key(b)) == same


@given(_KEYS)
def test_encoded_key_is_json_on_one_line(key: tuple[Any, ...]) -> None:
    """Every server can store it, and it is readable."""
    text = encode_key(key)
    assert isinstance(json.loads(text), list)
    assert "\n" not in text


@given(st.binary())
def test_bytes_types_encode_to_same_key(data: bytes) -> None:
    """Drivers return bytes, bytearray or memoryview for the same column."""
    assert encode_key((bytearray(data),)) == encode_key((memoryview(data),)) == encode_key((data,))


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "part", [object(), {"a": 1}, [1], {1}, Colour.RED], ids=lambda part: type(part).__name__
)
def test_unsupported_key_type_is_refused(part: Any) -> None:
    """A type that no key has raises immediately, instead of giving a checkpoint that cannot be read."""
    with pytest.raises(TypeError, match=type(part).__name__):
        encode_key((part,))


@pytest.mark.parametrize(
    ("key", "text"),
    [((42,), "42"), (("a",), "'a'"), ((7, "a"), "(7, 'a')"), ((datetime.date(2024, 2, 29),), "2024-02-29")],
)
def test_show_key(key: tuple[Any, ...], text: str) -> None:
    """One value is shown as it is, several are shown in parentheses."""
    assert show_key(key) == text
