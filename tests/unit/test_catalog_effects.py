"""The effects of a statement on the catalog, and what an interruption leaves undecided."""

from __future__ import annotations

import json

import pytest

from online_migrate.sql.catalog_effects.derive import derive
from online_migrate.sql.catalog_effects.effect import (
    Effect,
    Expected,
    Verdict,
    holds,
    judge,
    same_default,
    same_type,
)

MYSQL = {
    "ALTER TABLE t ADD COLUMN n BIGINT": ["+ column n of t"],
    "ALTER TABLE t ADD n INT, ADD INDEX ix (n)": ["+ column n of t", "+ index ix of t"],
    "ALTER TABLE t DROP n, DROP KEY ix, DROP FOREIGN KEY fk": [
        "- column n of t",
        "- index ix of t",
        "- foreign key fk of t",
    ],
    "ALTER TABLE t RENAME COLUMN a TO b": ["- column a of t", "+ column b of t"],
    "ALTER TABLE t CHANGE a b INT": ["- column a of t", "+ column b of t"],
    "ALTER TABLE t CHANGE a A INT": ["~ column A of t"],
    "ALTER TABLE t MODIFY a INT": ["~ column a of t"],
    "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a": ["~ column a of t", "~ column b of t"],
    "ALTER TABLE t DROP INDEX ix, ADD INDEX ix (b)": ["~ index ix of t"],
    "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (b)": ["~ primary key of t"],
    "ALTER TABLE t RENAME TO u, ADD COLUMN n INT": ["- table t", "+ table u", "+ column n of u"],
    "RENAME TABLE t TO o, `n` TO t": ["- table n", "+ table o", "~ table t"],
    "RENAME TABLE a TO x, b TO a, x TO b": ["~ table a", "~ table b", "- table x"],
    "ALTER TABLE t COMMENT 'x', ALGORITHM=INPLACE": ["~ table t"],
    "CREATE TABLE IF NOT EXISTS t (id INT)": ["+ table t"],
    "DROP TABLE a, b": ["- table a", "- table b"],
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN SET @a = 1; SET @b = 2; END": [
        "+ trigger x of t"
    ],
    "CREATE DEFINER=`a`@`%` TRIGGER IF NOT EXISTS s.x AFTER UPDATE ON t FOR EACH ROW SET @a=1": [
        "+ trigger x of t"
    ],
    "CREATE OR REPLACE VIEW v AS SELECT 1": ["+ view v"],
    "CREATE INDEX ix ON t (a(10), b)": ["+ index ix of t"],
    "DROP INDEX ix ON t": ["- index ix of t"],
    "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END": ["+ routine p"],
    "ALTER TABLE t ADD CONSTRAINT ck CHECK (n > 0)": ["+ check ck of t"],
    "ALTER TABLE t ADD CHECK (n > 0)": [],
    "ALTER TABLE t ENGINE=InnoDB": [],
    "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 2": [],
    "CALL p()": [],
    "TRUNCATE TABLE t": [],
    "ALTER TABLE t ADD COLUMN a INT; DROP TABLE u": [],
    "/*! DROP TABLE t */": [],
    "DROP TABLE a /*!50000 , b */": [],
    "ALTER TABLE t DROP /*!40000 COLUMN */ a": ["- column a of t"],
    "CREATE TABLE t (id INT) /*!40101 ENGINE=InnoDB */": ["+ table t"],
    "ALTER TABLE t ADD a INT /*!80012 , ALGORITHM=INSTANT */": ["+ column a of t"],
    "ALTER TABLE t ADD COLUMN 'unterminated": [],
}
POSTGRESQL = {
    'CREATE INDEX CONCURRENTLY "Ix" ON S.T (a, lower(b))': ["+ index Ix of t"],
    "DROP INDEX CONCURRENTLY IX": ["- index ix"],
    "ALTER INDEX ix RENAME TO iy": ["- index ix", "+ index iy"],
    "ALTER TYPE Mood ADD VALUE IF NOT EXISTS 'New' BEFORE 'old'": ["+ enum value New of mood"],
    "ALTER TABLE t VALIDATE CONSTRAINT c": ["~ constraint c of t"],
    'ALTER TABLE "T" ALTER COLUMN a TYPE bigint': ["~ column a of T"],
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$": ["+ routine f"],
    "DROP TRIGGER x ON t": ["- trigger x of t"],
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY": [],
    "COMMENT ON TABLE t IS 'x'": [],
}


def described(expected: Expected) -> list[str]:
    marks = {(True, False): "+", (False, False): "-", (True, True): "~", (False, True): "-"}
    return sorted(f"{marks[(e.present, e.changed)]} {e}" for e in expected.effects)


@pytest.mark.parametrize(
    ("product", "statement", "effects"),
    [("mysql", *pair) for pair in MYSQL.items()] + [("postgresql", *pair) for pair in POSTGRESQL.items()],
)
def test_derive_effects(product: str, statement: str, effects: list[str]) -> None:
    assert described(derive(statement, product)) == sorted(effects)


def test_expected_round_trip_through_json() -> None:
    statement = "ALTER TABLE s.t ADD COLUMN n VARCHAR(20) NOT NULL DEFAULT 'x', ADD UNIQUE uq (a(3), b)"
    expected = derive(statement, "mysql")
    assert Expected.from_data(json.loads(json.dumps(expected.to_data()))) == expected


@pytest.mark.parametrize(
    ("statement", "atomic", "repeatable"),
    [
        ("ALTER TABLE t FORCE", True, False),
        ("DROP TABLE t", True, False),
        ("DROP TABLE a, b", False, False),
        ("DROP TABLE a /*!50000 , b */", False, False),
        ("CREATE /*!50003 TRIGGER */ x BEFORE INSERT ON t FOR EACH ROW SET @a = 1", True, False),
        ("DROP TABLE IF EXISTS t", True, True),
        ("CREATE TABLE IF NOT EXISTS t (id INT)", True, True),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT", True, True),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, ADD PARTITION PARTITIONS 4", True, False),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, ADD COLUMN b INT", True, False),
        ("CALL p()", False, False),
        ("ALTER TABLE t FORCE; ALTER TABLE u FORCE", False, False),
        ("BEGIN NOT ATOMIC DROP TABLE t; END", False, False),
        ("OPTIMIZE TABLE t", True, True),
    ],
)
def test_atomic_and_repeatable_statements(statement: str, atomic: bool, repeatable: bool) -> None:
    expected = derive(statement, "mysql")
    assert (expected.atomic, expected.repeatable) == (atomic, repeatable)


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        ([False], [True], Verdict.DONE),
        ([False], [False], Verdict.NOT_DONE),
        ([True], [True], Verdict.UNDECIDED),
        ([None], [True], Verdict.UNDECIDED),
        ([False], [None], Verdict.UNDECIDED),
        ([False, False], [True, False], Verdict.UNDECIDED),
        ([False, False], [True, None], Verdict.UNDECIDED),
        ([False, True], [True, False], Verdict.DONE),
        ([False, None], [False, True], Verdict.NOT_DONE),
        ([], [], Verdict.UNDECIDED),
    ],
)
def test_judge(before: list[bool | None], now: list[bool | None], verdict: Verdict) -> None:
    """Only effects that did not hold before are evidence, and they must agree."""
    assert judge(before, now) is verdict


def test_holds_compares_facts_of_object() -> None:
    added = Effect("column", "n", "t", facts={"type": "BIGINT", "nullable": True})
    changed = Effect("column", "n", "t", changed=True, facts={"type": "BIGINT"})
    found = {"type": "int(11)", "nullable": True, "default": None}
    assert holds(added, None, "mysql") is False
    assert holds(added, found, "mysql") is None
    assert holds(added, found | {"type": "bigint(20)"}, "mysql") is True
    assert holds(changed, None, "mysql") is None
    assert holds(changed, found, "mysql") is False
    assert holds(Effect("index", "ix", "t"), {"valid": False}, "postgresql") is False
    assert holds(Effect("index", "ix", "t", present=False), {"valid": False}, "postgresql") is False


@pytest.mark.parametrize(
    ("product", "wanted", "found", "same"),
    [
        ("mysql", "INTEGER", "int", True),
        ("mysql", "INT UNSIGNED", "int(10) unsigned", True),
        ("mysql", "INT", "int unsigned", False),
        ("mysql", "BOOL", "tinyint(1)", True),
        ("mysql", "NUMERIC(10)", "decimal(10,0)", True),
        ("mysql", "VARCHAR(20)", "varchar(40)", False),
        ("mysql", "DATETIME", "datetime(6)", False),
        ("mysql", "ENUM('a', 'b')", "enum('a','b')", True),
        ("mysql", "GEOMETRY", "geometry", None),
        ("mariadb", "CHAR(39)", "inet6", None),
        ("mariadb", "JSON", "longtext", True),
        ("mysql", "JSON", "longtext", False),
        ("postgresql", "VARCHAR(20)", "character varying(20)", True),
        ("postgresql", "TIMESTAMP", "timestamp without time zone", True),
        ("postgresql", "mood", "mood", None),
    ],
)
def test_same_type_with_synonyms(product: str, wanted: str, found: str, same: bool | None) -> None:
    assert same_type(wanted, found, product) is same


@pytest.mark.parametrize(
    ("wanted", "found", "kind", "same"),
    [
        ("5", "'5'", "int", True),
        ("5.0", "5", "int", True),
        ("5", "6", "int", False),
        (None, "NULL", "int", True),
        ("'it''s'", "it's", "varchar(9)", True),
        ("'x'", "'y'", "varchar(9)", False),
        ("'2020-01-01'", "2020-01-01 00:00:00", "datetime", None),
        ("CURRENT_TIMESTAMP", "current_timestamp()", "datetime", True),
        (None, "CURRENT_TIMESTAMP", "timestamp", None),
        ("false", "0", "tinyint(1)", True),
    ],
)
def test_same_default_in_server_notation(
    wanted: str | None, found: str | None, kind: str, same: bool | None
) -> None:
    assert same_default(wanted, found, kind, "mysql") is same
