"""What the copy of a table by Alembic's batch mode amounts to."""

from __future__ import annotations

import pytest

from online_migrate.phases.table_copy import differences
from online_migrate.sql.operations.operation import CreateTable
from online_migrate.sql.operations.reader import read_operations

ORIGINAL = "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(9) DEFAULT 'x' NOT NULL, b INTEGER UNIQUE)"
CASES = {
    "nothing": (
        "id INTEGER NOT NULL, a VARCHAR(9) DEFAULT 'x' NOT NULL, b INTEGER, PRIMARY KEY (id), UNIQUE (b)",
        [],
    ),
    "a new column": (
        "id INTEGER PRIMARY KEY, a VARCHAR(9) DEFAULT 'x' NOT NULL, b INTEGER UNIQUE, c TEXT",
        ["AddColumn"],
    ),
    "a dropped column": (
        "id INTEGER PRIMARY KEY, a VARCHAR(9) DEFAULT 'x' NOT NULL",
        ["DropColumn", "DropConstraint"],
    ),
    "a nullable column": (
        "id INTEGER PRIMARY KEY, a VARCHAR(9) DEFAULT 'x', b INTEGER UNIQUE",
        ["DropNotNull"],
    ),
    "a column that is no longer nullable": (
        "id INTEGER PRIMARY KEY, a VARCHAR(9) DEFAULT 'x' NOT NULL, b INTEGER NOT NULL UNIQUE",
        ["SetNotNull"],
    ),
    "another type": (
        "id INTEGER PRIMARY KEY, a VARCHAR(99) DEFAULT 'x' NOT NULL, b INTEGER UNIQUE",
        ["SetColumnType"],
    ),
    "another default": ("id INTEGER PRIMARY KEY, a VARCHAR(9) NOT NULL, b INTEGER UNIQUE", ["SetDefault"]),
    "a new constraint": (
        "id INTEGER PRIMARY KEY, a VARCHAR(9) DEFAULT 'x' NOT NULL, b INTEGER UNIQUE, CHECK (b > 0)",
        ["AddConstraint"],
    ),
}


def table(sql: str) -> CreateTable:
    [found] = read_operations(sql, "sqlite")
    assert isinstance(found, CreateTable)
    return found


@pytest.mark.parametrize("case", CASES)
def test_difference_of_two_definitions(case: str) -> None:
    columns, expected = CASES[case]
    copy = table(f"CREATE TABLE _alembic_tmp_t ({columns})")
    found = differences(table(ORIGINAL), copy, {})
    assert [type(one).__name__ for one in found] == expected
    assert {str(one.table) for one in found} <= {"t"}  # type: ignore[attr-defined]


def test_copied_values_show_a_renamed_column() -> None:
    columns = "id INTEGER PRIMARY KEY, title VARCHAR(9) DEFAULT 'x' NOT NULL, b INTEGER UNIQUE"
    copy = table(f"CREATE TABLE _alembic_tmp_t ({columns})")
    found = differences(table(ORIGINAL), copy, {"id": "id", "a": "title", "b": "b"})
    assert [type(one).__name__ for one in found] == ["RenameColumn"]
