"""A row function that returns its input values leaves every bit of them unchanged, whatever the type."""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Did not recognize type:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning"),
]

Texts = st.SearchStrategy[str]
"""Strategies for values as SQL literals of an INSERT."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table: its type, and the values stored in it."""

    type: str
    values: Texts
    nullable: bool = True


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _standard(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _some(*values: str) -> Texts:
    return st.sampled_from(values)


# --- numbers -------------------------------------------------------------------------------------

_EDGES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1 / 3, 1e-12, 0.1]
DOUBLES = st.one_of(st.sampled_from(_EDGES), st.floats(allow_nan=False, allow_infinity=False))
SINGLES = st.one_of(
    st.sampled_from([0.1, -0.0, 1e-45, 3.4028234663852886e38, 1 / 3]).map(
        lambda value: struct.unpack("f", struct.pack("f", value))[0]
    ),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def _digits(before: int, after: int) -> Texts:
    """Decimals with exactly *before* and *after* digits."""
    whole = st.integers(0, 10**before - 1)
    part = st.integers(0, 10**after - 1)
    return st.builds(
        lambda sign, w, p: f"{sign}{w}.{p:0{after}}" if after else f"{sign}{w}", _some("", "-"), whole, part
    )


def _integers(bits: int, *, signed: bool = True) -> Texts:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.sampled_from([low, high, 0, 1]), st.integers(low, high)).map(str)


# --- text, bytes, documents ----------------------------------------------------------------------

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(_CHARACTERS, max_size=20)
BYTES = st.binary(max_size=20)
NUMBERS = st.one_of(
    _some(
        "1", "1.0", "1.10", "0", "-0", "-0.0", "1e5", "1E+2", "0.1234567890123456789", "123456789012345678"
    ),
    _integers(64),
    DOUBLES.map(repr),
)
_HUGE = _some("1e400", "-1e400", "9" * 5_000, "18446744073709551616", "1e-400", "1.0e0")


def _documents(numbers: Texts, *, keys: Texts | None = None, space: Texts | None = None) -> Texts:
    """JSON texts, also with duplicate keys."""
    gap = st.just("") if space is None else space
    keys = keys if keys is not None else _some('"a"', '"b"', '""', '"\\u00fc"', '"\\\\"', '"%s"', '":x"')
    leaves = st.one_of(
        numbers, _some("null", "true", "false", '""', '"\\u0041\\n"', '"🐘"', '"\\/"', '"%(x)s :x \'"')
    )

    def inner(children: Texts) -> Texts:
        lists = st.builds(lambda g, items: f"[{g}{f',{g}'.join(items)}]", gap, st.lists(children, max_size=3))
        pairs = st.lists(st.tuples(keys, children), max_size=4)
        objects = st.builds(
            lambda g, found: "{" + f",{g}".join(f"{k}:{g}{v}" for k, v in found) + "}", gap, pairs
        )
        return st.one_of(lists, objects)

    return st.recursive(leaves, inner, max_leaves=6)


# --- dates and times -----------------------------------------------------------------------------

_YEAR = st.one_of(st.sampled_from([1000, 1582, 1900, 2024, 9999]), st.integers(1000, 9999))
DATE = st.builds(lambda y, m, d: f"{y:04}-{m:02}-{d:02}", _YEAR, st.integers(1, 12), st.integers(1, 28))
CLOCK = st.builds(
    lambda h, m, s, f: f"{h:02}:{m:02}:{s:02}.{f:06}",
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
    st.one_of(st.sampled_from([0, 1, 999_999, 500_000]), st.integers(0, 999_999)),
)
MOMENT = st.builds(lambda d, t: f"{d} {t}", DATE, CLOCK)
ZONE = _some("+00", "-03:30", "+05:45", "+14", "-12:00:01")


# --- MySQL and MariaDB ---------------------------------------------------------------------------

_LONG_TIME = st.builds(
    lambda sign, h, m, s, f: f"{sign}{h}:{m:02}:{s:02}.{f:06}",
    _some("", "-"),
    st.integers(0, 837),
    st.integers(0, 59),
    st.integers(0, 59),
    st.integers(0, 999_999),
)
_COORDINATE = st.floats(-180, 180).map(repr)
_POINT = st.builds(lambda x, y: f"ST_GeomFromText('POINT({x} {y})')", _COORDINATE, _COORDINATE)
_LINE = st.builds(lambda a, b, c, d: f"ST_GeomFromText('LINESTRING({a} {b}, {c} {d})')", *[_COORDINATE] * 4)


def _hex(size: int, minimum: int = 0) -> Texts:
    return st.binary(min_size=minimum, max_size=size).map(lambda value: f"X'{value.hex()}'")


_FAMILY = {
    "double": Column(
        "DOUBLE", DOUBLES.map(lambda value: f"{value!r}" + ("" if "e" in repr(value) else "e0"))
    ),
    "single": Column("FLOAT", SINGLES.map(lambda value: f"{value!r}" + ("" if "e" in repr(value) else "e0"))),
    "fixed_double": Column("DOUBLE(30, 10)", _digits(20, 10)),
    "whole": Column("DECIMAL(65, 0)", _digits(65, 0)),
    "half": Column("DECIMAL(65, 30)", _digits(35, 30)),
    "part": Column("DECIMAL(30, 30)", _digits(1, 30).map(lambda text: re.sub(r"\d\.", "0.", text))),
    "large": Column("BIGINT", _integers(64)),
    "unsigned": Column("BIGINT UNSIGNED", _integers(64, signed=False)),
    "tiny": Column("TINYINT", _integers(8)),
    "flag": Column("TINYINT(1)", _integers(8)),
    "bit1": Column("BIT(1)", _integers(1, signed=False)),
    "bit13": Column("BIT(13)", _integers(13, signed=False)),
    "bit64": Column("BIT(64)", _integers(64, signed=False)),
    "members": Column("SET('a', 'b c', '%s', '🐘')", _some("''", "'a'", "'a,b c,🐘'", "'%s,a'", "15")),
    "choice": Column("ENUM('a', 'b''c', '%s', '', '🐘')", _some("'a'", "'b''c'", "'%s'", "''", "'🐘'")),
    "document": Column("JSON", _documents(NUMBERS).map(_literal)),
    "bytes": Column("BLOB", _hex(30)),
    "padded_bytes": Column("BINARY(9)", _hex(9)),
    "some_bytes": Column("VARBINARY(20)", _hex(20)),
    "text": Column("TEXT", TEXT.map(_literal)),
    "padded": Column("CHAR(20)", TEXT.map(_literal)),
    "varied": Column("VARCHAR(24)", TEXT.map(lambda text: _literal(f" {text}  "))),
    "latin": Column("VARCHAR(20) CHARACTER SET latin1", st.text("aü\x81ÿ€ %'", max_size=20).map(_literal)),
    "binary_text": Column("VARCHAR(80) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", TEXT.map(_literal)),
    "day": Column("DATE", st.one_of(DATE, _some("0000-00-00", "2024-00-00", "0001-01-01")).map(_literal)),
    "moment": Column(
        "DATETIME(6)", st.one_of(MOMENT, _some("0000-00-00 00:00:00", "2024-02-00 01:02:03")).map(_literal)
    ),
    "second": Column("DATETIME", DATE.map(lambda day: f"'{day} 01:02:03'")),
    "stamp": Column(
        "TIMESTAMP(6) NULL", st.builds(lambda y, t: f"'{y}-06-07 {t}'", st.integers(1971, 2037), CLOCK)
    ),
    "changed": Column(
        "TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP", _some("'2020-01-02 03:04:05'", "'0000-00-00'")
    ),
    "clock": Column(
        "TIME(6)", st.one_of(_LONG_TIME, CLOCK, _some("838:59:59", "-838:59:59", "-00:30:00")).map(_literal)
    ),
    "year": Column("YEAR", _some("0", "1901", "2155", "'0000'", "2024")),
    "point": Column("POINT", _POINT),
    "shape": Column("GEOMETRY", st.one_of(_POINT, _LINE)),
}


def _array(items: list[str]) -> str:
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in escaped) + "}"


_POSTGRESQL = {
    "double": Column(
        "float8", st.one_of(DOUBLES.map(repr), _some("NaN", "Infinity", "-Infinity")).map(_standard)
    ),
    "single": Column(
        "float4", st.one_of(SINGLES.map(repr), _some("NaN", "Infinity", "-Infinity")).map(_standard)
    ),
    "number": Column(
        "numeric",
        st.one_of(
            _digits(60, 30), NUMBERS, _some("NaN", "Infinity", "-Infinity", "1e5000", "1e-5000", "1.100")
        ).map(_standard),
    ),
    "fixed": Column("numeric(65, 20)", _digits(45, 20)),
    "large": Column("bigint", _integers(64)),
    "flag": Column("boolean", _some("true", "false")),
    "text": Column("text", TEXT.map(_standard)),
    "padded": Column("char(20)", TEXT.map(_standard)),
    "bytes": Column("bytea", BYTES.map(lambda value: f"'\\x{value.hex()}'")),
    "document": Column(
        "json", _documents(st.one_of(NUMBERS, _HUGE), space=_some("", " ", "\n\t ")).map(_standard)
    ),
    "binary_document": Column("jsonb", _documents(st.one_of(NUMBERS, _HUGE)).map(_standard)),
    "day": Column(
        "date",
        st.one_of(
            DATE,
            _some("infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "10000-01-01", "0001-01-01"),
        ).map(_standard),
    ),
    "moment": Column(
        "timestamp",
        st.one_of(
            MOMENT, _some("infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999")
        ).map(_standard),
    ),
    "zoned": Column(
        "timestamptz",
        st.one_of(
            st.builds(lambda m, z: m + z, MOMENT, ZONE),
            _some("infinity", "-infinity", "0001-01-01 00:00:00+14", "12345-01-01"),
        ).map(_standard),
    ),
    "clock": Column("time", st.one_of(CLOCK, _some("24:00:00")).map(_standard)),
    "zoned_clock": Column(
        "timetz", st.one_of(st.builds(lambda t, z: t + z, CLOCK, ZONE), _some("24:00:00-02")).map(_standard)
    ),
    "interval": Column(
        "interval",
        st.one_of(
            st.builds(
                lambda m, d, u: f"{m} mons {d} days {u} microseconds",
                st.integers(-30, 30),
                st.integers(-40, 40),
                st.integers(-(10**12), 10**12),
            ),
            _some(
                "1 mon",
                "30 days",
                "24:00:00",
                "1 day",
                "25:00:00",
                "-1 day +25:00:00",
                "178000000 years",
                "1 year -1 mon",
                "0",
            ),
        ).map(_standard),
    ),
    "integers": Column(
        "int[]", _some("{}", "{1,NULL,-3}", "{{1,2},{3,NULL}}", "[0:1]={7,8}", "{{{1}},{{2}}}").map(_standard)
    ),
    "texts": Column(
        "text[]",
        st.one_of(
            _some("{}", '{"","NULL",NULL,"a,b"}', '{{"a b","\\\\"},{"{}","\\""}}', "{null,nil}"),
            st.lists(TEXT, min_size=1, max_size=3).map(_array),
        ).map(_standard),
    ),
    "moments": Column(
        "timestamptz[]", _some('{"2024-01-01 00:00:00.000001+02",infinity,NULL}', "{}").map(_standard)
    ),
    "doubles": Column("float8[]", _some("{NaN,-0,Infinity,5e-324,0.3333333333333333}").map(_standard)),
    "numbers": Column("numeric[]", _some("{1.10,NaN,Infinity,1e-30,NULL}").map(_standard)),
    "documents": Column("jsonb[]", _some('{"{\\"a\\": 1.10}","null",NULL}').map(_standard)),
    "chunks": Column("bytea[]", _some('{"\\\\x00ff",NULL,"\\\\x"}').map(_standard)),
    "moods": Column("mood[]", _some('{"b c",NULL,"a"}').map(_standard)),
    "mood": Column("mood", _some("a", "b c", "%s", "").map(_standard)),
    "short": Column("short", _some("a", "", "x y").map(_standard)),
    "late": Column("late", _some("infinity", "2024-01-01", "0044-03-15 BC").map(_standard)),
    "pair": Column("pair", _some('(1,"a b")', "(,)", '(2,"""q"" \\\\")').map(_standard)),
    "pairs": Column("pair[]", _some('{"(1,\\"a b\\")",NULL}').map(_standard)),
    "int_range": Column("int4range", _some("empty", "[1,3)", "(,5)", "(,)", "[7,)").map(_standard)),
    "number_range": Column(
        "numrange", _some("empty", "[1.0,2.00]", "(-Infinity,1]", "[1e-20,NaN)").map(_standard)
    ),
    "day_range": Column(
        "daterange",
        _some("[2024-01-01,infinity]", "[2024-01-01,infinity)", "(,10000-01-01)", "[0044-03-15 BC,)").map(
            _standard
        ),
    ),
    "moment_range": Column(
        "tsrange",
        _some('["2024-01-01 00:00:00.000001",infinity)', '(-infinity,"2024-01-01 00:00:00"]', "empty").map(
            _standard
        ),
    ),
    "zoned_range": Column("tstzrange", _some('["2024-01-01 00:00:00+02",infinity]', "(,)").map(_standard)),
    "int_ranges": Column("int4multirange", _some("{}", "{[1,3),[5,7)}", "{(,1),[9,)}").map(_standard)),
    "zoned_ranges": Column(
        "tstzmultirange",
        _some('{["2024-01-01 00:00:00+02","2024-01-02 00:00:00+02"],(2025-01-01,infinity)}').map(_standard),
    ),
    "ranges": Column("int4range[]", _some('{"[1,3)",empty,NULL}').map(_standard)),
    "pairs_of_text": Column("hstore", _some("", '"a"=>NULL', '"a b"=>"1", "q"=>"\\"x\\\\"').map(_standard)),
    "id": Column("uuid", st.uuids().map(str).map(_standard)),
    "host": Column("inet", _some("10.0.0.1", "10.0.0.1/8", "::1", "fe80::/64").map(_standard)),
    "network": Column("cidr", _some("10.0.0.0/8", "::/0", "192.168.1.1/32").map(_standard)),
    "hosts": Column("inet[]", _some("{10.0.0.1,::1/64,NULL}").map(_standard)),
    "card": Column("macaddr", st.just("'08:00:2b:01:02:03'")),
    "card8": Column("macaddr8", st.just("'08:00:2b:01:02:03:04:05'")),
    "money": Column(
        "money", _some("92233720368547758.07", "-92233720368547758.08", "0.01", "-1234.5").map(_standard)
    ),
    "words": Column("tsvector", _some("", "a:1A,2B b c:3", "'it''s':5 'x y'").map(_standard)),
    "query": Column("tsquery", _some("a & (b | !c)", "x <-> y").map(_standard)),
    "bits": Column("bit(13)", st.text("01", min_size=13, max_size=13).map(_standard)),
    "some_bits": Column("bit varying", st.text("01", max_size=70).map(_standard)),
    "place": Column("point", _some("(0.1,-0)", "(NaN,Infinity)").map(_standard)),
    "shape": Column("polygon", _some("((0,0),(1,0.3333333333333333),(2,2))").map(_standard)),
    "line": Column("line", _some("{1,-0.1,5e-324}").map(_standard)),
    "segment": Column("lseg", _some("[(0.1,0),(1,1e300)]").map(_standard)),
    "box": Column("box", _some("(2,2),(0.1,0.3333333333333333)").map(_standard)),
    "way": Column("path", _some("((0,0),(1,0.1))", "[(0,0),(1,0.1)]").map(_standard)),
    "circle": Column("circle", _some("<(0.1,-0),1e-12>").map(_standard)),
    "markup": Column(
        "xml", _some("", "text", "<a/>", '<a b="1">&lt;🐘 <!-- x --></a>', "<a>\r\n</a>").map(_standard)
    ),
    "position": Column("pg_lsn", _some("16/B374D848").map(_standard)),
    "letter": Column('"char"', _some("a", "", "\\377").map(_standard)),
    "name": Column("name", _some("a b", "").map(_standard)),
    "any_case": Column("citext", _some("Ab", "").map(_standard)),
}
_ANY = st.one_of(
    _some(
        "'2024-01-01'",
        "'2024-01-01 10:00:00'",
        "'2024-01-01 10:00:00.000000'",
        "'2024-01-01T10:00:00Z'",
        "'10:00'",
        "'24:00:00'",
        "'0000-00-00'",
        "1704067200",
        "1.0",
        "1e0",
        "0.1",
        "1e300",
        "-0.0",
        "9e999",
        "5",
        "9223372036854775807",
        "'1.10'",
        "'abc'",
        "''",
        "'true'",
        "'null'",
        '\'{"a": 1.10, "a":2}\'',
        "' [1,  2]'",
        "'{broken'",
        "'\"x\"'",
        "x''",
        "x'00ff'",
        "x'616263'",
        "'a' || char(0) || 'b'",
        "'1e400'",
        "'9999999999999999999'",
        "'日本 🐘'",
        "2",
        "-1",
    ),
    DOUBLES.map(repr),
    _integers(64),
    TEXT.map(_standard),
    BYTES.map(lambda value: f"x'{value.hex()}'"),
    MOMENT.map(_standard),
)
_SQLITE = {
    name: Column(name.replace("_", " "), _ANY)
    for name in (
        "INTEGER",
        "BIGINT",
        "BOOLEAN",
        "REAL",
        "FLOAT",
        "DOUBLE",
        "NUMERIC",
        "DECIMAL",
        "TEXT",
        "VARCHAR",
        "CHAR",
        "BLOB",
        "DATE",
        "DATETIME",
        "TIMESTAMP",
        "TIME",
        "JSON",
        "DOUBLE_PRECISION",
        "ODD",
    )
}
COLUMNS: dict[str, dict[str, Column]] = {
    "sqlite": _SQLITE,
    "mysql": {
        **_FAMILY,
        "vector": Column("VECTOR(3)", _some("TO_VECTOR('[0.1,-0,1e30]')", "TO_VECTOR('[1,2,3]')")),
    },
    "mariadb": {
        **_FAMILY,
        "document": Column(
            "JSON", _documents(st.one_of(NUMBERS, _HUGE), space=_some("", " ", "\n")).map(_literal)
        ),
        "id": Column("UUID", st.uuids().map(str).map(_literal)),
        "host": Column("INET6", _some("'::1'", "'fe80::1'", "'::ffff:1.2.3.4'")),
        "host4": Column("INET4", _some("'10.0.0.1'")),
    },
    "postgresql": _POSTGRESQL,
}
BEFORE = {
    "postgresql": (
        "CREATE TYPE mood AS ENUM ('a', 'b c', '%s', '')",
        "CREATE DOMAIN short AS varchar(3) CHECK (VALUE <> 'bad')",
        "CREATE DOMAIN late AS timestamp",
        "CREATE TYPE pair AS (n int, t text)",
        "CREATE EXTENSION hstore",
        "CREATE EXTENSION citext",
    )
}
DIFFERENT = {
    "sqlite": "typeof({0}) <> typeof({1}) OR quote({0}) <> quote({1})",
    "postgresql": "record_send(ROW({0})) IS DISTINCT FROM record_send(ROW({1}))",
    "mysql": "NOT (HEX({0}) <=> HEX({1}) AND CONCAT({0}) <=> CONCAT({1}) AND {0} <=> {1})",
}
"""True where two values differ in any bit, evaluated by the server."""
OF_MYSQL = {
    "double": "NOT ({0} <=> {1} AND CONCAT({0}) <=> CONCAT({1}))",
    "single": "NOT ({0} <=> {1} AND CONCAT({0} + 0e0) <=> CONCAT({1} + 0e0))",
    "document": "NOT (CONCAT({0}) <=> CONCAT({1}) AND JSON_TYPE({0}) <=> JSON_TYPE({1}))",
    "point": "NOT (HEX({0}) <=> HEX({1}))",
    "shape": "NOT (HEX({0}) <=> HEX({1}))",
    "vector": "NOT (HEX({0}) <=> HEX({1}))",
}
IDENTITY = """
@row_migration(table="items", pending=lambda t: t.c.done.is_(None))
def copied(row):
    return {**{"c_" + name[2:]: value for name, value in row._mapping.items() if name[:2] == "v_"}, "done": 1}

@row_migration(table="items", after=("copied",), pending=lambda t: t.c.done == 1)
def kept(row):
    return {**{name: value for name, value in row._mapping.items() if name[:2] == "v_"}, "done": 2}
"""
DRIVERS = {"postgresql": ["postgresql+psycopg2", "postgresql+psycopg"]}
ROWS = 100


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


def _statements(product: str, values: dict[str, list[str]]) -> list[str]:
    columns = ", ".join(f"{kind}_{name} {COLUMNS[product][name].type}" for kind in "vc" for name in values)
    names = ", ".join(f"v_{name}" for name in values)
    return [
        f"CREATE TABLE items (id INTEGER PRIMARY KEY, {columns}, done INTEGER)",
        *[
            f"INSERT INTO items (id, {names}) VALUES ({i}, {', '.join(row)})"
            for i, row in enumerate(zip(*values.values(), strict=True))
        ],
    ]


def _insert(database: Database, statements: list[str]) -> None:
    product = database.server.product
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        if product in ("mysql", "mariadb"):
            connection.exec_driver_sql("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
        for statement in statements:
            # No parameters are passed, so the driver does not interpret the statement.
            connection.connection.cursor().execute(statement)


def _differences(database: Database, names: list[str]) -> dict[str, Any]:
    """Up to three rows per column whose copy differs."""
    product = database.server.product
    wrong = {}
    for name in names:
        different = DIFFERENT.get(product, DIFFERENT["mysql"])
        if product in ("mysql", "mariadb"):
            different = OF_MYSQL.get(name, different)
        condition = different.format(f"v_{name}", f"c_{name}")
        shown = rows(database.engine, f"SELECT id, v_{name}, c_{name} FROM items WHERE {condition} LIMIT 3")
        if shown:
            wrong[name] = shown
    return wrong


def _values(column: Column) -> list[str]:
    """Distinct values and NULL: all of them go into one table, because a run costs more than a row."""
    found = ["NULL"] if column.nullable else []

    @settings(max_examples=ROWS, derandomize=True, database=None, phases=[Phase.generate])
    @given(column.values)
    def collect(value: str) -> None:
        found.append(value)

    collect()
    return [found[i % len(found)] for i in range(ROWS)]


@pytest.mark.parametrize("driver", [0, 1])
def test_values_are_unchanged_by_a_round_trip(driver: int, database: Database, tmp_path: Path) -> None:
    """Values of every type, with all drivers: the server finds the copy and the original unchanged."""
    product = database.server.product
    drivers = DRIVERS.get(product, [database.url.partition("://")[0]])
    if driver >= len(drivers):
        return
    url = drivers[driver] + database.url[database.url.index("://") :]
    schema.run_all(database, *BEFORE.get(product, ()))
    values = {
        name: _values(column)
        for name, column in COLUMNS[product].items()
        if column.type != "xml" or database.server.has("xml")
    }
    _insert(database, _statements(product, values))
    with Project.create(tmp_path / "project", url) as project:
        project.data("identity", IDENTITY)
        results = project.migrate()
        failures = [str(one)[:500] for name in results for one in project.status(name).failures[:3]]
    assert {r.outcome for r in results.values()} == {Outcome.COMPLETE}, f"{results} {failures}"
    assert _differences(database, list(values)) == {}


# --- keys ----------------------------------------------------------------------------------------

_FLOATS = [
    "0.1",
    "0.3333333333333333",
    "-0.25",
    "1e-12",
    "5e-324",
    "1.7976931348623157e308",
    "123456789.123456789",
]
_SHORT_FLOATS = ["0.1", "0.33333334", "-0.25", "1e-12", "3.4028235e38", "16777217", "123456.789", "0.7"]
_FAMILY_KEYS = {
    "double": ("DOUBLE", [f"{text}e0" if "e" not in text else text for text in _FLOATS]),
    "single": ("FLOAT", [f"{text}e0" if "e" not in text else text for text in _SHORT_FLOATS]),
    "number": (
        "DECIMAL(65, 30)",
        ["0.1", "-0.000000000000000000000000000001", "12345678901234567890123456789012345"],
    ),
    "unsigned": ("BIGINT UNSIGNED", ["0", "18446744073709551615", "9223372036854775808"]),
    "clock": ("TIME(6)", ["'-838:59:59'", "'-00:30:00'", "'00:00:00.000001'", "'23:59:59'", "'838:59:59'"]),
    "moment": (
        "DATETIME(6)",
        ["'1000-01-01'", "'2024-02-29 12:00:00.000001'", "'9999-12-31 23:59:59.999999'"],
    ),
    "bits": ("BIT(64)", ["0", "1", "18446744073709551615"]),
    "year": ("YEAR", ["1901", "2155", "2024"]),
    "bytes": ("BINARY(3)", ["X'000000'", "X'00ff00'", "X'ffffff'"]),
    "choice": ("ENUM('b', 'a', '')", ["'a'", "'b'", "''"]),
    "members": ("SET('b', 'a')", ["''", "'a'", "'b'", "'a,b'"]),
}
KEYS: dict[str, dict[str, tuple[str, list[str]]]] = {
    "mysql": _FAMILY_KEYS,
    "mariadb": {
        **_FAMILY_KEYS,
        "id": ("UUID", [f"'00000000-0000-0000-0000-0000000000{i}1'" for i in range(3)]),
        "host": ("INET6", ["'::1'", "'fe80::1'"]),
    },
    "sqlite": {
        "real": ("REAL", _FLOATS),
        "number": ("NUMERIC(10, 2)", ["0.1", "1", "0.123456789", "'abc'", "x'00'"]),
        "moment": ("DATETIME", ["'2024-01-01'", "'2024-01-01 10:00:00'", "5", "'yesterday'"]),
        "anything": ("BLOB", ["1", "1.5", "'1'", "x'31'", "''"]),
    },
    "postgresql": {
        name: (type_, [_standard(text) for text in texts])
        for name, type_, texts in (
            ("double", "float8", [*_FLOATS, "NaN", "Infinity", "-Infinity"]),
            ("single", "float4", [*_SHORT_FLOATS, "NaN", "Infinity"]),
            ("number", "numeric", ["0.1", "1.10", "NaN", "Infinity", "-Infinity", "1e-400", "1e400"]),
            ("interval", "interval", ["1 mon", "1 day", "25:00:00", "-1 mon +40 days", "178000000 years"]),
            ("clock", "timetz", ["24:00:00+02", "12:00:00+02", "12:00:00-03:30"]),
            (
                "moment",
                "timestamptz",
                ["infinity", "-infinity", "2024-01-01 00:00:00.000001+02", "0044-03-15 BC"],
            ),
            ("document", "jsonb", ["1.10", "null", '"null"', '{"a": 1}', "[1e400]"]),
            ("integers", "int[]", ["{}", "{1,NULL}", "{{1,2}}", "[0:0]={1}"]),
            ("texts", "text[]", ["{}", '{""}', '{"a b",NULL}', '{"\\\\"}']),
            ("range", "int4range", ["empty", "[1,3)", "(,)", "(,1)"]),
            ("ranges", "tsmultirange", ["{}", "{[2024-01-01,infinity)}"]),
            ("days", "daterange", ["[2024-01-01,infinity]", "[2024-01-01,2024-02-01)", "(,)"]),
            ("host", "inet", ["10.0.0.1", "10.0.0.1/8", "::1"]),
            ("money", "money", ["0.10", "-92233720368547758.08", "7"]),
            ("bits", "bit varying", ["", "1", "0101"]),
            ("bytes", "bytea", ["", "\\x00ff", "\\xff"]),
            ("flag", "boolean", ["t", "f"]),
            ("mood", "mood", ["a", "b c", "%s", ""]),
            ("any_case", "citext", ["Ab", "b"]),
            ("words", "tsvector", ["", "a:1A b"]),
            ("position", "pg_lsn", ["16/B374D848", "0/1"]),
            ("late", "late", ["infinity", "2024-01-01"]),
        )
    },
}
BY_KEY = """
@row_migration(name="by_{0}", table="t_{0}", pending=lambda t: t.c.copied.is_(None))
def by_row(row):
    if row.n == 1:
        raise ValueError("no")
    return {{"hits": row.hits + 1, "copy": row.k, "copied": 1}}
"""


@pytest.mark.parametrize("driver", [0, 1])
def test_rows_are_matched_by_key_of_every_type(driver: int, database: Database, tmp_path: Path) -> None:
    """For any key type: in chunks of two, in the checkpoint, and as the key of a failed row."""
    product = database.server.product
    drivers = DRIVERS.get(product, [database.url.partition("://")[0]])
    if driver >= len(drivers):
        return
    url = drivers[driver] + database.url[database.url.index("://") :]
    schema.run_all(database, *BEFORE.get(product, ()))
    # Each driver walks only some of the keys: a walk takes longer than a copy.
    chosen = dict(list(KEYS[product].items())[driver :: len(drivers)])
    for name, (type_, values) in chosen.items():
        _insert(
            database,
            [
                f"CREATE TABLE t_{name} (k {type_} NOT NULL PRIMARY KEY, copy {type_}, n INTEGER, "
                "hits INTEGER DEFAULT 0 NOT NULL, copied INTEGER)",
                *[f"INSERT INTO t_{name} (k, n) VALUES ({value}, {i})" for i, value in enumerate(values)],
            ],
        )
    with Project.create(tmp_path / "project", url) as project:
        for name in chosen:
            project.data(f"by_{name}", BY_KEY.format(name))
        results = project.migrate(batch_size=2)
        states = {one.name: one for one in project.report().migrations}
        wrong = {}
        for name, (_, values) in chosen.items():
            result, done = results[f"by_{name}"], len(values) - 1
            hits = rows(database.engine, f"SELECT DISTINCT hits FROM t_{name} WHERE k = copy")
            found = states[f"by_{name}"]
            counts = found.done, found.pending, found.failed
            if (result.done, result.failed, counts, hits) != (done, 1, (done, 0, 1), [(1,)]):
                wrong[name] = result, counts, hits
    assert wrong == {}, str(wrong)
