"""The engine's own tables: created once, upgraded automatically, refused if newer; the migrator's lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command, state
from online_migrate.exceptions import NewerState
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute

ENGINE = ["contract_0001", "expand_0007"]
"""The version rows of the engine's own tables."""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def test_engine_tables_created_by_first_writing_command(project: Project, database: Database) -> None:
    """expand creates all of them and records their version; Alembic's version table is not changed by it."""
    schema.as_before(project, database, 1)
    assert set(schema.tables(database)) == state.TABLES | {"volumes", "alembic_version"}
    assert schema.version_rows(database, state.VERSION_TABLE) == ENGINE
    assert schema.version_rows(database) == ["e1"]


def test_engine_tables_match_metadata(project: Project, database: Database) -> None:
    """The scripts that create the tables match the table definitions in the code."""
    schema.as_before(project, database, 1)
    import sqlalchemy as sa

    inspector = sa.inspect(database.engine)
    for table in state.metadata.tables.values():
        columns = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
        assert columns == {column.name: column.nullable for column in table.columns}
        key = inspector.get_pk_constraint(table.name)["constrained_columns"]
        assert set(key) == {column.name for column in table.primary_key}


def test_concurrent_bootstrap(project: Project, database: Database) -> None:
    """Four first expands at once: each succeeds or reports that another one holds the migrator's lock."""
    runs = [schema.start(project, "expand") for _ in range(4)]
    ends = [schema.finished(*started) for started in runs]
    assert {end.code for end in ends} <= {0, 1}, [end.output for end in ends]
    assert any(end.code == 0 for end in ends)
    assert schema.version_rows(database, state.VERSION_TABLE) == ENGINE
    assert schema.version_rows(database) == ["e2"]
    assert all("Traceback" not in end.err for end in ends)
    applied = [end for end in ends if "applied e1, e2" in end.out]
    assert len(applied) <= 1


def test_killed_bootstrap_is_resumed(project: Project, database: Database) -> None:
    """kill -9 at each of its statements: the next command creates the remaining tables."""
    for moment in range(1, 20):
        schema.run(project, "expand", "e1", die_at=moment)
    assert schema.run(project, "expand").code == 0
    assert schema.version_rows(database, state.VERSION_TABLE) == ENGINE
    assert schema.version_rows(database) == ["e2"]


def test_newer_contract_state_is_refused(project: Project, database: Database) -> None:
    """An unknown contract revision of the engine: exit 3, and nothing is changed."""
    schema.ready(project, database)
    schema.run_all(
        database,
        f"UPDATE {state.VERSION_TABLE} SET version_num = 'contract_9999' WHERE version_num = 'contract_0001'",
        "ALTER TABLE online_migrate_data_migration RENAME COLUMN done TO finished_rows",
    )
    before = schema.Snapshot.of(database)
    for verb in ("expand", "migrate", "contract", "status", "gate", "plan", "upgrade"):
        with pytest.raises(NewerState) as refusal:
            getattr(command, verb)(project.site())
        assert refusal.value.exit_code == 3
        assert "contract_9999" in str(refusal.value)
        assert schema.Snapshot.of(database) == before


def test_newer_expand_state_is_accepted(project: Project, database: Database) -> None:
    """Unknown expand revisions of the engine are accepted."""
    schema.as_before(project, database, 3)
    schema.run_all(
        database,
        f"INSERT INTO {state.VERSION_TABLE} (version_num) VALUES ('expand_9999')",
        "ALTER TABLE online_migrate_data_migration ADD COLUMN of_a_newer_engine VARCHAR(20)",
    )
    assert project.apply_expand() == ["e2"]
    assert all(not result.error for result in project.migrate().values())
    assert command.contract(project.site()).revisions == ("c2",)
    assert project.report().complete


def test_concurrent_contracts_apply_revision_once(project: Project, database: Database) -> None:
    """Several contracts at once: one applies the revision, the others find nothing to do, or exit with 1."""
    schema.ready(project, database)
    runs = [schema.start(project, "contract") for _ in range(3)]
    ends = [schema.finished(*started) for started in runs]
    assert {end.code for end in ends} <= {0, 1, 3}, [end.output for end in ends]
    assert sum("applied c2" in end.out for end in ends) == 1
    assert schema.version_rows(database) == ["c2"]
    assert schema.journal(database) == []


def test_second_migrator_is_refused(project: Project, database: Database) -> None:
    """The migrator's lock is held: exit 1 with the reason; the lock is free after its holder has ended."""
    from online_migrate.ddl.session import ddl_session
    from online_migrate.exceptions import OtherMigrator
    from online_migrate.waiting import Clock, Stop

    class FastClock(Clock):
        """A clock on which every wait returns at once and advances the time by an hour."""

        def __init__(self) -> None:
            self.now = 0.0

        def monotonic(self) -> float:
            return self.now

        def wait(self, seconds: float, stop: Stop) -> bool:
            self.now += 3600
            return False

    schema.as_before(project, database, 3)
    first = project.site()
    with ddl_session(first.engine, first.project.settings, clock=Clock(), stop=Stop()):
        with pytest.raises(OtherMigrator) as refusal:
            command.expand(project.site(clock=FastClock()))
        assert refusal.value.exit_code == 1
    assert project.apply_expand() == ["e2"]


@pytest.mark.needs("kill_session")
def test_migrator_lock_is_per_database(project: Project, database: Database, tmp_path: Path) -> None:
    """The migrator's lock applies to one database."""
    from online_migrate.ddl.session import ddl_session
    from online_migrate.waiting import Clock, Stop

    first = project.site()
    with (
        database.server.fresh_database(tmp_path, "other") as other,
        schema.volumes(tmp_path / "other", other) as second,
        ddl_session(first.engine, first.project.settings, clock=Clock(), stop=Stop()),
    ):
        assert second.apply_expand() == ["e1", "e2"]


@pytest.mark.needs("many_writers")
def test_exists_during_concurrent_create_and_drop(database: Database) -> None:
    """Reading the catalog in the middle of a CREATE TABLE returns a result and no error (MySQL's 1684)."""
    over = threading.Event()

    def make_and_drop() -> None:
        try:
            for _ in range(40):
                state.metadata.create_all(database.engine)
                state.metadata.drop_all(database.engine)
        finally:
            over.set()

    thread = threading.Thread(target=make_and_drop)
    thread.start()
    reads = 0
    while not over.is_set():
        with database.engine.connect() as connection:
            assert state.exists(connection) in (True, False)
            reads += 1
    thread.join()
    assert reads > 40


@pytest.mark.needs("many_writers")
def test_bootstrap_waits_for_table_lock(project: Project, database: Database) -> None:
    """The tables of an older engine are upgraded as soon as the session that locks one of them ends."""
    schema.as_before(project, database, 1)
    execute(
        database.engine,
        *(f"DROP TABLE online_migrate_{name}" for name in ("walk", "worker", "canary")),
        f"UPDATE {state.VERSION_TABLE} SET version_num = 'expand_0001' WHERE version_num LIKE 'expand_%'",
    )
    lock = {"postgresql": "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"}.get(
        database.server.product, "LOCK TABLES {} WRITE"
    )
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(lock.format("online_migrate_data_migration"))
            held.set()
            over.wait(2.5)
            connection.rollback()
            connection.invalidate()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    project.site().ensure_state_tables()
    over.set()
    thread.join()
    assert schema.version_rows(database, state.VERSION_TABLE) == ENGINE
    assert set(schema.tables(database)) >= state.TABLES
