"""Tests for the conditions that are understood without a parser."""

from __future__ import annotations

import pytest

from online_migrate.sql.plain_condition import is_plain, words

COLUMNS = ["id", "size", "gb", "table"]


@pytest.mark.parametrize(
    "condition",
    [
        "(items.size IS NULL) IS NOT FALSE",
        "(size IS NULL OR gb > 0) IS NOT FALSE",
        "(items.size != items.gb * 0) IS NOT FALSE",
        "(items.size IN (0, 0) AND NOT (items.gb = ?)) IS NOT FALSE",
    ],
)
def test_comparison_of_columns_with_constants_is_plain(condition: str) -> None:
    assert is_plain(f"SELECT 1 \nFROM items \nWHERE {condition}", "items", COLUMNS)


@pytest.mark.parametrize(
    "condition",
    [
        "(lower(items.size) = 0) IS NOT FALSE",
        "(items.size (gb) = 0) IS NOT FALSE",
        "(gb IN (SELECT id)) IS NOT FALSE",
        "(gb IN (TABLE other)) IS NOT FALSE",
        "(gb IN other) IS NOT FALSE",
        "(gb IN size) IS NOT FALSE",
        "(gb IN (table size)) IS NOT FALSE",
        "(other.size IS NULL) IS NOT FALSE",
        "(items.unknown IS NULL) IS NOT FALSE",
        "(items.size.id IS NULL) IS NOT FALSE",
        '("size" IS NULL) IS NOT FALSE',
        "(`size` IS NULL) IS NOT FALSE",
        "(size = 'x') IS NOT FALSE",
        "(size IS NULL /*! OR gb */) IS NOT FALSE",
        "(size IS NULL) -- IS NOT FALSE",
        "(size IS NULL) # IS NOT FALSE",
        "(size IS NULL); size",
        "(size = @gb) IS NOT FALSE",
        "(size = $1) IS NOT FALSE",
        "(size = 0x10) IS NOT FALSE",
        "(size::other IS NULL) IS NOT FALSE",
        "(size IS NULL) UNION",
    ],
)
def test_every_other_condition_is_not_plain(condition: str) -> None:
    assert not is_plain(f"SELECT 1 \nFROM items \nWHERE {condition}", "items", COLUMNS)


@pytest.mark.parametrize("source", ["items, other", "items AS i", '"Items"', "other"])
def test_source_is_the_table_alone(source: str) -> None:
    assert not is_plain(f"SELECT 1 \nFROM {source} \nWHERE size IS NULL", "items", COLUMNS)
    if source != "other":
        assert not is_plain(f"SELECT 1 \nFROM {source} \nWHERE size IS NULL", source, COLUMNS)


def test_table_may_have_a_schema() -> None:
    assert is_plain("SELECT 1 \nFROM shop.items \nWHERE shop.items.size IS NULL", "shop.items", COLUMNS)


def test_words_include_keywords() -> None:
    assert words("FROM items \nWHERE items.size") == ["FROM", "items", "WHERE", "items", "size"]


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\x1c", "\x85", "\v"])
def test_white_space_outside_of_sql_is_not_plain(space: str) -> None:
    """PostgreSQL reads a no-break space as a part of the name of a function: NOT\u00a0(size)."""
    assert not is_plain(f"SELECT 1 \nFROM items \nWHERE NOT{space}(items.size)", "items", COLUMNS)
