"""Where an ALTER copies the table (Alembic's batch mode on SQLite), child rows and triggers are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, declared
from tests.support.schema import Run

PARENTS = """
    op.create_table("parents", sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("old", sa.String(20)), sa.Column("name", sa.String(20)))
    op.create_table("children", sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("parent", sa.Integer, sa.ForeignKey("parents.id", ondelete="CASCADE")))
    op.create_table("log", sa.Column("line", sa.String(40)))
    op.execute("CREATE TRIGGER noted AFTER UPDATE OF name ON parents "
               "BEGIN INSERT INTO log VALUES ('renamed to ' || NEW.name); END")
"""

COPIES = {
    "nullability": 'batch.alter_column("name", existing_type=sa.String(20), nullable=False)',
    "type": 'batch.alter_column("name", existing_type=sa.String(20), type_=sa.String(50))',
    "dropped column": 'batch.drop_column("old")',
    "renamed column": 'batch.alter_column("old", new_column_name="older", existing_type=sa.String(20))',
    "constraint": 'batch.create_check_constraint("ck_name", "name <> \'\'")',
    "several": 'batch.drop_column("old")\n'
    '    batch.alter_column("name", existing_type=sa.String(20), nullable=False)',
}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Database]:
    """An SQLite file, which every connection of the application opens with foreign_keys=ON."""
    with schema.embedded().fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def project(embedded: Database, tmp_path: Path) -> Iterator[Project]:
    """Two parents with two children each, written by an application."""
    with Project.create(tmp_path / "project", embedded.url) as project:
        project.expand(PARENTS, "e1")
        project.apply_expand()
        with application(embedded) as connection:
            connection.execute("INSERT INTO parents VALUES (1, 'x', 'one'), (2, 'y', 'two')")
            connection.execute("INSERT INTO children VALUES (10, 1), (11, 1), (20, 2), (21, 2)")
        yield project


def application(database: Database) -> sqlite3.Connection:
    """A connection of the application, with foreign keys enabled."""
    connection = sqlite3.connect(str(database.engine.url.database))
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def by_contract(project: Project, change: str) -> Run:
    project.contract(f'with op.batch_alter_table("parents") as batch:\n    {change}', "c1")
    return schema.run(project, "contract")


def by_expand(project: Project, change: str) -> Run:
    rules = ("drop-column parents.old", "rename-column parents.old", "set-not-null parents.name")
    rules += ("change-type parents.name", "add-check parents.ck_name", "change-rows parents")
    additive = declared(*rules)
    project.expand(f'with op.batch_alter_table("parents") as batch:\n    {change}', "e2", additive=additive)
    return schema.run(project, "expand")


def by_plain_alembic(project: Project, change: str) -> Run:
    project.expand(f'with op.batch_alter_table("parents") as batch:\n    {change}', "e2")
    return schema.alembic(project, "upgrade", "expand@head")


WAYS = (by_contract, by_expand, by_plain_alembic)


@pytest.mark.parametrize("change", list(COPIES))
@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_table_copy_keeps_children_and_trigger(
    project: Project, embedded: Database, way: Callable[[Project, str], Run], change: str
) -> None:
    """The parent table is dropped and created again, without triggering ON DELETE CASCADE."""
    ran = way(project, COPIES[change])
    assert ran.code == 0, ran.output
    assert schema.query_all(embedded, "SELECT id, name FROM parents") == [(1, "one"), (2, "two")]
    assert schema.query_all(embedded, "SELECT id, parent FROM children ORDER BY id") == [
        (10, 1),
        (11, 1),
        (20, 2),
        (21, 2),
    ]
    assert schema.triggers(embedded) == ["noted"]
    with application(embedded) as connection:
        connection.execute("UPDATE parents SET name = 'uno' WHERE id = 1")
        assert connection.execute("SELECT line FROM log").fetchall() == [("renamed to uno",)]
        connection.execute("DELETE FROM parents WHERE id = 1")
        assert connection.execute("SELECT count(*) FROM children").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_plain_alembic_cannot_apply_copying_contract(project: Project, embedded: Database) -> None:
    """``alembic upgrade heads`` does not even start."""
    project.contract('with op.batch_alter_table("parents") as batch:\n    batch.drop_column("old")', "c1")
    assert schema.alembic(project, "upgrade", "heads").code != 0
    assert "old" in schema.shape(embedded)["parents"]["columns"]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_revision_that_orphans_rows_is_refused(
    project: Project, embedded: Database, way: Callable[[Project, str], Run]
) -> None:
    """A revision that leaves orphaned rows: refused, and nothing is changed."""
    before = schema.catalog(embedded)
    refused = way(project, 'op.execute("DELETE FROM parents WHERE id = 2")')
    assert refused.code in (2, 3, 255), refused.output
    assert "children" in refused.output
    assert "Traceback" not in refused.output, refused.output
    assert schema.query_all(embedded, "SELECT count(*) FROM parents") == [(2,)]
    assert (schema.catalog(embedded), schema.version_rows(embedded)) == (before, ["e1"])


def test_existing_orphan_does_not_refuse_contract(project: Project, embedded: Database) -> None:
    """Only rows that the revision itself would orphan are a reason to refuse."""
    with sqlite3.connect(str(embedded.engine.url.database)) as connection:
        connection.execute("INSERT INTO children VALUES (99, 99)")
    assert by_contract(project, COPIES["nullability"]).code == 0


def test_dropped_column_is_restored_when_revision_fails(project: Project, embedded: Database) -> None:
    """pysqlite's own transactions would have committed the DROP COLUMN."""
    project.contract('op.drop_column("parents", "old")\nraise RuntimeError("later")', "c1")
    failed = schema.run(project, "contract")
    assert failed.code == 2
    assert "later" in failed.err
    assert schema.query_all(embedded, "SELECT old FROM parents") == [("x",), ("y",)]


@pytest.mark.parametrize("moment", range(1, 14))
def test_table_copy_killed_at_any_statement(project: Project, embedded: Database, moment: int) -> None:
    """kill -9 at any statement of the copy: children, parents and trigger exist, and
    the next run succeeds."""
    project.contract(f'with op.batch_alter_table("parents") as batch:\n    {COPIES["several"]}', "c1")
    killed = schema.run(project, "contract", die_at=moment)
    assert killed.code in (-9, 0), killed.output
    assert schema.query_all(embedded, "SELECT count(*) FROM children") == [(4,)]
    assert schema.triggers(embedded) == ["noted"]
    assert schema.run(project, "contract").code == 0
    assert schema.query_all(embedded, "SELECT count(*) FROM children") == [(4,)]
    assert schema.query_all(embedded, "SELECT id, name FROM parents") == [(1, "one"), (2, "two")]
    assert schema.triggers(embedded) == ["noted"]
