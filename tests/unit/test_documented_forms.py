"""The tables of forms in docs/writing.md are what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from online_migrate.sql.forms.mysql import change_of
from online_migrate.sql.forms.postgresql import steps_of
from tests.unit.test_postgresql_forms import Known

PAGE = (Path(__file__).parents[2] / "docs" / "writing.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[list[str]]]:
    """Returns the code of each cell of the table under *heading*."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]] for line in lines]


@pytest.mark.parametrize("row", rows_of("On PostgreSQL"), ids=lambda row: row[0][0])
def test_steps_of_postgresql(row: list[list[str]]) -> None:
    [[statement], steps] = row
    assert [step.sql for step in steps_of(statement, Known())] == steps


def test_clauses_of_mysql() -> None:
    [add, drop, create] = rows_of("On MySQL and MariaDB")
    for [[statement], clauses], begin, separator in (
        (add, add[0][0], ", "),
        (drop[:1] + add[1:], drop[1][0], ", "),
        (create, create[0][0], " "),
    ):
        for product in ("mysql", "mariadb"):
            change = change_of(statement, product)
            assert change is not None
            expected = [c for c in clauses if "NOCOPY" not in c or product == "mariadb"]
            assert list(change.online) == [f"{begin}{separator}{clause}" for clause in expected]
