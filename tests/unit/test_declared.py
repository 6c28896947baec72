"""Exceptions that a script declares: which operations a key names."""

from __future__ import annotations

import pytest

from online_migrate.phases.declared import DeclaredExceptions
from online_migrate.phases.verdict import Place, Verdict

DROP = Verdict(place=Place.CONTRACT, rule="drop-column", object="volumes.size", reason="old code reads it")
STATEMENT = "ALTER TABLE volumes DROP COLUMN size"


@pytest.mark.parametrize(
    "key",
    [
        "drop-column",
        "drop-column volumes.size",
        " Drop-Column   Volumes.size ",
        "alter table volumes\n  drop column size;",
        'ALTER TABLE "volumes" DROP COLUMN "size"',
    ],
)
def test_key_names_operation_or_statement(key: str) -> None:
    declared = DeclaredExceptions({key: "why"}, "postgresql")
    assert declared.unmatched == [key]
    assert declared.accepts(STATEMENT, DROP)
    assert declared.unmatched == []


@pytest.mark.parametrize(
    "key",
    [
        "drop-colum volumes.size",
        "drop-table",
        "drop-column volumes.id",
        'ALTER TABLE volumes DROP COLUMN "Size"',
    ],
)
def test_other_key_matches_nothing(key: str) -> None:
    declared = DeclaredExceptions({key: "why"}, "postgresql")
    assert not declared.accepts(STATEMENT, DROP)


def test_text_in_quotes_is_compared_exactly() -> None:
    insert = Verdict(place=Place.DATA, rule="change-rows", object="t")
    declared = DeclaredExceptions({"INSERT INTO t VALUES ('A')": "why"}, "mysql")
    assert not declared.accepts("INSERT INTO t VALUES ('a')", insert)
    assert declared.accepts("insert into t values ('A')", insert)


def test_rendered_statement_is_accepted_with_parameters() -> None:
    """The text that was matched contains the values; the driver gets parameters."""
    insert = Verdict(place=Place.DATA, rule="change-rows", object="t")
    declared = DeclaredExceptions({"INSERT INTO t (a) VALUES (1)": "why"}, "postgresql")
    assert declared.accepts("INSERT INTO t (a) VALUES (1)", insert)
    assert declared.accepts("INSERT INTO t (a) VALUES (%(a)s)", insert)


@pytest.mark.parametrize("key", ["change-type t.a", "add-foreign-key t.fk"])
def test_key_for_an_operation_that_is_additive_here_is_not_misspelt(key: str) -> None:
    """A change may be additive on one server only, or have another form there; the table must be right."""
    widened = Verdict(place=Place.EXPAND, rule="widen-type", object="t.a")
    declared = DeclaredExceptions({key: "why", "change-typ t.a": "why", "change-type u.a": "why"}, "mysql")
    assert not declared.accepts("ALTER TABLE t MODIFY a BIGINT", widened)
    assert declared.unmatched == ["change-typ t.a", "change-type u.a"]
