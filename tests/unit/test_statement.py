"""What is read off a SQL statement, on which the lock, the journal and the refusals depend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.dialects import statement as s

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
    "# it goes\nDROP TRIGGER x": "x",
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
    assert [name for name in s.taken_away(text) if name != ","] == [name for name in names if name != ","]


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    """Whatever a script sends, it is judged and not crashed upon."""
    s.identifiers(text)
    s.dropped_columns(text)
    s.taken_away(text)
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
