"""plan: the SQL of the remaining steps, without executing any of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import Snapshot

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def test_plan_shows_every_step_in_order(project: Project, database: Database) -> None:
    """Expands, data migration and contract, each with its SQL; --exit-code reports that work remains."""
    schema.as_before(project, database)
    before = Snapshot.of(database)
    steps = schema.run(project, "plan", "--json").json
    assert [(step["phase"], step["name"]) for step in steps] == [
        ("expand", "e2"),
        ("migrate", "volume_bytes"),
        ("contract", "c2"),
    ]
    assert any("ADD COLUMN size_bytes" in statement for statement in steps[0]["statements"])
    assert any("CREATE TRIGGER" in statement for statement in steps[0]["statements"])
    contract = " ".join(steps[2]["statements"])
    assert "DROP COLUMN legacy" in contract or steps[2]["note"]  # batch mode needs the live database
    shown = schema.run(project, "plan", "--exit-code")
    assert shown.code == 1
    assert "CREATE TRIGGER" in shown.out
    assert Snapshot.of(database) == before


def test_plan_shows_the_update_of_a_backfill(project: Project, database: Database) -> None:
    """After expand, the plan has the UPDATE with the canonical form of ``pending``."""
    schema.as_before(project, database)
    project.apply_expand()
    steps = schema.run(project, "plan", "--json").json
    assert [step["phase"] for step in steps] == ["migrate", "contract"]
    [statement] = steps[0]["statements"]
    assert statement.startswith("UPDATE volumes SET size_bytes=")
    assert "IS NOT FALSE" in statement


def test_plan_after_contract_is_empty(project: Project, database: Database) -> None:
    """An empty plan, and exit code 0 with --exit-code."""
    schema.ready(project, database)
    assert schema.run(project, "contract").code == 0
    ran = schema.run(project, "plan", "--json", "--exit-code")
    assert (ran.code, ran.json) == (0, [])


@pytest.mark.parametrize(
    "body",
    [
        'op.get_bind().execute(sa.text("SELECT 1")).scalar_one() + 1',
        'raise RuntimeError("it asks the database")',
        "1 / 0",
        "{}['missing']",
    ],
)
def test_plan_notes_a_script_that_cannot_be_rendered(project: Project, database: Database, body: str) -> None:
    """For any error of upgrade() without a connection, the step has a note and the other steps are shown."""
    project.expand(body, "e3")
    ran = schema.run(project, "plan", "--json")
    assert ran.code == 0, ran.output
    [step] = [step for step in ran.json if step["name"] == "e3"]
    assert step["note"]
    assert [s["name"] for s in ran.json if s["phase"] == "expand"] == ["e1", "e2", "e3"]
