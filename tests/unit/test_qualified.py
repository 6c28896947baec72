"""Names with a schema in a statement."""

from __future__ import annotations

import pytest

from online_migrate.dialects.qualified import altered_schema, qualified_names

FOUND = {
    "ALTER TABLE a.t DROP COLUMN x": [("a", "t")],
    "ALTER TABLE `a` . `t t` DROP COLUMN x": [("a", "t t")],
    'DROP TABLE "a"."t", b.u': [("a", "t"), ("b", "u")],
    "SELECT 1.5, 'a.t' FROM t": [],
    "DROP TABLE t": [],
}


@pytest.mark.parametrize("statement", FOUND)
def test_qualified_names_finds_every_pair(statement: str) -> None:
    """Quoted or not; numbers and strings are skipped."""
    assert qualified_names(statement) == FOUND[statement]


def test_altered_schema() -> None:
    """None if the statement has no schema."""
    assert altered_schema("ALTER TABLE a.t DROP COLUMN x") == "a"
    assert altered_schema("ALTER TABLE t DROP COLUMN x") is None
