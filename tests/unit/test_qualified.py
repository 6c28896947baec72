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
def test_every_pair_is_found(statement: str) -> None:
    """Quoted or not; no number, no string."""
    assert qualified_names(statement) == FOUND[statement]


def test_the_schema_of_an_altered_table() -> None:
    """None where none is named."""
    assert altered_schema("ALTER TABLE a.t DROP COLUMN x") == "a"
    assert altered_schema("ALTER TABLE t DROP COLUMN x") is None
