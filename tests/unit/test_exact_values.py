"""Values that remember what is stored: the text that was read is written, unless the value was changed."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Range

from online_migrate.dialects.values import mysql, sqlite
from online_migrate.dialects.values.carried import Carried, carry, plain
from online_migrate.dialects.values.documents import JSONCodec, dumps, loads
from online_migrate.dialects.values.exact import Codec, Exact
from online_migrate.dialects.values.postgresql import codec_of


def _there_and_back(codec: Codec, stored: Any) -> tuple[Any, Any]:
    """The value that a function sees, and what is written if it gives that back."""
    type_ = Exact(sa.Text(), codec)
    value = type_.result_processor(sa.create_mock_engine("postgresql://", print).dialect, None)(stored)
    return value, type_.bind_processor(sa.create_mock_engine("postgresql://", print).dialect)(value)


NATURAL: list[tuple[Codec | None, str, Any]] = [
    (codec_of(sa.DateTime()), "2024-02-29 12:00:00.000001", datetime.datetime(2024, 2, 29, 12, 0, 0, 1)),
    (codec_of(sa.DateTime()), "infinity", "infinity"),
    (codec_of(sa.DateTime()), "0044-03-15 00:00:00 BC", "0044-03-15 00:00:00 BC"),
    (codec_of(sa.DateTime()), "12345-03-15 00:00:00", "12345-03-15 00:00:00"),
    (codec_of(sa.Date()), "2024-02-29", datetime.date(2024, 2, 29)),
    (codec_of(sa.Date()), "12345-06-07", "12345-06-07"),
    (codec_of(sa.Time()), "24:00:00", "24:00:00"),
    (codec_of(sa.Interval()), "1 mon", datetime.timedelta(days=30)),
    (codec_of(sa.Interval()), "-00:00:01", datetime.timedelta(seconds=-1)),
    (codec_of(sa.Interval()), "178000000 years", "178000000 years"),
    (codec_of(postgresql.JSONB()), '{"a": 1.10}', {"a": 1.1}),
    (codec_of(postgresql.JSON()), ' {"a":1,  "a":2}', {"a": 2}),
    (codec_of(postgresql.JSON()), "null", None),
    (codec_of(sa.ARRAY(sa.Integer())), "[0:1]={7,NULL}", [7, None]),
    (codec_of(sa.ARRAY(sa.Text())), '{{"a b","NULL"},{"\\\\",NULL}}', [["a b", "NULL"], ["\\", None]]),
    (codec_of(sa.ARRAY(postgresql.JSONB())), '{"{\\"a\\": 1.10}"}', [{"a": 1.1}]),
    (codec_of(postgresql.TSRANGE()), "[,infinity)", Range(None, "infinity")),
    (codec_of(postgresql.INT4MULTIRANGE()), "{[1,3),[5,7)}", [Range(1, 3), Range(5, 7)]),
    (mysql.codec_of("time"), "23:59:59.5", datetime.time(23, 59, 59, 500_000)),
    (mysql.codec_of("time"), "-838:59:59", -datetime.timedelta(hours=838, minutes=59, seconds=59)),
    (mysql.codec_of("date"), "2024-00-00", "2024-00-00"),
    (sqlite.codec_of(sa.DateTime()), "2024-01-01 10:00:00", datetime.datetime(2024, 1, 1, 10)),
    (sqlite.codec_of(sa.DateTime()), "yesterday", "yesterday"),
    (sqlite.codec_of(sa.Numeric(10, 2)), 1.5, decimal.Decimal("1.50")),
    (sqlite.codec_of(sa.Numeric(10, 2)), 0.123456, decimal.Decimal("0.123456")),
    (sqlite.codec_of(sa.JSON()), "{broken", "{broken"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "stored", "value"), NATURAL)
def test_a_function_sees_a_natural_value_that_is_written_as_it_was_read(
    codec: Codec, stored: Any, value: Any
) -> None:
    """It is an instance of the usual class; a text where Python has no such value."""
    seen, written = _there_and_back(codec, stored)
    assert seen == value
    assert value is None or isinstance(seen, type(value))
    if stored == "-838:59:59":
        # The same to the server, with the digits of its fraction.
        written = written.removesuffix(".000000")
    assert written in (stored, value)


@pytest.mark.parametrize(
    ("codec", "stored", "change", "written"),
    [
        (codec_of(sa.ARRAY(sa.Integer())), "[0:1]={7,8}", lambda v: v.append(9), "{7,8,9}"),
        (
            codec_of(postgresql.JSON()),
            '{"a": 1.10, "a":2.10}',
            lambda v: v.update(b=1),
            '{"a": 2.10, "b": 1}',
        ),
        (codec_of(postgresql.INT4MULTIRANGE()), "{}", lambda v: v.append(Range(1, 3)), "{[1,3)}"),
    ],
)
def test_a_value_that_was_changed_is_written_as_it_is_now(
    codec: Codec, stored: str, change: Any, written: str
) -> None:
    """Lists and documents can be changed in place."""
    type_ = Exact(sa.Text(), codec)
    dialect = sa.create_mock_engine("postgresql://", print).dialect
    value = type_.result_processor(dialect, None)(stored)
    change(value)
    assert type_.bind_processor(dialect)(value) == written


def test_a_value_that_was_computed_remembers_nothing() -> None:
    """A month and a day are 31 days, whatever a month was."""
    type_ = Exact(sa.Text(), codec_of(sa.Interval()) or Codec())
    dialect = sa.create_mock_engine("postgresql://", print).dialect
    month = type_.result_processor(dialect, None)("1 mon")
    for value in (month + datetime.timedelta(days=1), datetime.timedelta(days=31)):
        assert type_.bind_processor(dialect)(value) == "31 days 0.000000 seconds"
    moment = carry(datetime.datetime(2024, 1, 2), "2024-01-02")
    assert type_.bind_processor(dialect)(moment.replace(day=3)) == moment.replace(day=3)


_ZONES = st.just(datetime.UTC) | st.none()


@given(
    st.one_of(
        st.datetimes(timezones=_ZONES), st.dates(), st.times(), st.timedeltas(), st.text(), st.integers(),
        st.floats(allow_nan=False), st.decimals(allow_nan=False), st.lists(st.integers()),
        st.dictionaries(st.text(), st.integers()),
    )
)  # fmt: skip
def test_what_remembers_is_equal_to_what_it_stands_for(value: Any) -> None:
    """And every driver can be given the plain one."""
    carried = carry(value, "stored")
    assert carried == value
    assert isinstance(carried, Carried)
    assert isinstance(carried, type(value))
    assert (plain(carried), type(plain(carried))) == (value, type(value))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(_JSON)
def test_documents_are_written_as_the_standard_library_writes_them(value: Any) -> None:
    """With numbers as they were read."""
    assert dumps(value) == json.dumps(value)
    assert dumps(loads(json.dumps(value))) == json.dumps(value)
    assert dumps(loads(f"[{json.dumps(value)}, 1.10, 1e400]")) == f"[{json.dumps(value)}, 1.10, 1e400]"


def test_no_document_is_not_the_document_null() -> None:
    """Both are false and equal to None; only the first is None."""
    seen, written = _there_and_back(JSONCodec(), "null")
    assert seen is not None
    assert not seen
    assert seen == None  # noqa: E711 - that is the point
    assert written == "null"
    assert _there_and_back(JSONCodec(), None) == (None, None)
