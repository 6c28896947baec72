"""docs/lint.md and the rules: each names all of the other."""

from __future__ import annotations

import re
from pathlib import Path

from online_migrate.lint.registry import built_in

PAGE = (Path(__file__).parents[2] / "docs" / "lint.md").read_text(encoding="utf-8")
RULES, CHECKS = PAGE.split("## Rules\n")[1].split("## Checks of other tools")


def _cells(text: str, column: int) -> set[str]:
    """The names in backquotes in a column of the tables."""
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row[column])}


def test_page_lists_every_rule() -> None:
    """In the tables of rules, and no other one."""
    assert _cells(RULES, 0) == set(built_in())


def test_checks_of_other_tools_are_rules_here() -> None:
    """Each rule that the tables name exists; a check that is left out has a note."""
    rows = [line.strip("| \n").split(" | ") for line in CHECKS.splitlines() if line.startswith("| ")]
    assert len(rows) > 100
    assert _cells(CHECKS, 1) <= set(built_in())
    for row in rows:
        assert row[1].strip() != "left out" or (len(row) == 3 and row[2].strip()), row


def test_marked_rules_are_those_that_the_engine_sends_safely() -> None:
    """The mark in the tables is the property of the rule."""
    marked = set(re.findall(r"`([^`]+)`¹", RULES))
    assert marked == {rule.id for rule in built_in().values() if rule.sent_safely}
