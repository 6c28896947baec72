"""The operations of a text, for each server: a table of cases, and properties of every text."""

from __future__ import annotations

import pathlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operations_text import short

from online_migrate.sql.operations.operation import DropColumn, Unrecognized
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.reader import AMBIGUOUS, read_operations
from online_migrate.sql.parse import Unreadable

SERVERS = ("postgresql", "mysql", "mariadb", "sqlite")
CASES = pathlib.Path(__file__).parent / "operation_cases"


def cases(server: str) -> list[tuple[str, list[str]]]:
    """Returns (text, operations) of each case in the file of *server*."""
    found: list[tuple[str, list[str]]] = []
    for line in (CASES / f"{server}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            found[-1][1].append(line.strip())
        elif line.strip() and not line.startswith("# "):
            found.append((line, []))
    return found


@pytest.mark.parametrize(
    ("server", "text", "expected"),
    [(server, text, expected) for server in SERVERS for text, expected in cases(server)],
)
def test_operations_of_a_text(server: str, text: str, expected: list[str]) -> None:
    assert [short(operation) for operation in read_operations(text, server)] == expected


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("text", ["", " \n", ";;", "-- only a comment", "/* only a comment */"])
def test_text_without_a_statement_has_no_operations(server: str, text: str) -> None:
    assert read_operations(text, server) == ()


@pytest.mark.parametrize("server", SERVERS)
def test_comments_and_line_breaks_between_words(server: str) -> None:
    text = "ALTER/* x */TABLE -- y\n t /* ; */ DROP\r\n\tCOLUMN a -- ; DROP TABLE t"
    assert read_operations(text, server) == (DropColumn(table=Name("t"), column="a"),)


def test_hash_starts_a_comment_on_mysql() -> None:
    text = "# x\nALTER TABLE t DROP a # , DROP b\n, DROP c"
    found = read_operations(text, "mysql")
    assert [operation.column for operation in found if isinstance(operation, DropColumn)] == ["a", "c"]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "text", ["SELECT 'x", 'ALTER TABLE "t ADD a int', "DROP TABLE t /* x", "SELECT 'x; DROP TABLE t"]
)
def test_text_that_is_not_closed_is_unreadable(server: str, text: str) -> None:
    with pytest.raises(Unreadable):
        read_operations(text, server)


def test_dollar_quotes_that_are_not_closed_are_unreadable() -> None:
    with pytest.raises(Unreadable):
        read_operations("DO $x$ BEGIN; $y$", "postgresql")


def test_body_that_does_not_end_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        read_operations("CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t;", "sqlite")


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t /*!50000 DROP COLUMN a */",
        "ALTER TABLE t ADD COLUMN a int /*!80023 INVISIBLE */",
        "INSERT INTO t VALUES ('a\\'; DROP TABLE t; -- ')",
    ],
)
def test_text_with_two_meanings_is_unrecognized(text: str) -> None:
    assert read_operations(text, "mysql") == (Unrecognized(what=AMBIGUOUS),)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "text", ["SELECT a AS truncate FROM t", "WITH x AS (TRUNCATE t) SELECT 1", "('c' truncate t"]
)
def test_truncate_inside_a_query_is_unrecognized(text: str, server: str) -> None:
    """No server has it there: it is a name, or the text is not valid."""
    (found,) = read_operations(text, server)
    assert isinstance(found, Unrecognized)


def test_parentheses_without_end() -> None:
    statement = "CREATE TABLE t (a int DEFAULT " + "(" * 4000 + "1" + ")" * 4000 + ")"
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # Python's default: another library of the process may have raised it
    try:
        (found,) = read_operations(statement, "mysql")
    finally:
        sys.setrecursionlimit(before)
    assert isinstance(found, Unrecognized)


# --- every text -----------------------------------------------------------------------------------

_WORDS = sorted(
    {word for server in SERVERS for text, _ in cases(server) for word in text.replace(",", " , ").split()}
)
_MARKS = [
    "(",
    ")",
    ",",
    ";",
    "'",
    '"',
    "`",
    "[",
    "]",
    "/*",
    "*/",
    "/*!",
    "--",
    "#",
    "$$",
    "$a$",
    "::",
    ".",
    "%s",
]


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.sampled_from(_WORDS + _MARKS), max_size=25), server=st.sampled_from(SERVERS))
def test_any_words_give_operations_or_are_unreadable(words: list[str], server: str) -> None:
    assert _has_the_form_of_operations(" ".join(words), server)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), server=st.sampled_from(SERVERS))
def test_any_text_gives_operations_or_is_unreadable(text: str, server: str) -> None:
    assert _has_the_form_of_operations(text, server)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), server=st.sampled_from(SERVERS))
def test_any_change_of_a_case_gives_operations_or_is_unreadable(data: st.DataObject, server: str) -> None:
    words = data.draw(st.sampled_from(cases(server)))[0].split()
    at = data.draw(st.integers(0, len(words)))
    removed = data.draw(st.integers(0, 3))
    words[at : at + removed] = data.draw(st.lists(st.sampled_from(_WORDS + _MARKS), max_size=2))
    assert _has_the_form_of_operations(" ".join(words), server)


def _has_the_form_of_operations(text: str, server: str) -> bool:
    """Returns True if *text* gives a tuple of operations that can be shown, or is unreadable."""
    try:
        found = read_operations(text, server)
    except Unreadable:
        return True
    return isinstance(found, tuple) and all(short(operation) for operation in found)
