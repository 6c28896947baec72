"""Properties parsed from a SQL statement, on which the lock, the journal and the refusals depend.

`tests/functional/test_statements_as_executed.py` compares them with what the servers do.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.sql import statement as s

SERVERS = ("postgresql", "mysql", "mariadb", "sqlite")
MYSQL = ("mysql", "mariadb")
SERVER = pytest.mark.parametrize("server", SERVERS)

COLUMNS = {
    "ALTER TABLE t DROP COLUMN a": [("t", "a")],
    'ALTER TABLE "s"."t" DROP COLUMN IF EXISTS "a""b" CASCADE': [("t", 'a"b')],
    "ALTER TABLE t DROP INDEX a": [],
    "ALTER TABLE t DROP PRIMARY KEY": [],
    "ALTER TABLE t DROP FOREIGN KEY a": [],
    "ALTER TABLE t DROP CONSTRAINT a": [],
    "ALTER TABLE t DROP CHECK a": [],
    "ALTER TABLE t ALTER COLUMN a DROP DEFAULT": [],
    'ALTER TABLE t DROP COLUMN "index"': [("t", "index")],
    'ALTER TABLE t DROP "key"': [("t", "key")],
    "ALTER TABLE t DROP PARTITION p": [],
    "ALTER TABLE t DROP COLUMN a; ALTER TABLE u DROP COLUMN b;": [("t", "a"), ("u", "b")],
    "DROP TABLE t": [],
}


@SERVER
@pytest.mark.parametrize(("text", "columns"), COLUMNS.items())
def test_dropped_columns(text: str, columns: list[tuple[str, str]], server: str) -> None:
    """Used to find an index on the column."""
    assert s.dropped_columns(text, server) == columns


@pytest.mark.parametrize("server", MYSQL)
def test_dropped_columns_of_mysql(server: str) -> None:
    """Names in backticks, the word ONLINE, executable comments, comments to the end of the line."""
    columns = {
        "alter table `t` drop column `a b`, drop c": [("t", "a b"), ("t", "c")],
        "ALTER ONLINE TABLE t WAIT 5 DROP COLUMN a": [("t", "a")],
        "ALTER TABLE t DROP /*!40000 COLUMN */ a": [("t", "a")],
        "ALTER TABLE t DROP COLUMN a # it's\n, DROP COLUMN b # isn't": [("t", "a"), ("t", "b")],
        "ALTER TABLE t ADD CHECK (a > 1--1), DROP COLUMN a": [("t", "a")],
    }
    assert {text: s.dropped_columns(text, server) for text in columns} == columns


TRIGGERS = {
    "DROP TRIGGER x": "x",
    'drop trigger if exists "x y"': "x y",
    "DROP TRIGGER s.x": "x",
    'DROP TRIGGER "X" ON "T"': "X",
    'DROP TRIGGER x ON "T" -- once `y`': "x",
    "DROP TABLE x": None,
    "CREATE TRIGGER x": None,
    "-- it goes\nDROP TRIGGER x": "x",
}


@SERVER
@pytest.mark.parametrize(("text", "name"), TRIGGERS.items())
def test_dropped_trigger(text: str, name: str | None, server: str) -> None:
    """Used to restore the trigger."""
    assert s.dropped(text, "TRIGGER", server) == name


INDEXES = {
    "DROP INDEX i": ["i"],
    'DROP INDEX "i" ON "t"': ["i"],
    "DROP INDEX IF EXISTS s.i": ["i"],
    "DROP INDEX CONCURRENTLY i, j": ["i", "j"],
    "ALTER TABLE t DROP INDEX i, DROP KEY k, DROP CONSTRAINT IF EXISTS c CASCADE": ["i", "k", "c"],
    "ALTER TABLE t DROP COLUMN i": [],
}


@SERVER
@pytest.mark.parametrize(("text", "names"), INDEXES.items())
def test_dropped_indexes(text: str, names: list[str], server: str) -> None:
    """Used to recognize that a column's index is already dropped."""
    assert s.dropped_indexes(text, server) == names


REMOVED = {
    "ALTER TABLE t DROP COLUMN a, DROP b": ["a", "b"],
    "DROP TABLE a, s.b CASCADE": ["a", "b"],
    "ALTER TABLE t RENAME COLUMN a TO b": ["a"],
    "ALTER TABLE t RENAME a TO b": ["a"],
    "ALTER TABLE t RENAME TO u": ["t"],
    "ALTER TABLE t RENAME u": ["t"],
    "ALTER TABLE t RENAME INDEX i TO j": [],
    "ALTER TABLE t RENAME CONSTRAINT i TO j": [],
    "ALTER TABLE t CHANGE a b int": ["a"],
    "ALTER TABLE t CHANGE COLUMN a a int": [],
    "ALTER TABLE t ADD COLUMN a int": [],
    "DROP INDEX i": [],
    "DROP TRIGGER x": [],
}


@SERVER
@pytest.mark.parametrize(("text", "names"), REMOVED.items())
def test_removed_names(text: str, names: list[str], server: str) -> None:
    """A trigger that uses one of these names is not restored.

    Dropping an index or a trigger removes no name.
    """
    assert s.removed_names(text, server) == names


QUALIFIED = {
    "ALTER TABLE a.t DROP COLUMN x": [("a", "t")],
    'ALTER TABLE "a" . "t t" DROP COLUMN x': [("a", "t t")],
    'DROP TABLE "a"."t", b.u': [("a", "t"), ("b", "u")],
    "SELECT 1.5, 'a.t' FROM t": [],
    "DROP TABLE t": [],
}


@SERVER
@pytest.mark.parametrize(("text", "names"), QUALIFIED.items())
def test_qualified_names_finds_every_pair(text: str, names: list[tuple[str, str]], server: str) -> None:
    """Quoted or not; numbers and strings are skipped."""
    assert s.qualified_names(text, server) == names


@SERVER
def test_altered_table_and_schema(server: str) -> None:
    """The schema is None if the statement has none, both are None for another statement."""
    assert s.altered_schema("ALTER TABLE a.t DROP COLUMN x", server) == "a"
    assert s.altered_schema("ALTER TABLE t DROP COLUMN x", server) is None
    assert s.altered_table("ALTER TABLE IF EXISTS a.t DROP COLUMN x", server) == "t"
    assert s.altered_table("DROP TABLE t", server) is None


def test_identifiers() -> None:
    """Words in strings and comments are not among them, unless the text cannot be read."""
    text = "ALTER TABLE \"2nd\" DROP A -- `b`\n, ALTER c SET DEFAULT 'd'"
    assert s.identifiers(text, "mysql") == ["2nd", "A", "ALTER", "DEFAULT", "DROP", "SET", "TABLE", "c"]
    assert {"a", "2nd"} <= set(s.identifiers(text, "postgresql"))
    assert s.identifiers("DROP TABLE a, 'b", "postgresql") == ["DROP", "TABLE", "a", "b"]
    assert s.identifiers("-- a", "postgresql") == []


@SERVER
@given(st.text(max_size=200))
def test_any_text_is_parsed_without_an_error(server: str, text: str) -> None:
    """Any statement of a script is classified without an exception."""
    s.identifiers(text, server)
    s.qualified_names(text, server)
    s.first_word(text, server)
    s.dropped_columns(text, server)
    s.removed_names(text, server)
    s.dropped_indexes(text, server)
    assert s.dropped(text, "TRIGGER", server) is None or "trigger" in text.lower()


@given(
    st.text(st.characters(blacklist_characters='"`\0', blacklist_categories=("Cs",)), min_size=1, max_size=20)
)
def test_quoted_name_is_not_parsed_as_a_verb(name: str) -> None:
    """A column may have any name."""
    for server in ("postgresql", "sqlite"):
        assert s.dropped_columns(f'ALTER TABLE t DROP COLUMN "{name}"', server) == [("t", name)]
    for server in MYSQL:
        assert s.dropped_columns(f"ALTER TABLE t DROP COLUMN `{name}`", server) == [("t", name)]


def test_shorten() -> None:
    """One line of bounded length."""
    assert s.shorten("SELECT\n  1") == "SELECT 1"
    assert len(s.shorten("x" * 500)) == 120


@pytest.mark.parametrize("server", ["postgresql", "sqlite"])
@pytest.mark.parametrize("word", ["key", "index", "partition"])
def test_dropped_column_with_the_name_of_an_object(word: str, server: str) -> None:
    """These words are not reserved on PostgreSQL and SQLite."""
    assert s.dropped_columns(f"ALTER TABLE t DROP {word}", server) == [("t", word)]
    assert s.dropped_columns(f"ALTER TABLE t DROP {word} CASCADE", server) == [("t", word)]
    assert s.removed_names(f"ALTER TABLE t DROP {word}", server) == [word]
