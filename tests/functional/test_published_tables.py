"""A published table without a replica identity: one refusal that says what to type, not a row that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate.migrate.run import Outcome
from tests.servers import Database
from tests.support.project import Project, execute, rows

pytestmark = [pytest.mark.each_product, pytest.mark.needs("publications")]

KEYED = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)"
UNIQUE = "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, n INTEGER)"
PARTS = (
    "CREATE TABLE t (id INTEGER NOT NULL, n INTEGER) PARTITION BY RANGE (id)",
    "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1000)",
    "CREATE UNIQUE INDEX t_key ON t (id)",
)
PUBLISHED = {
    "no primary key": (
        (UNIQUE, "CREATE PUBLICATION p FOR TABLE t"),
        "t REPLICA IDENTITY USING INDEX t_id_key",
    ),
    "of all tables": (
        (UNIQUE, "CREATE PUBLICATION p FOR ALL TABLES"),
        "t REPLICA IDENTITY USING INDEX t_id_key",
    ),
    "an identity of nothing": (
        (KEYED, "ALTER TABLE t REPLICA IDENTITY NOTHING", "CREATE PUBLICATION p FOR TABLE t"),
        "t REPLICA IDENTITY DEFAULT",
    ),
    "a partition": (
        (*PARTS, "CREATE PUBLICATION p FOR TABLE t"),
        "t_1 REPLICA IDENTITY USING INDEX t_1_id_idx",
    ),
    "by its root": (
        (*PARTS, "CREATE PUBLICATION p FOR TABLE t WITH (publish_via_partition_root = true)"),
        "t_1 REPLICA IDENTITY USING INDEX t_1_id_idx",
    ),
}
SOUND = {
    "a primary key": (KEYED, "CREATE PUBLICATION p FOR TABLE t"),
    "the whole row": (UNIQUE, "ALTER TABLE t REPLICA IDENTITY FULL", "CREATE PUBLICATION p FOR TABLE t"),
    "inserts only": (UNIQUE, "CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert')"),
    "another table": (UNIQUE, "CREATE TABLE u (id INTEGER)", "CREATE PUBLICATION p FOR TABLE u"),
}
FILL = 'fill = Backfill(table="t", values={"n": 1}, pending=lambda t: t.c.n.is_(None))'
ROWS = "INSERT INTO t (id) SELECT g FROM generate_series(1, 200) g"


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as project:
        project.data("fill", FILL)
        yield project


@pytest.mark.parametrize("how", PUBLISHED)
def test_without_an_identity_it_is_refused_at_the_start(
    database: Database, project: Project, how: str
) -> None:
    """No row fails; what is to be typed works."""
    statements, way_out = PUBLISHED[how]
    execute(database.engine, *statements, ROWS)
    refused = project.run("migrate")
    assert refused.code in (2, 3), refused
    assert f"ALTER TABLE {way_out}" in refused.out + refused.err
    assert project.counts("fill") == (0, 200, 0)
    execute(database.engine, f"ALTER TABLE {way_out}")
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    assert project.counts("fill") == (200, 0, 0)


@pytest.mark.parametrize("how", SOUND)
def test_with_an_identity_rows_are_moved(database: Database, project: Project, how: str) -> None:
    """And where no UPDATE is published."""
    execute(database.engine, *SOUND[how], ROWS)
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


def test_a_table_that_is_published_meanwhile_ends_the_run(database: Database, project: Project) -> None:
    """Error 55000 is of the data migration: no row is recorded as failed."""
    execute(database.engine, UNIQUE, ROWS)
    project.data(
        "fill",
        """
        @batch_migration(table="t", pending=lambda t: t.c.n.is_(None))
        def fill(connection, chunk):
            connection.execute(sa.text("CREATE PUBLICATION p FOR TABLE t"))
            return connection.execute(sa.update(chunk.table).where(chunk.where).values(n=1)).rowcount
        """,
    )
    result = project.migrate()["fill"]
    assert result.outcome is Outcome.FAILED
    assert "replica identity" in str(result.error)
    assert project.counts("fill") == (0, 200, 0)
    assert rows(database.engine, "SELECT count(*) FROM pg_publication") == [(0,)]
