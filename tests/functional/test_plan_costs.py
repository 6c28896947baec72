"""plan: what each statement locks, its work, and the size of the table; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import Snapshot

pytestmark = pytest.mark.each_product
ROWS = 3_000


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A table with rows and statistics."""
    with Project.create(tmp_path / "project", database.url) as project:
        columns = 'sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer)'
        project.expand(f'op.create_table("items", {columns}, mysql_engine="InnoDB")', "e1")
        project.apply_expand()
        values = ", ".join(f"({i}, {i})" for i in range(1, ROWS + 1))
        schema.run_all(database, f"INSERT INTO items (id, a) VALUES {values}")
        analyze = "ANALYZE TABLE items" if database.server.has("lock_tables") else "ANALYZE items"
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(analyze)
        yield project


def plan_of(project: Project) -> list[dict[str, Any]]:
    """Returns the steps of plan --json."""
    ran = schema.run(project, "plan", "--json")
    assert ran.code == 0, ran.output
    steps: list[dict[str, Any]] = ran.json
    return steps


def test_costs_of_an_expand_and_of_rows(project: Project, database: Database) -> None:
    """A nullable column changes the catalog only; an index reads all rows and grows the database."""
    project.expand(
        'op.add_column("items", sa.Column("b", sa.Integer))\nop.create_index("ix_a", "items", ["a"])', "e2"
    )
    project.data("fill", 'fill = Backfill(table="items", values={"b": 1}, pending=lambda t: t.c.b.is_(None))')
    before = Snapshot.of(database, "items")
    expand, fill = plan_of(project)
    column, index = expand["costs"][0], expand["costs"][-1]
    assert [len(expand["costs"]), expand["note"]] == [len(expand["statements"]), None]
    assert (column["work"], column["blocks"]) == ("none", "nothing")
    assert (index["work"], index["table"]) == ("scan", "items")
    assert index["rows"] == pytest.approx(ROWS, rel=0.2)
    assert index["seconds"] >= 0
    assert index["disk_bytes"] is None or index["disk_bytes"] > ROWS
    assert fill["rows"] == pytest.approx(ROWS, rel=0.2)
    assert Snapshot.of(database, "items") == before
    shown = schema.run(project, "plan").out
    assert "scan of the table" in shown
    assert "-- rows to move: " in shown


def test_rows_to_move_are_counted_after_expand(project: Project, database: Database) -> None:
    """The pending rows are counted, and not taken from the statistics."""
    project.expand('op.add_column("items", sa.Column("b", sa.Integer))', "e2")
    project.data("fill", 'fill = Backfill(table="items", values={"b": 1}, pending=lambda t: t.c.b.is_(None))')
    project.apply_expand()
    schema.run_all(database, "UPDATE items SET b = 7 WHERE id < 1000")
    [fill] = plan_of(project)
    assert fill["rows"] == ROWS - 999


def test_refused_operations_are_noted(project: Project, database: Database) -> None:
    """plan says which operations expand will refuse, and changes nothing."""
    project.expand('op.execute("DELETE FROM items WHERE id < 10")', "e2")
    before = Snapshot.of(database, "items")
    [step] = plan_of(project)
    assert step["note"] == "expand refuses change-rows items"
    assert Snapshot.of(database, "items") == before


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_checked_not_null_reads_no_row(project: Project, database: Database) -> None:
    """After a valid CHECK, SET NOT NULL changes the catalog only; without it, it reads all rows."""
    for revision, body in {
        "e2": "ALTER TABLE items ALTER COLUMN a SET NOT NULL",
        "e3": "ALTER TABLE items ADD CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID",
        "e4": "ALTER TABLE items VALIDATE CONSTRAINT c",
        "e5": "ALTER TABLE items ALTER COLUMN a SET NOT NULL",
    }.items():
        project.expand(f"op.execute({body!r})", revision)
    works = {step["name"]: step["costs"][0]["work"] for step in plan_of(project)}
    assert works == {"e2": "scan", "e3": "none", "e4": "scan", "e5": "none"}
