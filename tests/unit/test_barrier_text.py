"""The name of a barrier, and the conditions whose value depends on one row alone."""

from __future__ import annotations

import pytest

from online_migrate.contract.barrier import barrier_blocker, barrier_name
from online_migrate.dialects.facets.barriers import LiveBarrier
from online_migrate.sql.row_condition import unknown_parts, values_used
from online_migrate.state import BarrierState, Verification

COLUMNS = ("a", "b", "now")


def test_names_are_short_and_different() -> None:
    """With room for the suffix of a trigger; a name that is changed gets a digest."""
    names = ["fill", "Fill", "f-ll", "f.ll", "x" * 80, "x" * 81, "ümlaut"]
    found = [barrier_name(name) for name in names]
    assert found[0] == "online_migrate_barrier_fill"
    assert len(set(found)) == len(names)
    assert all(len(name) <= 56 and name.isascii() for name in found)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("((NEW.`a` IS NULL AND NEW.b IS NOT NULL) IS NOT FALSE)", []),
        ("NEW.a <> NEW.b * 1024 OR coalesce(NEW.`a`, 0) IN (1, 'x / now() @y')", []),
        ("NEW.now > 1", []),
        ("NEW.a = CAST(NEW.b AS SIGNED INTEGER) * 1024", []),
        ("NEW.a = CAST(NEW.b AS UNSIGNED)", []),
        ("NEW.a = CAST(NEW.b AS CHAR CHARACTER SET x)", ["x"]),
        ("NEW.a > now()", ["now"]),
        ("NEW.a > CURRENT_TIMESTAMP", ["CURRENT_TIMESTAMP"]),
        ("NEW.a = rand()", ["rand"]),
        ("NEW.a / 3 = NEW.b", ["/"]),
        ("NEW.a = @@sql_mode", ["@@", "sql_mode"]),
        ("NEW.a IN (SELECT a FROM t)", ["SELECT", "FROM", "t"]),
        ("NEW.missing = 1", ["missing"]),
        ("a = 1", ["a"]),
    ],
)
def test_only_known_words_are_accepted(text: str, unknown: list[str]) -> None:
    assert set(unknown_parts(text, "mysql", COLUMNS)) >= set(unknown)
    assert bool(unknown_parts(text, "mysql", COLUMNS)) is bool(unknown)


def test_values_of_columns_that_are_used() -> None:
    assert values_used("NEW.a IS NULL AND NEW.`b` IS NOT NULL", "mysql", ("a", "b")) == []
    assert values_used("NEW.a IS NULL AND NEW.`b` > '2020-01-01'", "mysql", ("a", "b")) == ["b"]


def test_blocker_names_what_happened() -> None:
    recorded = Verification(
        "fill", "t", None, "x", barrier="b", barrier_state=BarrierState.CREATED, definition="one"
    )
    live = {
        None: "barrier-missing",
        LiveBarrier("two"): "barrier-changed",
        LiveBarrier("one", "it is NOT ENFORCED"): "barrier-disabled",
    }
    for found, id_ in live.items():
        blocker = barrier_blocker(recorded, found)
        assert blocker is not None
        assert blocker.id == id_
        assert "online-migrate verify fill" in blocker.hint
    assert barrier_blocker(recorded, LiveBarrier("one")) is None
