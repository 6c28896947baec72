"""Tables of which no column can be dropped in an instant: what is refused, and the ways through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, rows

pytestmark = [pytest.mark.each_product, pytest.mark.needs("lock_tables")]

TABLES = {
    "compressed": "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, old INTEGER, text VARCHAR(40)) "
    "ROW_FORMAT=COMPRESSED",
    "fulltext": "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, old INTEGER, text VARCHAR(40), "
    "FULLTEXT KEY words (text))",
}
DROP = 'op.drop_column("t", "old")'
ONLINE = {
    "compressed": f"""
op.execute("ALTER TABLE t ROW_FORMAT=DYNAMIC, LOCK=NONE")
{DROP}
op.execute("ALTER TABLE t ROW_FORMAT=COMPRESSED, LOCK=NONE")
""",
    "fulltext": f"""
op.execute("ALTER TABLE t DROP INDEX words")
op.execute("ALTER TABLE t FORCE, LOCK=NONE")
{DROP}
op.execute("CREATE FULLTEXT INDEX words ON t (text)")
""",
}


@pytest.fixture(params=TABLES)
def project(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose rows are moved, on a table of one of these."""
    execute(database.engine, TABLES[request.param], "INSERT INTO t (id, old, text) VALUES (1, 1, 'a')")
    with Project.create(tmp_path / "project", database.url) as project:
        project.data("fill", 'fill = Backfill(table="t", values={"n": 1}, pending=lambda t: t.c.n.is_(None))')
        project.migrate()
        yield project


def definition(database: Database) -> str:
    """The table as the server spells it."""
    return str(rows(database.engine, "SHOW CREATE TABLE t")[0][1])


def test_it_is_refused_and_the_way_is_named(database: Database, project: Project) -> None:
    """Exit 3; the column and the rows stay, and no lock is left."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",))
    before = definition(database)
    refused = project.run("contract")
    assert refused.code == 3, refused
    assert "rebuilds = ('t',)" in refused.err
    assert "docs/writing.md" in refused.err
    assert definition(database) == before
    execute(database.engine, "UPDATE t SET old = 2")


def test_a_script_that_says_rebuilds_waits_for_the_rebuild(database: Database, project: Project) -> None:
    """The rows are counted under the lock, the table is rebuilt under it, and stays what it was."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",), rebuilds=("t",))
    kept = "ROW_FORMAT=COMPRESSED" in definition(database), "FULLTEXT" in definition(database)
    done = project.run("contract")
    assert done.code == 0, done
    assert "its readers and writers wait" in done.err
    assert "`old`" not in definition(database)
    assert ("ROW_FORMAT=COMPRESSED" in definition(database), "FULLTEXT" in definition(database)) == kept
    assert schema.query_all(database, "SELECT id, n, text FROM t") == [(1, 1, "a")]


def test_rebuilds_names_its_table_only(database: Database, project: Project) -> None:
    """Another table's name is no permission for this one."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",), rebuilds=("u",))
    assert project.run("contract").code == 3
    assert "`old`" in definition(database)


def test_a_pending_row_keeps_the_gate_closed_for_a_rebuild(database: Database, project: Project) -> None:
    """The permission is about the time, not about the rows."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",), rebuilds=("t",))
    execute(database.engine, "INSERT INTO t (id, text) VALUES (2, 'b')")
    assert project.run("contract").code == 3
    assert "`old`" in definition(database)


def test_the_way_without_waiting_readers(
    database: Database, project: Project, request: pytest.FixtureRequest
) -> None:
    """Rebuilt online before and after; only the drop itself is under the lock."""
    kind = request.node.callspec.params["project"]
    project.contract(ONLINE[kind], requires=("fill",), branch_labels=("contract",))
    before = definition(database)
    done = project.run("contract")
    assert done.code == 0, done
    assert "wait" not in done.err
    after = definition(database)
    assert "`old`" not in after
    assert ("ROW_FORMAT=COMPRESSED" in after, "FULLTEXT" in after) == (
        "ROW_FORMAT=COMPRESSED" in before,
        "FULLTEXT" in before,
    )
