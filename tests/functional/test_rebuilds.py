"""Tables without an instant DROP COLUMN: the refusal, and the alternatives."""

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
    """A project whose rows are migrated, on a table of one of these kinds."""
    execute(database.engine, TABLES[request.param], "INSERT INTO t (id, old, text) VALUES (1, 1, 'a')")
    with Project.create(tmp_path / "project", database.url) as project:
        project.data("fill", 'fill = Backfill(table="t", values={"n": 1}, pending=lambda t: t.c.n.is_(None))')
        project.migrate()
        yield project


def definition(database: Database) -> str:
    """Returns the definition of the table from SHOW CREATE TABLE."""
    return str(rows(database.engine, "SHOW CREATE TABLE t")[0][1])


def test_drop_column_with_a_rebuild_is_refused_with_the_alternative(
    database: Database, project: Project
) -> None:
    """Exit code 3; the column and the rows are kept, and no lock remains."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",))
    before = definition(database)
    refused = project.run("contract")
    assert refused.code == 3, refused
    assert "rebuilds = ('t',)" in refused.err
    assert "docs/writing.md" in refused.err
    assert definition(database) == before
    execute(database.engine, "UPDATE t SET old = 2")


def test_rebuilds_permits_the_rebuild_under_the_lock(database: Database, project: Project) -> None:
    """The rows are counted and the table is rebuilt under the lock; its format and indexes are kept."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",), rebuilds=("t",))
    kept = "ROW_FORMAT=COMPRESSED" in definition(database), "FULLTEXT" in definition(database)
    done = project.run("contract")
    assert done.code == 0, done
    assert "blocks its readers and writers" in done.err
    assert "`old`" not in definition(database)
    assert ("ROW_FORMAT=COMPRESSED" in definition(database), "FULLTEXT" in definition(database)) == kept
    assert schema.query_all(database, "SELECT id, n, text FROM t") == [(1, 1, "a")]


def test_rebuilds_applies_to_the_named_table_only(database: Database, project: Project) -> None:
    """The name of another table is no permission for this table."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",), rebuilds=("u",))
    assert project.run("contract").code == 3
    assert "`old`" in definition(database)


def test_rebuilds_does_not_open_the_gate_for_pending_rows(database: Database, project: Project) -> None:
    """The permission concerns the duration and not the rows."""
    project.contract(DROP, requires=("fill",), branch_labels=("contract",), rebuilds=("t",))
    execute(database.engine, "INSERT INTO t (id, text) VALUES (2, 'b')")
    assert project.run("contract").code == 3
    assert "`old`" in definition(database)


def test_online_rebuild_does_not_block_readers(
    database: Database, project: Project, request: pytest.FixtureRequest
) -> None:
    """The table is rebuilt online before and after; only the drop itself runs under the lock."""
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
