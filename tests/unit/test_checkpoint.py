"""Keys of rows as text: exactly, and the same text for the same key."""

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
def test_a_key_comes_back_as_it_was(key: tuple[Any, ...]) -> None:
    """Values and their types survive: a walk goes on exactly where it stopped."""
    found = decode_key(encode_key(key))
    assert found == key
    assert [type(part) for part in found] == [type(part) for part in key]


@given(_KEYS, _KEYS)
def test_two_keys_share_a_text_only_if_they_are_the_same(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    """The text is what a failed row is found by: same type and value, or another text."""
    same = [(type(part), repr(part)) for part in a] == [(type(part), repr(part)) for part in b]
    assert (encode_key(a) == encode_key(b)) == same


@given(_KEYS)
def test_the_text_is_json_on_one_line(key: tuple[Any, ...]) -> None:
    """Every server stores it, and a person can read it."""
    text = encode_key(key)
    assert isinstance(json.loads(text), list)
    assert "\n" not in text


@given(st.binary())
def test_every_kind_of_bytes_is_the_same_key(data: bytes) -> None:
    """Drivers give bytes, bytearray or memoryview for the same column."""
    assert encode_key((bytearray(data),)) == encode_key((memoryview(data),)) == encode_key((data,))


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "part", [object(), {"a": 1}, [1], {1}, Colour.RED], ids=lambda part: type(part).__name__
)
def test_what_cannot_be_kept_is_refused(part: Any) -> None:
    """A type that no key has is an error at once, not a checkpoint that cannot be read."""
    with pytest.raises(TypeError, match=type(part).__name__):
        encode_key((part,))


@pytest.mark.parametrize(
    ("key", "text"),
    [((42,), "42"), (("a",), "'a'"), ((7, "a"), "(7, 'a')"), ((datetime.date(2024, 2, 29),), "2024-02-29")],
)
def test_a_key_is_shown_for_a_person(key: tuple[Any, ...], text: str) -> None:
    """One value stands alone, several stand in brackets."""
    assert show_key(key) == text
