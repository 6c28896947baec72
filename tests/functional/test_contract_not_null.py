"""contract: SET NOT NULL of a large table of PostgreSQL reads no row under the table lock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.exceptions import GateClosed, RevisionFailed
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project, execute, rows, scalar

pytestmark = [pytest.mark.each_product, pytest.mark.needs("transactional_ddl", "row_locks")]

FILL = (
    'fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None) & (t.c.id > 0))'
)
CONTRACT = """
op.drop_column("items", "gb")
op.alter_column("items", "size", existing_type=sa.Integer(), nullable=False)
op.drop_column("items", "gone")
op.create_index("ix_size", "items", ["size"])
"""
STATE = """
    SELECT attname, attnotnull FROM pg_attribute
    WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
BEFORE = [("id", True), ("gb", False), ("gone", False), ("size", False)]
AFTER = [("id", True), ("size", True)]


def prepare(database: Database) -> None:
    """Creates a table that is so large that it is not read under a lock."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, gone INTEGER, size INTEGER)",
        "INSERT INTO items SELECT n, n, n, n FROM generate_series(1, 40000) AS n",
    )


def ready(folder: Path, database: Database) -> Project:
    """Creates the project; the next command is contract."""
    prepare(database)
    project = Project.create(folder, database.url)
    project.expand("pass")
    project.data("fill", FILL)
    project.contract(CONTRACT, requires=("fill",))
    project.apply_expand()
    project.migrate()
    return project


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    with ready(tmp_path / "project", database) as project:
        yield project


def state(database: Database) -> list[tuple[object, ...]]:
    return rows(database.engine, STATE)


def checks(database: Database) -> list[tuple[object, ...]]:
    return rows(
        database.engine,
        "SELECT conname::text, convalidated FROM pg_constraint "
        "WHERE conrelid = 'items'::regclass AND contype = 'c'",
    )


def test_killed_at_every_boundary(server: Server, tmp_path: Path) -> None:
    """The rows are read before the lock; each run ends in the same schema, without the CHECK."""
    with server.fresh_database(tmp_path, "nulls") as database, ready(tmp_path / "p", database) as project:
        done = schema.run(project, "contract")
        assert done.code == 0, done.output
        assert (state(database), checks(database)) == (AFTER, [])
        sent = [" ".join(statement.split()) for statement in done.statements]
    [add] = [n for n, s in enumerate(sent) if "IS NOT NULL) NOT VALID" in s]
    [validate] = [n for n, s in enumerate(sent) if "VALIDATE CONSTRAINT" in s]
    drop = sent.index("ALTER TABLE items DROP COLUMN gb")
    [not_null] = [n for n, s in enumerate(sent) if "SET NOT NULL" in s]
    locks = [n for n, s in enumerate(sent) if s.startswith("LOCK TABLE")]
    assert locks[0] < add < validate < locks[1] < drop < not_null, sent
    kills = {validate, drop, not_null + 1, len(sent) - 1}
    for number in sorted(n + 1 for n in kills):
        with (
            server.fresh_database(tmp_path, "nulls") as database,
            ready(tmp_path / f"p{number}", database) as project,
        ):
            where = sent[number - 1]
            assert schema.run(project, "contract", die_at=number).code == -9, where
            assert state(database) in (BEFORE, AFTER), where
            resumed = schema.run(project, "contract")
            assert resumed.code == 0, f"{where}\n{resumed.output}"
            assert (state(database), checks(database)) == (AFTER, []), where


@pytest.mark.parametrize(
    ("moment", "beginning"), [("before", "LOCK TABLE"), ("after", "ALTER TABLE items VALIDATE")]
)
def test_check_does_not_outlive_a_refusal(
    project: Project, database: Database, moment: str, beginning: str
) -> None:
    """A row that became pending refuses contract; nothing keeps old code from writing NULL."""

    def make_pending(_: sa.Connection) -> None:
        # The CHECK refuses NULL from its own verification on.
        changed = "NULL" if beginning == "LOCK TABLE" else "2"
        schema.run_all(database, f"UPDATE items SET size = {changed} WHERE id = 7")

    source = FILL.replace("t.c.size.is_(None)", "(t.c.size.is_(None) | (t.c.size == 2) & (t.c.id == 7))")
    project.data("fill", source)
    with schema.happens(moment, beginning, make_pending), pytest.raises(GateClosed):
        command.contract(project.site())
    assert (state(database), checks(database)) == (BEFORE, [])


@pytest.mark.parametrize("after", ["expand", "contract"])
def test_check_of_a_killed_contract_is_removed(project: Project, database: Database, after: str) -> None:
    """By the next command that applies revisions, also if the gate is closed meanwhile."""
    project.data("fill", FILL.replace("t.c.size.is_(None)", "(t.c.size.is_(None) | (t.c.size == -1))"))
    assert schema.run(project, "contract", die_at="ALTER TABLE items VALIDATE").code == -9
    assert checks(database) == [("items_size_online_migrate_not_null", False)]
    execute(
        database.engine,
        "INSERT INTO items (id, size) VALUES (50000, -1)",
        "ALTER TABLE items ADD CONSTRAINT mine_not_null CHECK (id IS NOT NULL)",
    )
    assert schema.run(project, after).code == {"expand": 0, "contract": 3}[after]
    assert checks(database) == [("mine_not_null", True)]
    execute(database.engine, "UPDATE items SET size = NULL WHERE id = 50000")


def test_null_that_is_not_pending_is_found_before_the_lock(project: Project, database: Database) -> None:
    """The error names the constraint; nothing is changed."""
    execute(database.engine, "INSERT INTO items (id) VALUES (-1)")
    with pytest.raises(RevisionFailed, match="items_size_online_migrate_not_null"):
        command.contract(project.site())
    assert (state(database), checks(database)) == (BEFORE, [])
    execute(database.engine, "DELETE FROM items WHERE id = -1")
    command.contract(project.site())
    assert (state(database), checks(database)) == (AFTER, [])


def test_plan_shows_the_check_before_the_lock(project: Project, database: Database) -> None:
    """SET NOT NULL reads no row then."""
    [step] = [step for step in command.plan(project.site()).steps if step.phase == "contract"]
    works = dict(zip(step.statements, (cost.work for cost in step.costs), strict=True))
    [not_null] = [work for statement, work in works.items() if "SET NOT NULL" in statement]
    assert not_null == "none"
    assert "VALIDATE" in step.statements[1]
    # An index of the table that contract locks is built while its readers wait, too.
    index = dict(zip(step.statements, step.costs, strict=True))["CREATE INDEX ix_size ON items (size)"]
    assert (index.lock, index.blocks) == ("ACCESS EXCLUSIVE", "reads and writes")
    assert (
        scalar(
            database.engine,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conname LIKE '%online_migrate%'",
        )
        == 0
    )
