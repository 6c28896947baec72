"""upgrade: applies all phases to a database, and every path ends in the same schema."""

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
    """The sample project on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def test_upgrade_of_a_fresh_database(project: Project, database: Database) -> None:
    """No rows: every revision is applied and the state is complete; the second upgrade does nothing."""
    assert schema.run(project, "upgrade").code == 0
    assert schema.version_rows(database) == ["c2"]
    report = project.report()
    assert report.complete
    assert schema.run(project, "upgrade").code == 0
    assert schema.journal(database) == []


def test_upgrade_of_a_fresh_database_calls_no_function(database: Database, tmp_path: Path) -> None:
    """Without a row no user function of any kind is called."""
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


def test_upgrade_of_a_database_with_rows(project: Project, database: Database) -> None:
    """Rows of the old version are migrated in between."""
    schema.as_before(project, database)
    assert schema.run(project, "upgrade").code == 0
    assert schema.version_rows(database) == ["c2"]
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in range(1, 21)}


def test_upgrade_stops_before_contract_if_a_row_fails(project: Project, database: Database) -> None:
    """Exit code 2, nothing is dropped, and upgrade continues once the row is corrected."""
    failing = "sa.case((t.c.id == 3, None), else_=1) * sa.cast(t.c.size_gb"
    project.data("volume_bytes", schema.BACKFILL.replace("sa.cast(t.c.size_gb", failing))
    schema.as_before(project, database)
    stopped = schema.run(project, "upgrade")
    assert stopped.code == 2, stopped.output
    assert "Traceback" not in stopped.err
    assert schema.version_rows(database) == ["e2"]
    assert "size_gb" in schema.shape(database)["volumes"]["columns"]
    project.data("volume_bytes", schema.BACKFILL)
    assert schema.run(project, "upgrade").code == 0


def test_upgrade_does_not_bypass_the_gate(project: Project, database: Database) -> None:
    """A contract script that requires an unknown data migration is refused, also on a fresh database."""
    script = next((project.scripts / "contract").glob("*.py"))
    script.write_text(script.read_text().replace("('volume_bytes',)", "('volume_bytes', 'unknown')"))
    with pytest.raises(GateClosed):
        command.upgrade(project.site())
    assert schema.version_rows(database) == ["e2"]


# --- releases, and the same schema on every path -------------------------------------------------

RENAMED = """
    op.add_column("volumes", sa.Column("label", sa.String(40)))
"""


def add_release_two(project: Project) -> None:
    """Adds the second release: it renames note to label.

    Its backfill reads a column that its contract drops.
    """
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
    """Adds the third release: an index on the column of the second release, and no contract."""
    project.expand('op.create_index("ix_label", "volumes", ["label"])', "e4", release="3")


def each_release(project: Project, database: Database) -> None:
    """Every release is installed, expanded, migrated and contracted in order."""
    schema.ready(project, database)
    command.contract(project.site())
    add_release_two(project)
    project.apply_expand()
    project.migrate()
    command.contract(project.site())
    add_release_three(project)
    project.apply_expand()


def skipped_releases(project: Project, database: Database) -> None:
    """Starts at e1 with rows; then upgrades to the third release."""
    schema.as_before(project, database)
    add_release_two(project)
    add_release_three(project)
    command.upgrade(project.site())


def partly_contracted(project: Project, database: Database) -> None:
    """Expanded to the first release and not contracted; then upgraded to the third."""
    schema.ready(project, database)
    add_release_two(project)
    add_release_three(project)
    command.upgrade(project.site())


def fresh_database(project: Project, database: Database) -> None:
    """An empty database; the third release is the first one that is installed."""
    add_release_two(project)
    add_release_three(project)
    command.upgrade(project.site())


def single_commands(project: Project, database: Database) -> None:
    """All expands, all data migrations and all contracts as single commands."""
    schema.as_before(project, database)
    add_release_two(project)
    add_release_three(project)
    project.apply_expand()
    project.migrate()
    command.contract(project.site())


def test_upgrade_paths_end_in_the_same_schema(server: Server, tmp_path: Path) -> None:
    """Five paths to the third release, with and without rows: one schema, one set of version rows."""
    schemas = {}
    for path in (each_release, skipped_releases, partly_contracted, fresh_database, single_commands):
        with (
            server.fresh_database(tmp_path, path.__name__) as database,
            schema.volumes(tmp_path / path.__name__, database) as project,
        ):
            path(project, database)
            schemas[path.__name__] = (
                schema.shape(database),
                schema.triggers(database),
                schema.version_rows(database),
            )
            assert project.report().complete, path.__name__
            rows = schema.query_all(database, "SELECT id, size_bytes, label FROM volumes ORDER BY id")
            if path is not fresh_database:
                assert rows == [(row, schema.size_of(row) * GIB, "none") for row in range(1, 21)]
    assert all(final == schemas[each_release.__name__] for final in schemas.values()), schemas
