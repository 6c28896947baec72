"""What is read off a SQL statement, on which the lock, the journal and the refusals depend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.sql import statement as s

READS = (
    "SELECT 1",
    "  select * from t -- DROP TABLE t",
    "(SELECT 1)",
    "/* DROP TABLE t */ SELECT 1",
    "SHOW TABLES",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SET lock_timeout = 5",
    "PRAGMA foreign_keys = ON",
    "",
    ";",
    "SELECT 'DELETE FROM t; DROP TABLE t'",
)
WRITES = (
    "INSERT INTO t VALUES (1)",
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    "DROP TABLE t",
    "drop\n\ttable t",
    "SELECT 1; DROP TABLE t",
    "/*! DROP TABLE t */",
    "/*!50000 DROP TABLE t */",
    "/*M!100100 DROP TABLE t */",
    "DO $$ BEGIN DROP TABLE t; END $$",
    "CALL drop_everything()",
    "TRUNCATE t",
    "GRANT ALL ON t TO x",
    "COMMENT ON TABLE t IS 'x'",
)


@pytest.mark.parametrize("text", READS)
def test_reads(text: str) -> None:
    """What changes nothing is neither recorded nor kept from running."""
    assert s.is_read(text)
    assert not s.is_destructive(text)


@pytest.mark.parametrize("text", WRITES)
def test_writes(text: str) -> None:
    """Hidden in a comment that is executed, in a CTE, behind a semicolon: a write is a write."""
    assert not s.is_read(text)


DESTRUCTIVE = (
    "DROP TABLE t",
    "DROP TRIGGER x ON t",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t DROP a",
    "ALTER TABLE IF EXISTS ONLY s.t ADD COLUMN b int, DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "RENAME TABLE t TO u",
    "UPDATE t SET a = NULL",
    "DELETE FROM t",
    "TRUNCATE t",
    "CREATE INDEX CONCURRENTLY i ON t (a); DROP TABLE t",
    "DO $$ BEGIN DROP TABLE t; END $$",
    "CALL f()",
    'ALTER TABLE "a,b" DROP COLUMN c',
)
HARMLESS = (
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "DROP INDEX CONCURRENTLY i",
    "CREATE TABLE t (a int)",
    "ALTER TABLE t ADD COLUMN a int",
    "ALTER TABLE t ADD COLUMN a varchar(9) DEFAULT ', DROP COLUMN b'",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a IN (1, 2)) NOT VALID",
    "ALTER TABLE t VALIDATE CONSTRAINT c",
    "INSERT INTO t VALUES ('DROP TABLE t')",
)


@pytest.mark.parametrize("text", DESTRUCTIVE)
def test_destructive(text: str) -> None:
    """What old code may still use is taken away, or nobody can say."""
    assert s.is_destructive(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_not_destructive(text: str) -> None:
    """May run where no lock lasts."""
    assert not s.is_destructive(text)


COLUMNS = {
    "ALTER TABLE t DROP COLUMN a": [("t", "a")],
    "alter table `t` drop column `a b`, drop c": [("t", "a b"), ("t", "c")],
    'ALTER TABLE "s"."t" DROP COLUMN IF EXISTS "a""b" CASCADE': [("t", 'a"b')],
    "ALTER TABLE t DROP INDEX a": [],
    "ALTER TABLE t DROP PRIMARY KEY": [],
    "ALTER TABLE t DROP FOREIGN KEY a": [],
    "ALTER TABLE t DROP CONSTRAINT a": [],
    "ALTER TABLE t DROP CHECK a": [],
    "ALTER TABLE t ALTER COLUMN a DROP DEFAULT": [],
    "ALTER TABLE t DROP COLUMN `index`": [("t", "index")],
    "ALTER TABLE t DROP `key`": [("t", "key")],
    "ALTER TABLE t DROP PARTITION p": [],
    "DROP TABLE t": [],
}


@pytest.mark.parametrize(("text", "columns"), COLUMNS.items())
def test_dropped_columns(text: str, columns: list[tuple[str, str]]) -> None:
    """By which an index in the way is found."""
    assert s.dropped_columns(text) == columns


TRIGGERS = {
    "DROP TRIGGER x": "x",
    "drop trigger if exists `x y`": "x y",
    "DROP TRIGGER s.x": "x",
    'DROP TRIGGER "X" ON "T"': "X",
    "DROP TABLE x": None,
    "CREATE TRIGGER x": None,
}


@pytest.mark.parametrize(("text", "name"), TRIGGERS.items())
def test_dropped_trigger(text: str, name: str | None) -> None:
    """By which it is put back."""
    assert s.dropped(text, "TRIGGER") == name


INDEXES = {
    "DROP INDEX i": ["i"],
    "DROP INDEX `i` ON `t`": ["i"],
    "DROP INDEX IF EXISTS i": ["i"],
    "DROP INDEX CONCURRENTLY i": ["i"],
    "ALTER TABLE t DROP INDEX i, DROP KEY k": ["i", "k"],
    "ALTER TABLE t DROP COLUMN i": [],
}


@pytest.mark.parametrize(("text", "names"), INDEXES.items())
def test_dropped_indexes(text: str, names: list[str]) -> None:
    """By which a column's index is known to be out of the way."""
    assert s.dropped_indexes(text) == names


TAKEN = {
    "ALTER TABLE t DROP COLUMN a, DROP b": ["a", "b"],
    "DROP TABLE a, b CASCADE": ["a", ",", "b"],
    "ALTER TABLE t RENAME COLUMN a TO b": ["a"],
    "ALTER TABLE t RENAME TO u": ["t"],
    "ALTER TABLE t CHANGE a b int": ["a"],
    "ALTER TABLE t CHANGE a a int": [],
    "ALTER TABLE t ADD COLUMN a int": [],
    "DROP INDEX i": [],
    "DROP TRIGGER x": [],
}


@pytest.mark.parametrize(("text", "names"), TAKEN.items())
def test_taken_away(text: str, names: list[str]) -> None:
    """A trigger that uses one of these is not put back; an index or a trigger takes nothing away."""
    assert [name for name in s.removed_names(text) if name != ","] == [name for name in names if name != ","]


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    """Whatever a script sends, it is judged and not crashed upon."""
    s.is_read(text)
    s.is_destructive(text)
    s.identifiers(text)
    s.dropped_columns(text)
    s.removed_names(text)
    s.dropped_indexes(text)
    assert s.dropped(text, "TRIGGER") is None or "trigger" in text.lower()


@given(
    st.text(st.characters(blacklist_characters='"`\0', blacklist_categories=("Cs",)), min_size=1, max_size=20)
)
def test_a_quoted_name_is_never_a_verb(name: str) -> None:
    """A column may be called anything."""
    assert s.dropped_columns(f'ALTER TABLE t DROP COLUMN "{name}"') == [("t", name)]


def test_shorten() -> None:
    """One line of bounded length."""
    assert s.shorten("SELECT\n  1") == "SELECT 1"
    assert len(s.shorten("x" * 500)) == 120
