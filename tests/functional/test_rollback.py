"""rollback: an expand is undone until it is contracted, if no row would lose anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from online_migrate import command, state
from online_migrate.command.revisions import revision_runner
from online_migrate.context import CommandContext
from online_migrate.exceptions import OtherMigrator, Refused, RollbackRefused, Stopped
from online_migrate.migrate.status import Outcome
from tests.functional.test_chaos_contract import moments
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project
from tests.support.services import live

SYNC = """
    op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger()))
    op.create_sync(
        "volume_bytes", "volumes",
        forward={"size_bytes": sa.cast(sa.column("size_gb"), sa.BigInteger) * 1024**3},
        backward={"size_gb": {
            "postgresql": "CAST(floor(size_bytes / 1073741824.0) AS integer)",
            "mysql": "CAST(FLOOR(size_bytes / 1073741824.0) AS SIGNED)",
            "mariadb": "CAST(FLOOR(size_bytes / 1073741824.0) AS SIGNED)",
            "sqlite": "size_bytes / 1073741824",
        }},
    )
"""
NO_SYNC = 'op.drop_sync("volume_bytes")\nop.drop_column("volumes", "size_bytes")\n'
PARTS = """
    op.create_table("parts", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                    sa.Column("volume", sa.Integer), mysql_engine="InnoDB")
    op.create_index("ix_parts_volume", "parts", ["volume"])
    op.add_column("volumes", sa.Column("kind", sa.String(20), nullable=False, server_default="plain"))
"""
NO_PARTS = 'op.drop_column("volumes", "kind")\nop.drop_table("parts")\n'


def volumes(folder: Path, database: Database) -> Project:
    """Creates a project with a sync and a data migration (e2), and a table and a column without one (e3)."""
    project = Project.create(folder, database.url, lock_attempts=20)
    project.expand(schema.VOLUMES, "e1", downgrade='op.drop_table("volumes")\n')
    project.expand(SYNC, "e2", downgrade=NO_SYNC)
    project.data("volume_bytes", schema.BACKFILL)
    project.expand(PARTS, "e3", downgrade=NO_PARTS)
    schema.as_before(project, database)
    return project


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with volumes(tmp_path / "project", database) as project:
        yield project


def test_expand_is_undone_and_can_be_applied_again(project: Project, database: Database) -> None:
    """Schema, rows, versions and records are as before expand; then expand and migrate work again."""
    before = schema.Snapshot.of(database)
    for _ in range(2):
        project.apply_expand()
        assert project.migrate()["volume_bytes"].outcome is Outcome.COMPLETE
        schema.run_all(database, "INSERT INTO volumes (id, size_bytes) VALUES (50, 2147483648)")
        assert schema.query_all(database, "SELECT size_gb FROM volumes WHERE id = 50") == [(2,)]
        plan = command.rollback_plan(project.site(), "e2")
        assert [(step.revision, step.losses) for step in plan] == [("e3", ()), ("e2", ())]
        assert command.rollback(project.site()).revisions == ("e3",)
        assert command.rollback(project.site(), "e2").revisions == ("e2",)
        schema.run_all(database, "DELETE FROM volumes WHERE id = 50")
        assert schema.Snapshot.of(database) == before
        assert schema.journal(database) == []
        for table in ("data_migration", "sync", "walk", "worker"):
            assert schema.query_all(database, f"SELECT * FROM online_migrate_{table}") == []


def refusal(project: Project, target: str | None = None, **more: int) -> dict[str, tuple[int | None, object]]:
    """Returns what a refused rollback names, with the counts and keys."""
    with pytest.raises(RollbackRefused) as refused:
        command.rollback(project.site(), target, **more)
    return {b.reason.partition(":")[0]: (b.count, b.keys) for b in refused.value.blockers}


def test_rows_that_would_lose_something_are_named(project: Project, database: Database) -> None:
    """A value that the old shape cannot hold, a value without a sync, rows of a new table; then accepted."""
    project.apply_expand()
    project.migrate()
    schema.run_all(
        database,
        "INSERT INTO volumes (id, size_bytes) VALUES (51, 1610612736)",
        "UPDATE volumes SET kind = 'special' WHERE id IN (3, 4)",
        "UPDATE volumes SET kind = 'PLAIN' WHERE id = 5",
        "INSERT INTO parts VALUES (1, 1)",
    )
    before = schema.Snapshot.of(database)
    assert refusal(project) == {"column volumes.kind": (3, ("3", "4", "5")), "table parts": (1, ("1",))}
    assert refusal(project, accept_loss=3) == refusal(project)
    assert len(refusal(project, "e2", accept_loss=4)) == 3
    assert schema.Snapshot.of(database) == before
    assert command.rollback(project.site(), accept_loss=4).revisions == ("e3",)
    assert refusal(project, "e2") == {"column volumes.size_bytes": (1, ("51",))}
    assert command.rollback(project.site(), accept_loss=1).revisions == ("e2",)


def test_values_of_a_data_migration_are_no_loss(database: Database, tmp_path: Path) -> None:
    """Without a sync: what the Backfill computes again is not lost, what new code wrote is."""
    with Project.create(tmp_path / "project", database.url, lock_attempts=20) as project:
        project.expand(schema.VOLUMES, "e1")
        added = 'op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger()))\n'
        project.expand(added, "e2", downgrade='op.drop_column("volumes", "size_bytes")\n')
        project.data("volume_bytes", schema.BACKFILL)
        schema.as_before(project, database)
        project.apply_expand()
        project.migrate()
        schema.run_all(database, "UPDATE volumes SET size_bytes = 5 WHERE id = 7")
        assert refusal(project) == {"column volumes.size_bytes": (1, ("7",))}
        schema.run_all(database, "UPDATE volumes SET size_bytes = NULL WHERE id = 7")
        assert command.rollback(project.site()).revisions == ("e2",)


def test_row_written_after_the_check_is_found_under_the_lock(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New code writes after everything was checked: refused, nothing is changed."""
    from online_migrate.command import rolling_back

    project.apply_expand()
    undo = rolling_back.undo

    def late(*arguments: object, **more: int) -> None:
        schema.run_all(database, "UPDATE volumes SET kind = 'late' WHERE id = 9")
        undo(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(rolling_back, "undo", late)
    before = schema.catalog(database)
    assert refusal(project) == {"column volumes.kind": (1, ("9",))}
    assert schema.catalog(database) == before
    assert schema.journal(database) == []
    assert command.status(project.site()).expand.position == "e3"


def test_only_removals_of_what_upgrade_created(database: Database, tmp_path: Path) -> None:
    """A downgrade that drops more, drops less, changes rows, or cannot be rendered is refused."""
    downs = {
        'op.drop_column("volumes", "extra")\nop.drop_column("volumes", "note")\n': "does not remove what",
        "pass": "downgrade() does not remove it",
        'op.drop_column("volumes", "extra")\nop.execute("DELETE FROM volumes")\n': "does not remove what",
        'op.execute("DROP TABLE volumes CASCADE")\n': "",
        "raise NotImplementedError": "is not known before it runs",
    }
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(schema.VOLUMES, "e1")
        added = 'op.add_column("volumes", sa.Column("extra", sa.Integer()))\n'
        project.expand(added, "e2")
        project.apply_expand()
        before = schema.Snapshot.of(database)
        path = next(project.scripts.glob("expand/*_e2.py"))
        source = path.read_text()
        for down, reason in downs.items():
            body = down.rstrip("\n").replace("\n", "\n    ")
            path.write_text(source.replace("def downgrade():\n    pass", f"def downgrade():\n    {body}"))
            with pytest.raises(RollbackRefused) as refused:
                command.rollback(project.site())
            assert any(reason in blocker.reason for blocker in refused.value.blockers), down
        assert schema.Snapshot.of(database) == before


def test_contracted_revisions_and_soaks_are_refused(database: Database, tmp_path: Path) -> None:
    """What a contract revision needs cannot be undone; an expand after it can."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(schema.VOLUMES, "e1")
        added = 'op.add_column("volumes", sa.Column("extra", sa.Integer()))\n'
        project.expand(added, "e2", downgrade='op.drop_column("volumes", "extra")\n')
        project.contract('op.drop_column("volumes", "legacy")\n', "c1", requires=())
        project.apply_expand()
        command.soak(project.site(), soak_time=0)
        with pytest.raises(Refused, match="which needs e2, soaks"):
            command.rollback(project.site())
        command.contract(project.site())
        with pytest.raises(Refused, match="is contracted by c1"):
            command.rollback(project.site())
        later = 'op.add_column("volumes", sa.Column("later", sa.Integer()))\n'
        project.expand(later, "e3", downgrade='op.drop_column("volumes", "later")\n')
        project.apply_expand()
        versions = schema.version_rows(database)
        assert command.rollback(project.site()).revisions == ("e3",)
        with pytest.raises(Refused, match="e3 is not applied"):
            command.rollback(project.site(), "e3")
        project.apply_expand()
        assert schema.version_rows(database) == versions


# --- workers, other migrators, kills ------------------------------------------------------------------


def test_active_workers_and_other_migrators(project: Project, database: Database) -> None:
    """A data migration that runs, and a second migrator, are refused; a release is undone as a whole."""
    project.apply_expand()
    project.migrate()
    command.rollback(project.site())
    epoch = {"sqlite": "unixepoch()", "postgresql": "extract(epoch FROM now())::bigint"}.get(
        database.server.product, "UNIX_TIMESTAMP()"
    )
    schema.run_all(
        database,
        "INSERT INTO online_migrate_worker (id, name, runner, extent, done, heartbeat, started_at) VALUES "
        f"('w', 'volume_bytes', 'host:1', 1, 0, {epoch}, CURRENT_TIMESTAMP)",
    )
    with pytest.raises(RollbackRefused) as refused:
        command.rollback(project.site())
    assert [(b.id, b.object) for b in refused.value.blockers] == [("workers-active", "volume_bytes")]
    schema.run_all(database, "DELETE FROM online_migrate_worker")
    stopped = project.site()
    stopped.stop.request("the test")
    with revision_runner(project.site()), pytest.raises((OtherMigrator, Stopped)):
        command.rollback(stopped)
    assert command.status(project.site()).expand.position == "e2"
    assert command.rollback(project.site()).revisions == ("e2",)


@pytest.mark.needs("many_writers")  # the servers that have barriers
def test_barrier_of_a_data_migration_without_a_revision(project: Project, database: Database) -> None:
    """Its triggers read the column that is removed: each later write would fail."""
    project.data("volume_bytes", schema.BACKFILL.replace('revision="e2",', ""))
    drop = 'op.drop_sync("volume_bytes")\nop.drop_column("volumes", "size_gb")'
    project.contract(drop, "c1", requires=("volume_bytes",), depends_on="e2")
    project.apply_expand()
    project.migrate()
    command.rollback(project.site())
    [verified] = command.verify(project.site(), ["volume_bytes"], barrier=True)
    assert verified.note is None
    with pytest.raises(RollbackRefused) as refused:
        command.rollback(project.site())
    assert [(one.id, one.object) for one in refused.value.blockers] == [("barrier", "volume_bytes")]
    command.drop_barrier(project.site(), "volume_bytes")
    assert command.rollback(project.site()).revisions == ("e2",)


@pytest.mark.needs("schemas", "transactional_ddl")
def test_objects_of_another_schema(database: Database, tmp_path: Path) -> None:
    """A table of the same name in another schema hides no loss, and is not removed by mistake."""
    with Project.create(tmp_path / "project", database.url) as project:
        upgrade = (
            'op.create_table("jobs", sa.Column("id", sa.Integer, primary_key=True), schema="arch")\n'
            'op.add_column("jobs", sa.Column("extra", sa.Integer))\n'
        )
        drop = 'op.drop_column("jobs", "extra")\nop.drop_table("jobs"{})\n'
        project.expand(upgrade, "e1", downgrade=drop.format(', schema="arch"'))
        schema.run_all(
            database,
            "CREATE SCHEMA arch",
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY)",
            "INSERT INTO jobs VALUES (1)",
        )
        project.apply_expand()
        schema.run_all(database, "UPDATE jobs SET extra = 42")
        assert refusal(project) == {"column jobs.extra": (1, ("1",))}
        script = next(project.scripts.glob("expand/*_e1.py"))
        right = script.read_text()
        script.write_text(right.replace('drop_table("jobs", schema="arch")', 'drop_table("jobs")'))
        with pytest.raises(RollbackRefused) as refused:
            command.rollback(project.site(), accept_loss=1)
        assert {one.id for one in refused.value.blockers} == {"not-a-removal"}
        script.write_text(right)
        assert command.rollback(project.site(), accept_loss=1).revisions == ("e1",)
        assert schema.query_all(database, "SELECT * FROM jobs") == [(1,)]


def test_new_code_that_runs(project: Project, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that survives the contract uses what is removed; old code does not. One starts after the check."""
    from online_migrate.command import rolling_back

    project.contract('op.drop_column("volumes", "size_gb")', "c1", requires=("volume_bytes",))
    project.apply_expand()
    undo = rolling_back.undo
    with contextlib.ExitStack() as processes:

        def late(*arguments: object, **more: int) -> None:
            processes.enter_context(live(database, "c1", process="late"))
            undo(*arguments, **more)  # type: ignore[arg-type]

        processes.enter_context(live(database, process="old"))
        before = schema.catalog(database)
        monkeypatch.setattr(rolling_back, "undo", late)
        for _ in range(2):  # the second time it runs already
            with pytest.raises(RollbackRefused) as refused:
                command.rollback(project.site())
            [blocker] = refused.value.blockers
            assert (blocker.id, blocker.object) == ("service-uses-expand", "service api")
            assert "late" in blocker.reason
            assert "c1" in blocker.reason
            assert schema.catalog(database) == before
            assert schema.journal(database) == []
    lines: list[str] = []
    monkeypatch.setattr(rolling_back, "undo", undo)
    assert command.rollback(project.site(echo=lines.append)).revisions == ("e3",)
    assert not any("not checked" in line for line in lines)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)], ids=["short", "every"])
def test_killed_between_statements(server: Server, tmp_path: Path, step: int) -> None:
    """The same command continues; then the schema is as before, and expand works again."""

    @contextlib.contextmanager
    def prepared(number: int) -> Iterator[tuple[Project, Database]]:
        with (
            server.fresh_database(tmp_path, "rollback") as database,
            volumes(tmp_path / f"project{number}", database) as project,
        ):
            project.apply_expand()
            project.migrate()
            yield project, database

    with prepared(0) as (project, database):
        reference = schema.run(project, "rollback", "e2")
        assert reference.code == 0, reference.output
        shape = schema.catalog(database)
    kills = moments(reference.statements, every=False, transactional=server.has("transactional_ddl"))
    for at in kills[step // 2 :: step]:
        where = f"killed before statement {at}: {reference.statements[at - 1]}"
        with prepared(at) as (project, database):
            assert schema.run(project, "rollback", "e2", die_at=at).code == -9, where
            if schema.journal(database) and "e2" in project.site().applied():
                assert command.status(project.site()).half_applied, where
                with pytest.raises(Refused, match="is not finished"):
                    project.apply_expand()
            if "e2" in project.site().applied():
                assert command.rollback(project.site(), "e2").revisions[-1] == "e2", where
            assert schema.catalog(database) == shape, where
            assert schema.journal(database) == [], where
            project.apply_expand()
            assert project.migrate()["volume_bytes"].outcome is Outcome.COMPLETE, where


@pytest.mark.parametrize(("run", "passed"), [(command.expand, 1), (command.upgrade, 0)])
def test_rollback_that_is_interrupted_before_the_lock_of_expand(
    run: Callable[[CommandContext], object], passed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has removed a part of e1, on which e2 depends. *passed*: checks before the lock."""
    with (
        schema.embedded().fresh_database(tmp_path) as database,
        volumes(tmp_path / "project", database) as project,
    ):
        project.apply_expand("e1")
        found = [[] for _ in range(passed)]
        monkeypatch.setattr(state, "half_rolled_back", lambda _connection: found.pop() if found else ["e1"])
        with pytest.raises(Refused, match="the rollback of expand revision e1 is not finished"):
            run(project.site())
        assert found == []
        assert project.site().applied() == {"e1"}


def test_command_line(tmp_path: Path) -> None:
    """The plan, the refusal with exit code 3, and the acceptance."""
    with (
        schema.embedded().fresh_database(tmp_path) as database,
        volumes(tmp_path / "project", database) as project,
    ):
        project.apply_expand()
        schema.run_all(database, "UPDATE volumes SET kind = 'special' WHERE id = 3")
        planned = schema.run(project, "rollback", "--plan")
        assert "-- column volumes.kind: 1 row(s) would be lost: 3" in planned.out
        assert "DROP TABLE parts" in planned.out
        refused = schema.run(project, "rollback")
        assert (refused.code, "--accept-loss 1" in refused.err) == (3, True)
        assert schema.run(project, "rollback", "--accept-loss", "1").out == "rollback: undone e3\n"


def test_date_that_the_sync_computes_is_not_lost(database: Database, tmp_path: Path) -> None:
    """The value of the sync is compared as the column stores it; another time of the day is lost."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(
            """
            op.create_table("days", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                            sa.Column("day", sa.Date))
            """,
            "e1",
            downgrade='op.drop_table("days")\n',
        )
        project.expand(
            """
            op.add_column("days", sa.Column("at", sa.DateTime))
            op.create_sync(
                "day", "days",
                forward={"at": {"postgresql": "CAST(day AS timestamp)", "mysql": "CAST(day AS DATETIME)",
                                "sqlite": "day || ' 00:00:00.000000'"}},
                backward={"day": {"postgresql": "CAST(at AS date)", "mysql": "DATE(at)",
                                  "sqlite": "substr(at, 1, 10)"}},
            )
            """,
            "e2",
            downgrade='op.drop_sync("day")\nop.drop_column("days", "at")\n',
        )
        project.apply_expand()
        schema.run_all(database, "INSERT INTO days (id, day) VALUES (1, '2024-02-29')")
        [step] = command.rollback_plan(project.site(), "e2")
        assert step.losses == ()
        schema.run_all(database, "INSERT INTO days (id, at) VALUES (2, '2024-02-29 10:30:00.000000')")
        [step] = command.rollback_plan(project.site(), "e2")
        assert [(loss.rows.count, tuple(loss.rows.keys)) for loss in step.losses] == [(1, ("2",))]
