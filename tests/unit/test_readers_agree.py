"""The reader of tokens and PostgreSQL's own parser read the same operations."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_operations_reader import cases

from online_migrate.sql.operations import pglast_reader
from online_migrate.sql.operations.operation import CreateTrigger, SetTableOption, Unrecognized
from online_migrate.sql.operations.parts import Expression
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

pglast = pytest.importorskip("pglast")

NOT_PARSED = {
    "alter table t set (fillfactor=50)": "SET SCHEMA is not combined with other actions",
    "alter table t add column d text default 'x' foobar": "no PostgreSQL",
    'alter table "A"."b.c" add "key" int': "CONSTRAINT is a reserved word",
    "UPDATE t SET a = %(a)s": "placeholders of drivers",
    "insert into t values (:a, ?)": "placeholders of drivers",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL ALTER": "no PostgreSQL",
    "create table t (a int generated always as identity, b int foo)": "no PostgreSQL",
    "create table t (a int) with (oids = false) tablespace x foo": "no PostgreSQL",
    "drop table t cascade restrict": "no PostgreSQL",
}
"""The beginnings of statements that PostgreSQL's parser rejects, and why."""
DIFFERENT = {
    "create foreign table": "PostgreSQL's parser gives it the node of a table; that reader does not read it",
}
"""The beginnings of statements that the readers read differently, and why."""


def _reason(text: str, reasons: dict[str, str]) -> str | None:
    return next((reason for start, reason in reasons.items() if text.startswith(start)), None)


@pytest.mark.parametrize("text", [text for text, _ in cases("postgresql")])
def test_both_readers_read_the_same_operations(text: str) -> None:
    if _reason(text, NOT_PARSED):
        with pytest.raises(Unreadable):
            pglast_reader.read_operations(text)
        return
    ours = _comparable(read_operations(text, "postgresql"))
    theirs = _comparable(pglast_reader.read_operations(text))
    assert (ours != theirs) if _reason(text, DIFFERENT) else (ours == theirs)


def _comparable(value: Any) -> Any:
    """Returns the operations without what one of the parsers does not keep."""
    if isinstance(value, tuple):
        return tuple(_comparable(item) for item in value)
    if isinstance(value, Expression):
        return dataclasses.replace(value, text=_printed(value.text))
    if isinstance(value, Unrecognized):
        return Unrecognized(what="")
    if isinstance(value, CreateTrigger):
        return dataclasses.replace(value, body="")
    if isinstance(value, SetTableOption) and value.option == "storage parameters":
        return dataclasses.replace(value, value=None)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {field.name: _comparable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if fields.get("method") == "btree":
        fields["method"] = None  # the parser does not say if it was written
    return type(value)(**fields)


def _printed(text: str) -> str:
    """Returns an expression as PostgreSQL's parser prints it."""
    from pglast.stream import RawStream

    return str(RawStream()(pglast.parse_sql(f"SELECT {text}")[0].stmt))


# --- statements from pieces -----------------------------------------------------------------------

_NAME = st.sampled_from(["a", "b", '"A b"', "key", "s.t", '"x.y"', "value", "type"])
_COLUMN = st.sampled_from(["a", "b", '"C"', "key", "type", "value"])
_TYPE_TEXT = """
    int; bigint; varchar(20); text; timestamp with time zone; numeric(10, 2); s.mood; text[]; double precision
    ; bool; char; serial; jsonb; bit varying(3); timestamptz(3); float(4)
"""
_TYPE = st.sampled_from(_TYPE_TEXT.split(";"))
_VALUE_TEXT = """
    0; -1; 'x'; 'x'::text; now(); CURRENT_TIMESTAMP; null; true; gen_random_uuid(); (1 + 2); nextval('s')
    ; lower('A') || 'b'; 'a,b'; DATE '2020-01-01'; 'it''s'; f(1, g(2))
"""
_VALUE = st.sampled_from(_VALUE_TEXT.split(";"))
_CONDITION = st.sampled_from(
    ["a > 0", "a IN (1, 2)", "lower(b) = 'x,y'", "a IS NOT NULL AND b <> ''", "(a BETWEEN 1 AND 2) OR b"]
)
_CLAUSE = st.one_of(
    st.just("NOT NULL"),
    st.just("NULL"),
    st.just("PRIMARY KEY"),
    st.just("UNIQUE"),
    st.just("GENERATED ALWAYS AS IDENTITY"),
    st.just('COLLATE "C"'),
    st.just("REFERENCES u (x) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED"),
    st.builds("DEFAULT {}".format, _VALUE),
    st.builds("CONSTRAINT c CHECK ({})".format, _CONDITION),
    st.builds("GENERATED ALWAYS AS (lower({})) STORED".format, _COLUMN),
)
_DEFINITION = st.builds(
    lambda name, type_, clauses: " ".join([name, type_, *clauses]),
    _COLUMN,
    _TYPE,
    st.lists(_CLAUSE, max_size=3),
)
_CONSTRAINT = st.one_of(
    st.builds("CONSTRAINT c CHECK ({})".format, _CONDITION),
    st.builds("PRIMARY KEY ({})".format, _COLUMN),
    st.builds("UNIQUE ({}, b)".format, _COLUMN),
    st.builds("FOREIGN KEY ({}) REFERENCES u ON UPDATE CASCADE".format, _COLUMN),
)
_ACTION = st.one_of(
    st.builds("ADD COLUMN {}".format, _DEFINITION),
    st.builds("ADD IF NOT EXISTS {}".format, _DEFINITION),
    st.builds("ADD {} NOT VALID".format, _CONSTRAINT),
    st.builds("ADD {}".format, _CONSTRAINT),
    st.builds("DROP COLUMN IF EXISTS {} CASCADE".format, _COLUMN),
    st.builds("DROP {}".format, _COLUMN),
    st.builds("ALTER COLUMN {} TYPE {} USING {}".format, _COLUMN, _TYPE, _VALUE),
    st.builds("ALTER {} SET DEFAULT {}".format, _COLUMN, _VALUE),
    st.builds("ALTER {} SET NOT NULL".format, _COLUMN),
    st.builds("ALTER {} DROP DEFAULT".format, _COLUMN),
    st.just("VALIDATE CONSTRAINT c"),
    st.just("DROP CONSTRAINT IF EXISTS c"),
    st.just("ENABLE ROW LEVEL SECURITY"),
    st.just("OWNER TO joe"),
)
_STATEMENT = st.one_of(
    st.builds(
        lambda table, actions: f"ALTER TABLE {table} {', '.join(actions)}",
        _NAME,
        st.lists(_ACTION, min_size=1, max_size=4),
    ),
    st.builds(
        lambda table, elements: f"CREATE TABLE {table} ({', '.join(elements)})",
        _NAME,
        st.lists(st.one_of(_DEFINITION, _CONSTRAINT), min_size=1, max_size=5),
    ),
    st.builds(
        "CREATE UNIQUE INDEX CONCURRENTLY i ON {} (({}), {} DESC) WHERE {}".format,
        _NAME,
        _VALUE,
        _COLUMN,
        _CONDITION,
    ),
    st.builds("INSERT INTO {} ({}) VALUES ({}) RETURNING *".format, _NAME, _COLUMN, _VALUE),
    st.builds("WITH x AS (DELETE FROM {} WHERE {} RETURNING *) SELECT * FROM x".format, _NAME, _CONDITION),
    st.builds("UPDATE {} SET {} = {} WHERE {}".format, _NAME, _COLUMN, _VALUE, _CONDITION),
    st.builds("SELECT {}, {} FROM {} WHERE {} FOR UPDATE".format, _VALUE, _COLUMN, _NAME, _CONDITION),
    st.builds("CREATE OR REPLACE VIEW {} AS SELECT {}, {} AS z FROM t".format, _NAME, _COLUMN, _VALUE),
    st.builds("DROP TABLE IF EXISTS {}, {} CASCADE".format, _NAME, _NAME),
    st.builds("COMMENT ON COLUMN {}.a IS 'x'".format, _NAME),
)


@settings(max_examples=600, deadline=None)
@given(statements=st.lists(_STATEMENT, min_size=1, max_size=3))
def test_both_readers_agree_on_statements_from_pieces(statements: list[str]) -> None:
    text = "; ".join(statements)
    try:
        theirs = pglast_reader.read_operations(text)
    except Unreadable:
        return
    ours = read_operations(text, "postgresql")
    assert _comparable(ours) == _comparable(theirs)


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_a_changed_statement_is_unrecognized_or_both_readers_agree(data: st.DataObject) -> None:
    """The kinds of the operations are compared, wherever PostgreSQL's parser accepts the text."""
    words = data.draw(_STATEMENT).split()
    at = data.draw(st.integers(0, len(words)))
    words[at : at + data.draw(st.integers(0, 2))] = data.draw(st.lists(_WORD, max_size=2))
    text = " ".join(words)
    try:
        theirs = pglast_reader.read_operations(text)
        ours = read_operations(text, "postgresql")
    except Unreadable:
        return
    if not any(isinstance(operation, Unrecognized) for operation in ours):
        assert [type(operation) for operation in ours] == [type(operation) for operation in theirs]


_WORD_TEXT = """
    ONLY IF EXISTS NOT NULL TEMP OR CASCADE USING a ( ) , ; CONCURRENTLY SET DROP ADD COLUMN
    CONSTRAINT DEFAULT INDEX TABLE AS SELECT 'x' 1 * UNIQUE DEFERRABLE FROM WITH CHECK INTO EXPLAIN ANALYZE
"""
_WORD = st.sampled_from(_WORD_TEXT.split())
"""Not REPLACE: PostgreSQL accepts it as an alias, and the reader of tokens takes it for a write."""
