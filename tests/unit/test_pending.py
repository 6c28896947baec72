"""The canonical form of ``pending``: true or unknown."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from online_migrate.counting import Remaining
from online_migrate.kinds.pending import fails_verify, is_migrated, is_pending
from online_migrate.kinds.subject import Subject

TABLE = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer), sa.Column("b", sa.Integer))
ROWS = [(1, 1), (1, 2), (None, 1), (1, None), (None, None), (0, 0)]
EXPRESSIONS = {
    "a comparison": TABLE.c.a != TABLE.c.b,
    "a conjunction": (TABLE.c.a == 1) & (TABLE.c.b > 1),
    "a disjunction": (TABLE.c.a == 1) | TABLE.c.b.is_(None),
    "a negation": ~(TABLE.c.a == TABLE.c.b),
    "a constant": sa.true(),
    "nothing": sa.false(),
    "NULL": sa.null(),
    "a column": TABLE.c.a,
    "in a list": TABLE.c.a.in_([0, 2]),
    "exists": sa.exists(sa.select(TABLE.alias("o").c.a).where(TABLE.c.a == 1)),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_is_pending_and_is_migrated_are_complementary(name: str) -> None:
    """NULL is pending: of each row exactly one of the two conditions is true, and none is NULL."""
    expression = EXPRESSIONS[name]
    with sa.create_engine("sqlite://").connect() as connection:
        TABLE.create(connection)
        connection.execute(sa.insert(TABLE), [{"a": a, "b": b} for a, b in ROWS])
        query = sa.select(expression, is_pending(expression), is_migrated(expression)).select_from(TABLE)
        for truth, pending, migrated in connection.execute(query):
            assert {pending, migrated} == {0, 1}
            assert bool(migrated) == (truth is not None and not truth)


@pytest.mark.parametrize(
    "dialect", [mysql.dialect(), postgresql.dialect(), sqlite.dialect()], ids=lambda d: d.name
)
def test_is_pending_has_the_same_form_on_every_server(dialect: sa.Dialect) -> None:
    """Runner, gate and the check under the lock send the same text."""
    sql = str(is_pending(EXPRESSIONS["a disjunction"]).compile(dialect=dialect))
    assert sql.endswith(") IS NOT FALSE")
    assert sql.startswith("(")


def test_fails_verify_applies_to_migrated_rows_only() -> None:
    """A row that is still pending cannot fail ``verify``; without pending it applies to every row."""
    assert fails_verify(Subject(TABLE, TABLE.c.a.is_(None), None)) is None
    with sa.create_engine("sqlite://").connect() as connection:
        TABLE.create(connection)
        connection.execute(sa.insert(TABLE), [{"a": a, "b": b} for a, b in ROWS])
        for pending, count in ((TABLE.c.a.is_(None), 3), (None, 5)):
            wrong = fails_verify(Subject(TABLE, pending, TABLE.c.a == TABLE.c.b + 0 * TABLE.c.a - 0))
            found = connection.scalar(sa.select(sa.func.count()).select_from(TABLE).where(wrong))
            assert found == {3: 2, 5: 4}[count]


@pytest.mark.parametrize(
    ("remaining", "text"),
    [(Remaining(5, False, ()), "5"), (Remaining(1_000_000, True, ()), "at least 1,000,000")],
)
def test_remaining_shows_that_a_count_was_cut_off(remaining: Remaining, text: str) -> None:
    """A lower bound is not shown as an exact number."""
    assert str(remaining) == text
