"""Conversion of URLs and of ``sql_mode`` values, without a server."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from online_migrate.dialects import mysql_sessions, postgresql_sessions


@pytest.mark.parametrize(
    ("given", "exact", "strict"),
    [
        ("", "STRICT_ALL_TABLES", "STRICT_ALL_TABLES"),
        ("ANSI_QUOTES", "ANSI_QUOTES,STRICT_ALL_TABLES", "ANSI_QUOTES,STRICT_ALL_TABLES"),
        (
            "STRICT_TRANS_TABLES",
            "STRICT_TRANS_TABLES,STRICT_ALL_TABLES",
            "STRICT_TRANS_TABLES,STRICT_ALL_TABLES",
        ),
        (
            "STRICT_ALL_TABLES,NO_ZERO_DATE",
            "STRICT_ALL_TABLES,NO_ZERO_DATE",
            "STRICT_ALL_TABLES,NO_ZERO_DATE",
        ),
        (
            "PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL",
            "STRICT_ALL_TABLES",
            "PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL,STRICT_ALL_TABLES",
        ),
    ],
)
def test_exact_and_strict_mode(given: str, exact: str, strict: str) -> None:
    assert mysql_sessions.exact_mode(given) == exact
    assert mysql_sessions.strict_mode(given) == strict


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"charset": "utf8mb4"}),
        ("?charset=utf8", {"charset": "utf8mb4"}),
        ("?charset=latin1&collation=latin1_bin&use_unicode=0", {"charset": "utf8mb4"}),
        ("?charset=utf8mb3&charset=utf8", {"charset": "utf8mb4"}),
        (
            "?collation=utf8mb4_bin&ssl_ca=x",
            {"charset": "utf8mb4", "collation": "utf8mb4_bin", "ssl_ca": "x"},
        ),
    ],
)
def test_url_of_sets_the_character_set(query: str, expected: dict[str, str]) -> None:
    url = sa.make_url(f"mysql+pymysql://u:p@h/n{query}")
    assert dict(mysql_sessions.url_of(url).query) == expected


@pytest.mark.parametrize(
    ("statement", "creates"),
    [
        ("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.x = 1", True),
        ("create or replace definer=`u`@`h` trigger t before insert on a for each row set new.x = 1", True),
        ("CREATE DEFINER=CURRENT_USER PROCEDURE p() SELECT 1", True),
        ("CREATE AGGREGATE FUNCTION f RETURNS INT SONAME 'x'", True),
        ("ALTER EVENT e ENABLE", True),
        ("CREATE /*!50003 TRIGGER */ t BEFORE INSERT ON a FOR EACH ROW SET NEW.x = 1", True),
        ("CREATE # not a TABLE\n TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.x = 1", True),
        ("CREATE /*!999999 TABLE */ TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.x = 1", True),
        ("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.x = '\\''; END", True),
        (
            "/*!50003 CREATE*/ /*!50003 TRIGGER t BEFORE INSERT ON a FOR EACH ROW /* x */ SET NEW.x = 1 */",
            True,
        ),
        ("CREATE TABLE `trigger` (id INT)", False),
        ("CREATE VIEW v AS SELECT 1", False),
        ("ALTER TABLE t ADD COLUMN event INT", False),
        ("DROP TRIGGER t", False),
        ("UPDATE t SET a = 1", False),
    ],
)
def test_what_keeps_the_sql_mode_of_its_session(statement: str, creates: bool) -> None:
    assert mysql_sessions.creates_program(statement, "mysql") is creates


@pytest.mark.parametrize(
    ("encoding", "python"),
    [
        ("UTF8", "utf-8"),
        ("SQL_ASCII", "utf-8"),
        ("LATIN1", "latin1"),
        ("WIN1251", "cp1251"),
        ("EUC_TW", "ascii"),
    ],
)
def test_python_encoding(encoding: str, python: str) -> None:
    found = postgresql_sessions.python_encoding(encoding)
    assert found == python
    assert "a".encode(found) == b"a"
