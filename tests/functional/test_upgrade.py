"""upgrade: a database goes the whole way, and all ways end in the same schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import GateClosed
from online_migrate.migrate.status import Outcome
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import GIB


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def test_a_fresh_database_goes_the_whole_way(project: Project, database: Database) -> None:
    """No rows: everything is applied and complete, and a second time there is nothing to do."""
    assert schema.run(project, "upgrade").code == 0
    assert schema.version_rows(database) == ["c2"]
    report = project.report()
    assert report.complete
    assert schema.run(project, "upgrade").code == 0
    assert schema.journal(database) == []


def test_a_fresh_database_calls_no_function(database: Database, tmp_path: Path) -> None:
    """Where there is no row, no user's function is called, of whatever kind it is."""
    with schema.volumes(tmp_path / "project", database, contract="pass") as project:
        project.data(
            "functions",
            """
            def bang(*_):
                raise RuntimeError("called")

            rows = {"table": "volumes", "pending": lambda t: t.c.note.is_(None)}
            by_row = row_migration(**rows)(bang)
            by_batch = batch_migration(**rows, name="by_batch")(bang)
            by_count = counted(bang, **rows, name="by_count")
            """,
        )
        project.contract("pass", "c3", requires=("bang", "by_batch", "by_count"))
        results = {result.name: result.outcome for result in command.upgrade(project.site())}
        assert set(results.values()) == {Outcome.COMPLETE}
    assert schema.version_rows(database) == ["c3"]


def test_a_database_with_rows_goes_the_whole_way(project: Project, database: Database) -> None:
    """Rows of the old version are migrated on the way."""
    schema.as_before(project, database)
    assert schema.run(project, "upgrade").code == 0
    assert schema.version_rows(database) == ["c2"]
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in range(1, 21)}


def test_a_row_that_cannot_be_migrated_stops_before_contract(project: Project, database: Database) -> None:
    """Exit 2, nothing is dropped, and once the row is mended upgrade goes on."""
    stubborn = "sa.case((t.c.id == 3, None), else_=1) * sa.cast(t.c.size_gb"
    project.data("volume_bytes", schema.BACKFILL.replace("sa.cast(t.c.size_gb", stubborn))
    schema.as_before(project, database)
    stopped = schema.run(project, "upgrade")
    assert stopped.code == 2, stopped.output
    assert "Traceback" not in stopped.err
    assert schema.version_rows(database) == ["e2"]
    assert "size_gb" in schema.shape(database)["volumes"]["columns"]
    project.data("volume_bytes", schema.BACKFILL)
    assert schema.run(project, "upgrade").code == 0


def test_upgrade_does_not_walk_around_the_gate(project: Project, database: Database) -> None:
    """A contract script that requires a name nobody has is refused, also on a fresh database."""
    script = next((project.scripts / "contract").glob("*.py"))
    script.write_text(script.read_text().replace("('volume_bytes',)", "('volume_bytes', 'nobody')"))
    with pytest.raises(GateClosed):
        command.upgrade(project.site())
    assert schema.version_rows(database) == ["e2"]


# --- releases, and the same end on every way -----------------------------------------------------

RENAMED = """
    op.add_column("volumes", sa.Column("label", sa.String(40)))
"""


def add_release_two(project: Project) -> None:
    """The second release renames note to label; its backfill reads a column that release three drops."""
    project.expand(RENAMED, "e3", release="2")
    project.data(
        "labels",
        """
        labels = Backfill(table="volumes", values=lambda t: {"label": sa.func.coalesce(t.c.note, "none")},
                          pending=lambda t: t.c.label.is_(None), revision="e3", release="2")
        """,
    )
    project.contract('op.drop_column("volumes", "note")', "c3", requires=("labels",), release="2")


def add_release_three(project: Project) -> None:
    """The third release adds an index on what the second added, and drops nothing."""
    project.expand('op.create_index("ix_label", "volumes", ["label"])', "e4", release="3")


def lived(project: Project, database: Database) -> None:
    """Every release is installed, expanded, migrated and contracted in its time."""
    schema.ready(project, database)
    command.contract(project.site())
    add_release_two(project)
    project.apply_expand()
    project.migrate()
    command.contract(project.site())
    add_release_three(project)
    project.apply_expand()


def skipped(project: Project, database: Database) -> None:
    """At e1 with rows; then straight to the third release."""
    schema.as_before(project, database)
    add_release_two(project)
    add_release_three(project)
    command.upgrade(project.site())


def half_lived(project: Project, database: Database) -> None:
    """Expanded to the first release and not contracted; then straight to the third."""
    schema.ready(project, database)
    add_release_two(project)
    add_release_three(project)
    command.upgrade(project.site())


def fresh(project: Project, database: Database) -> None:
    """Empty; the third release is the first that it sees."""
    add_release_two(project)
    add_release_three(project)
    command.upgrade(project.site())


def by_hand(project: Project, database: Database) -> None:
    """All expands, all data, all contracts, as single commands."""
    schema.as_before(project, database)
    add_release_two(project)
    add_release_three(project)
    project.apply_expand()
    project.migrate()
    command.contract(project.site())


def test_all_ways_end_in_the_same_schema(server: Server, tmp_path: Path) -> None:
    """Lived through, skipped releases, half lived, fresh, by hand: one schema, one set of version rows."""
    ends = {}
    for way in (lived, skipped, half_lived, fresh, by_hand):
        with (
            server.fresh_database(tmp_path, way.__name__) as database,
            schema.volumes(tmp_path / way.__name__, database) as project,
        ):
            way(project, database)
            ends[way.__name__] = (
                schema.shape(database),
                schema.triggers(database),
                schema.version_rows(database),
            )
            assert project.report().complete, way.__name__
            rows = schema.query_all(database, "SELECT id, size_bytes, label FROM volumes ORDER BY id")
            if way is not fresh:
                assert rows == [(row, schema.size_of(row) * GIB, "none") for row in range(1, 21)]
    assert all(end == ends["lived"] for end in ends.values()), ends
