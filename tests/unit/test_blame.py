"""What an error is attributed to: one function per server, of errors as the drivers raise them."""

from __future__ import annotations

import sqlite3

import psycopg
import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc

from online_migrate.dialects.blame import Blame, StatementTooLarge, largest_size, statement_size
from online_migrate.dialects.mariadb import MariaDB
from online_migrate.dialects.mysql import MySQL
from online_migrate.dialects.postgresql import PostgreSQL
from online_migrate.dialects.sqlite import SQLite


def _wrapped(error: Exception) -> exc.DBAPIError:
    return exc.DBAPIError("UPDATE t SET a = 1", None, error)


MYSQL = {
    Blame.ROW: {1048: "null", 1062: "duplicate", 1264: "range", 1406: "long", 3140: "json", 3819: "check"},
    Blame.SIZE: {
        1153: "packet",
        2020: "packet, says the client",
        1197: "binlog cache",
        1206: "lock table full",
        1390: "placeholders",
        1969: "statement timeout",
        3024: "statement timeout",
        3100: "group replication",
    },
    Blame.REPEAT: {1205: "lock wait", 1213: "deadlock", 1020: "snapshot", 1412: "definition changed"},
    Blame.CONNECTION: {
        2006: "gone",
        2013: "lost",
        1040: "too many",
        1203: "too many of a user",
        1226: "too many",
    },
    Blame.MIGRATION: {
        1054: "no column",
        1114: "table full",
        1142: "no right",
        1146: "no table",
        1290: "read-only",
        1317: "stopped by an operator",
        1792: "read-only transaction",
        1836: "read-only mode",
    },
}


@pytest.mark.parametrize("dialect", [MySQL(), MariaDB()], ids=["mysql", "mariadb"])
@pytest.mark.parametrize(("blame", "codes"), MYSQL.items(), ids=[blame.name for blame in MYSQL])
def test_the_errors_of_mysql(dialect: MySQL, blame: Blame, codes: dict[int, str]) -> None:
    for code, words in codes.items():
        assert dialect.blame(_wrapped(pymysql.err.OperationalError(code, words))) is blame, (code, words)


@pytest.mark.parametrize(
    ("number", "blame"),
    [(90, Blame.SIZE), (149, Blame.REPEAT), (6, Blame.MIGRATION), (28, Blame.MIGRATION)],
)
def test_an_error_during_commit_is_told_by_its_number(number: int, blame: Blame) -> None:
    error = _wrapped(pymysql.err.OperationalError(1180, f'Got error {number} "words" during COMMIT'))
    assert MariaDB().blame(error) is blame
    assert MariaDB().is_transient(error) is (blame is Blame.REPEAT)


POSTGRESQL = {
    Blame.ROW: (
        "22003",
        "22012",
        "22P02",
        "23503",
        "23505",
        "23514",
        "21000",
        "42804",
        "P0001",
        "XX000",
        "XX001",
    ),
    Blame.SIZE: ("54000", "54001", "53200", "53400", "57014"),
    Blame.REPEAT: ("40001", "40P01", "55P03"),
    Blame.CONNECTION: ("57P01", "57P03", "08006", "25P03", "53300"),
    Blame.MIGRATION: ("42703", "42P01", "42501", "53100", "25006", "58030", "0A000"),
}


@pytest.mark.parametrize(("blame", "codes"), POSTGRESQL.items(), ids=[blame.name for blame in POSTGRESQL])
def test_the_errors_of_postgresql(blame: Blame, codes: tuple[str, ...]) -> None:
    for code in codes:
        error = psycopg.errors.lookup(code)("words")
        assert PostgreSQL().blame(_wrapped(error)) is blame, code


def test_a_statement_that_an_operator_stopped_is_not_tried_with_fewer_rows() -> None:
    stopped = psycopg.errors.QueryCanceled("canceling statement due to user request")
    assert PostgreSQL().blame(_wrapped(stopped)) is Blame.MIGRATION


@pytest.mark.parametrize(
    ("statement", "blame"),
    [
        ("INSERT INTO t VALUES (1)", Blame.ROW),
        ("SELECT abs(-9223372036854775808)", Blame.ROW),
        ("SELECT zeroblob(2000000000)", Blame.SIZE),
        ("SELECT 1 WHERE 1 IN (?" + ", ?" * 260_000 + ")", Blame.SIZE),
        ("SELECT missing FROM t", Blame.MIGRATION),
        ("SELECT * FROM missing", Blame.MIGRATION),
        ("SELEC 1", Blame.MIGRATION),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else value.name,
)
def test_the_errors_of_sqlite(statement: str, blame: Blame) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.Error) as caught:
        connection.execute(statement, (1,) * statement.count("?")).fetchall()
    assert SQLite().blame(_wrapped(caught.value)) is blame


def test_a_read_only_database_and_a_lock_of_sqlite(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("CREATE TABLE t (a)")
    writer.execute("BEGIN IMMEDIATE")
    other = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.Error) as caught:
        other.execute("INSERT INTO t VALUES (1)")
    assert SQLite().blame(_wrapped(caught.value)) is Blame.REPEAT
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.Error) as caught:
        reader.execute("INSERT INTO t VALUES (1)")
    assert SQLite().blame(_wrapped(caught.value)) is Blame.MIGRATION


def test_a_statement_that_was_not_sent_does_not_count_as_a_lost_connection() -> None:
    error = exc.DataError("UPDATE", None, StatementTooLarge(1153, "the statement has 9 bytes"))
    for dialect in (MySQL(), PostgreSQL()):
        assert dialect.blame(error) is Blame.SIZE
        assert not dialect.is_connection_lost(error)


def test_a_session_that_was_lost_in_an_earlier_statement_is_lost() -> None:
    error = exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
    for dialect in (MySQL(), PostgreSQL(), SQLite()):
        assert dialect.blame(error) is Blame.CONNECTION


# --- the size of a statement ---------------------------------------------------------------------


_VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=50), st.binary(max_size=50))


@given(st.lists(_VALUES, max_size=20))
def test_the_size_is_that_of_what_pymysql_sends_and_the_bound_is_above_it(values: list[object]) -> None:
    def literal(value: object) -> str:
        return str(pymysql.converters.escape_item(value, "utf8mb4"))

    statement = "SELECT " + ", ".join(["%s"] * len(values))
    sent = statement % tuple(literal(value) for value in values)
    size, _largest = statement_size(statement, tuple(values), 10**9, literal)
    # The placeholders are counted beside the values.
    assert size == len(sent.encode()) + 2 * len(values)
    assert size <= largest_size(statement, tuple(values))


def test_the_largest_value_is_told_of_every_form_of_parameters() -> None:
    for parameters in (("ab", "c" * 500), {"a": "ab", "b": "c" * 500}, [{"a": "c" * 500}, {"a": "ab"}]):
        size, largest = statement_size("UPDATE t", parameters, limit=100)
        assert largest == 500
        assert size >= 508
    assert statement_size("SELECT 1", None, limit=100) == (8, 0)
