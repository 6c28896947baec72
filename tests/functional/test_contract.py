"""contract: the final check under the lock, lock timeouts, and behaviour that is specific to a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from online_migrate import command
from online_migrate.exceptions import (
    GateClosed,
    LockGivenUp,
    NotUnderLock,
    OnlineMigrateError,
    RevisionFailed,
)
from online_migrate.waiting import Clock, Stop
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, declared
from tests.support.schema import GIB, OldVersion, Snapshot


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def make_row_pending(database: Database, row: int = 7) -> None:
    """Makes a row pending, as a writer of the old application version can at any moment."""
    schema.run_all(database, f"UPDATE volumes SET size_bytes = NULL WHERE id = {row}")


def assert_free(database: Database) -> None:
    """Asserts that another session can read and write without waiting for a lock."""
    timeouts = {
        "sqlite": "PRAGMA busy_timeout = 200",
        "postgresql": "SET lock_timeout = '200ms'",
    }.get(database.server.product, "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1")
    with schema.session(database) as other:
        other.exec_driver_sql(timeouts)
        other.exec_driver_sql("UPDATE volumes SET note = 'written' WHERE id = 1")
        other.exec_driver_sql("SELECT * FROM volumes").all()


# --- the final check under the lock --------------------------------------------------------------


def assert_refused_then_applied(project: Project, database: Database) -> None:
    """Asserts that row 7 blocks contract, nothing else changes, and contract is applied after migrate."""
    before = Snapshot.of(database)
    site = project.site()
    with pytest.raises(GateClosed) as refusal:
        command.contract(site)
    [blocker] = refusal.value.blockers
    assert (blocker.id, blocker.count, blocker.keys) == ("pending-rows", 1, ("7",))
    assert_free(database)
    after = Snapshot.of(database)
    assert (after.catalog, after.versions) == (before.catalog, before.versions)
    assert len(after.rows) == len(before.rows)
    assert schema.journal(database) == []
    project.migrate()
    assert command.contract(project.site()).revisions == ("c2",)


def test_final_check_finds_row_committed_after_gate(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second session commits a pending row after the gate was evaluated: refused, nothing is dropped."""
    from online_migrate.contract import runner

    apply = runner.run
    committed: list[str] = []

    def commit_row_and_apply(stepper: object, revision: str, services: object) -> None:
        if not committed:
            committed.append(revision)
            make_row_pending(database)
        apply(stepper, revision, services)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run", commit_row_and_apply)
    schema.ready(project, database)
    assert_refused_then_applied(project, database)
    assert committed == ["c2"]


@pytest.mark.needs("many_writers")
def test_final_check_finds_row_committed_before_lock_statement(project: Project, database: Database) -> None:
    """The row is committed at the last possible moment: immediately before the LOCK statement is sent."""
    schema.ready(project, database)
    with schema.happens("before", "LOCK TABLE", lambda _: make_row_pending(database)):
        assert_refused_then_applied(project, database)


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_final_check_does_not_read_an_old_snapshot(project: Project, database: Database) -> None:
    """The check finds the row although the database has REPEATABLE READ as its default isolation level."""
    schema.ready(project, database)
    name = database.engine.url.database
    schema.run_all(database, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    with schema.happens("before", "LOCK TABLE", lambda _: make_row_pending(database)):
        assert_refused_then_applied(project, database)


def test_final_check_counts_null_as_pending(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the lock NULL counts as pending, as it does for the gate."""
    from online_migrate.contract import runner

    apply = runner.run

    def commit_row_and_apply(stepper: object, revision: str, services: object) -> None:
        schema.run_all(database, "UPDATE volumes SET size_gb = NULL WHERE id = 7")
        apply(stepper, revision, services)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run", commit_row_and_apply)
    project.data(
        "volume_bytes",
        schema.BACKFILL.replace(
            "t.c.size_bytes.is_(None) & t.c.size_gb.is_not(None)",
            "sa.func.coalesce(t.c.size_bytes, 0) != sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3",
        ),
    )
    schema.ready(project, database)
    before = schema.catalog(database)
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    assert refusal.value.blockers[0].keys == ("7",)
    assert schema.catalog(database) == before


def test_contract_loses_no_acknowledged_write_of_old_writers(project: Project, database: Database) -> None:
    """Every write that was acknowledged to an old writer during contract is stored and migrated."""
    schema.ready(project, database)
    with OldVersion(database) as old:
        while not old.acknowledged:
            pass
        assert command.contract(project.site()).revisions == ("c2",)
        refused = old.refused
        while old.refused <= refused:
            pass
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert {row: rows.get(row) for row in old.acknowledged} == {
        row: schema.size_of(row) * GIB for row in old.acknowledged
    }


def test_final_check_timeout_refuses_contract(database: Database, tmp_path: Path) -> None:
    """The check has a time limit: on a timeout, contract is refused, nothing changes,
    the lock is released."""
    with schema.volumes(tmp_path / "project", database, look_timeout=0.1) as project:
        slow = schema.SLOW[database.server.product]
        schema.ready(project, database)
        pending = f'pending=lambda t: sa.or_(t.c.size_bytes.is_(None), sa.text("{slow}")),'
        source = schema.BACKFILL.replace(
            "pending=lambda t: t.c.size_bytes.is_(None) & t.c.size_gb.is_not(None),", pending
        )
        assert pending in source
        project.data("volume_bytes", source)
        before = Snapshot.of(database)
        assert command.gate(project.site()) == []
        with pytest.raises(GateClosed) as refusal:
            command.contract(project.site())
        assert [blocker.id for blocker in refusal.value.blockers] == ["not-counted"]
        assert "look_timeout" in refusal.value.blockers[0].hint
        assert_free(database)
        assert Snapshot.of(database) == before
        assert schema.journal(database) == []


# --- lock timeouts -------------------------------------------------------------------------------


@pytest.fixture
def short_lock_timeout(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, ready for contract, with two attempts for each lock."""
    with schema.volumes(tmp_path / "project", database, lock_timeout=0.2, lock_attempts=2) as project:
        schema.ready(project, database)
        yield project


def hold(connection: Connection) -> None:
    """Holds the row lock of an application transaction that was left open."""
    connection.exec_driver_sql("UPDATE volumes SET note = 'held' WHERE id = 1")


@pytest.mark.parametrize("verb", ["contract", "expand"])
def test_held_lock_is_given_up_after_attempts(
    short_lock_timeout: Project, database: Database, verb: str
) -> None:
    """Exit 1 after all attempts, the holder is named, nothing changes, no session
    queues behind the migrator."""
    if verb == "expand":
        short_lock_timeout.expand('op.add_column("volumes", sa.Column("third", sa.Integer))\n', "e3")
    before = Snapshot.of(database)
    with schema.session(database) as holder:
        hold(holder)
        with pytest.raises(LockGivenUp) as given_up:
            getattr(command, verb)(short_lock_timeout.site())
        assert given_up.value.exit_code == 1
        assert given_up.value.facts["attempts"] == 2
        if database.server.has("kill_session"):
            assert "held by" in str(given_up.value)
            holder.exec_driver_sql("UPDATE volumes SET note = 'still held' WHERE id = 1")
        holder.rollback()
    assert_free(database)
    assert Snapshot.of(database) == before
    assert schema.journal(database) == []


class ReleasingClock(Clock):
    """A clock whose wait() rolls back the transaction that holds the lock."""

    def __init__(self, holder: Connection) -> None:
        self._holder = holder
        self.waits = 0

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.waits += 1
        self._holder.rollback()
        return False


def test_lock_released_between_two_attempts_is_acquired(
    short_lock_timeout: Project, database: Database
) -> None:
    """A failed attempt leaves a state in which the next attempt succeeds."""
    with schema.session(database) as holder:
        hold(holder)
        clock = ReleasingClock(holder)
        assert command.contract(short_lock_timeout.site(clock=clock)).revisions == ("c2",)
        assert clock.waits == 1
    assert schema.triggers(database) == []
    assert schema.version_rows(database) == ["c2"]
    assert schema.journal(database) == []


@pytest.mark.needs("lock_tables")
def test_lock_given_up_midway_keeps_completed_statements(database: Database, tmp_path: Path) -> None:
    """SET NOT NULL runs after the lock was released. If it gets no lock, the next run continues there."""
    with schema.volumes(tmp_path / "project", database, lock_timeout=0.2, lock_attempts=2) as project:
        schema.ready(project, database)
        with schema.session(database) as holder:
            held = schema.happens("after", "UNLOCK TABLES", lambda _: hold(holder))
            with held, pytest.raises(LockGivenUp):
                command.contract(project.site())
            assert "size_gb" not in schema.shape(database)["volumes"]["columns"]
            assert schema.version_rows(database) == ["e2"]
            holder.rollback()
        assert command.contract(project.site()).revisions == ("c2",)
    assert schema.journal(database) == []


# --- sessions that end ---------------------------------------------------------------------------

_STATEMENTS = ("LOCK TABLE", "DROP TRIGGER", "DROP INDEX", "ALTER TABLE volumes DROP COLUMN size_gb")


@pytest.mark.needs("kill_session")
@pytest.mark.parametrize("statement", [*_STATEMENTS, "UPDATE alembic_version"])
def test_contract_resumes_after_killed_session(project: Project, database: Database, statement: str) -> None:
    """KILL of the migrator's session before a statement: exit 2, and the next run applies the revision."""
    schema.ready(project, database)
    ended = schema.happens("before", statement, lambda c: schema.end_session(database, c))
    with ended, pytest.raises(OnlineMigrateError) as failure:
        command.contract(project.site())
    assert failure.value.exit_code == 2
    assert "PendingRollbackError" not in str(failure.value)
    assert_free_or_contracted(database)
    assert command.contract(project.site()).revisions == ("c2",)
    assert set(schema.shape(database)["volumes"]["columns"]) == {"id", "note", "size_bytes"}
    assert (schema.triggers(database), schema.version_rows(database)) == ([], ["c2"])
    assert schema.journal(database) == []


def assert_free_or_contracted(database: Database) -> None:
    """Asserts that no session is locked out, whatever state was left."""
    with schema.session(database) as other:
        other.exec_driver_sql("UPDATE volumes SET note = 'written' WHERE id = 1")


def test_failed_statement_releases_locks(project: Project, database: Database) -> None:
    """Exit 2; the lock is free; with transactional DDL nothing changes; the corrected script is applied."""
    script = next((project.scripts / "contract").glob("*.py"))
    text = script.read_text()
    script.write_text(text.replace('op.drop_column("volumes", "legacy")', 'op.drop_column("volumes", "no")'))
    schema.ready(project, database)
    before = Snapshot.of(database)
    site = project.site()
    with pytest.raises(RevisionFailed) as failure:
        command.contract(site)
    assert failure.value.exit_code == 2
    assert_free_or_contracted(database)
    with site.engine.connect() as pooled:
        pooled.exec_driver_sql("UPDATE volumes SET note = 'pooled' WHERE id = 2")
        pooled.rollback()
    assert schema.version_rows(database) == ["e2"]
    if database.server.has("transactional_ddl"):
        assert schema.catalog(database) == before.catalog
    script.write_text(text)
    assert command.contract(project.site()).revisions == ("c2",)
    assert set(schema.shape(database)["volumes"]["columns"]) == {"id", "note", "size_bytes"}
    assert schema.journal(database) == []


# --- servers where DDL commits implicitly --------------------------------------------------------


@pytest.mark.needs("lock_tables")
def test_dropped_trigger_is_restored_before_refusal(database: Database, tmp_path: Path) -> None:
    """Killed after DROP TRIGGER; the next run restores the trigger as it was, with its own sql_mode."""
    with schema.volumes(tmp_path / "project", database) as project:
        script = sorted((project.scripts / "expand").glob("*.py"))[-1]
        mode = "    op.execute(\"SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'\")\n"
        script.write_text(script.read_text().replace("    op.execute(", f"{mode}    op.execute(", 1))
        skips_a_row = "sa.case((t.c.id == 999, None), else_=1) * sa.cast(t.c.size_gb"
        project.data("volume_bytes", schema.BACKFILL.replace("sa.cast(t.c.size_gb", skips_a_row))
        schema.ready(project, database)
        before = schema.catalog(database)
        assert "ANSI_QUOTES" in before
        assert schema.run(project, "contract", die_at="DROP INDEX").code == -9
        assert schema.triggers(database) == []
        schema.fill(database, 999, 1000)  # without the trigger, new rows are not kept in step
        refused = schema.run(project, "contract")
        assert refused.code == 3, refused.output
        assert "999" in refused.err
        assert schema.catalog(database) == before
        schema.run_all(database, "DELETE FROM volumes WHERE id = 999")
        assert schema.run(project, "contract").code == 0
        assert schema.triggers(database) == []
        rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
        assert rows[1000] == schema.size_of(1000) * GIB


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize(
    "removed",
    ["DROP TABLE audit", "ALTER TABLE audit DROP COLUMN Reading"],
    ids=["table", "column in another case"],
)
def test_dropped_trigger_of_removed_object_is_not_restored(
    removed: str, database: Database, tmp_path: Path
) -> None:
    """Restored, it would make every write of the application fail. The other dropped trigger is restored."""
    audit = "CREATE TRIGGER volumes_audit AFTER INSERT ON volumes FOR EACH ROW "
    contract = schema.executed(["DROP TRIGGER volumes_audit", removed]) + "\n"
    contract += schema.drop_in_step(database.server.product) + 'op.drop_column("volumes", "legacy")\n'
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        create = "CREATE TABLE audit (id INT, reading INT)"
        schema.run_all(database, create, f"{audit}INSERT INTO audit (READING) VALUES (NEW.id)")
        assert schema.run(project, "contract", die_at="ALTER TABLE volumes DROP COLUMN").code == -9
        assert schema.triggers(database) == []
        schema.fill(database, 999, 999)
        skips_a_row = "sa.case((t.c.id == 999, None), else_=1) * sa.cast(t.c.size_gb"
        project.data("volume_bytes", schema.BACKFILL.replace("sa.cast(t.c.size_gb", skips_a_row))
        refused = schema.run(project, "contract")
        assert refused.code == 3, refused.output
        assert schema.triggers(database) == ["volumes_in_step"]
        schema.fill(database, 1000, 1000)
        project.data("volume_bytes", schema.BACKFILL)
        done = schema.run(project, "contract")
        assert done.code == 0, done.output
    assert schema.triggers(database) == []
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert [rows[row] for row in (999, 1000)] == [schema.size_of(row) * GIB for row in (999, 1000)]


_NOT_UNDER_LOCK = {
    "an indexed column": (
        'op.drop_column("volumes", "size_gb")',
        "op.drop_index('ix_volumes_size_gb', 'volumes')",
    ),
    "an UPDATE": ("op.execute(\"UPDATE volumes SET note = 'x'\")", "data migration"),
    "a DELETE": ('op.execute("DELETE FROM volumes WHERE id > 5")', "data migration"),
    "an INSERT": ('op.execute("INSERT INTO volumes (id) VALUES (5000)")', "data migration"),
    "a bulk insert": (
        'op.bulk_insert(sa.table("volumes", sa.column("id")), [{"id": 5000}])',
        "data migration",
    ),
}


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize("name", list(_NOT_UNDER_LOCK))
def test_statement_not_allowed_under_lock_is_refused_before_any_change(
    database: Database, tmp_path: Path, name: str
) -> None:
    """Exit 3 with the remedy, although the harmless statements before it could have run."""
    statement, hint = _NOT_UNDER_LOCK[name]
    first = schema.drop_in_step(database.server.product) + 'op.drop_column("volumes", "legacy")\n'
    with schema.volumes(tmp_path / "project", database, contract=first + statement) as project:
        schema.ready(project, database)
        before = Snapshot.of(database)
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3
        assert hint in refusal.value.hint
        assert Snapshot.of(database) == before
        assert schema.journal(database) == []
        assert_free(database)


@pytest.mark.needs("lock_tables")
def test_statement_not_allowed_under_lock_is_refused_when_script_is_not_readable_in_advance(
    database: Database, tmp_path: Path
) -> None:
    """The script queries the database, so its statements are known only when they are executed."""
    contract = (
        'op.get_bind().execute(sa.text("SELECT count(*) FROM volumes")).scalar()\n'
        "op.execute(\"UPDATE volumes SET note = 'x'\")\n"
        'op.drop_column("volumes", "legacy")\n'
    )
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        before = Snapshot.of(database)
        with pytest.raises(NotUnderLock) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3
        assert "data migration" in refusal.value.hint
        after = Snapshot.of(database)
        assert (after.catalog, after.versions, after.rows) == (before.catalog, before.versions, before.rows)
        assert_free(database)


@pytest.mark.needs("lock_tables")
def test_rows_are_counted_again_after_section_outside_lock(database: Database, tmp_path: Path) -> None:
    """SET NOT NULL runs without the lock; a row that becomes pending there is found before the next DROP."""
    product = database.server.product
    contract = (
        schema.drop_in_step(product)
        + 'op.alter_column("volumes", "note", existing_type=sa.String(40), nullable=True)\n'
        + 'op.drop_column("volumes", "legacy")\n'
    )
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        with schema.happens("after", "UNLOCK TABLES", lambda _: make_row_pending(database)):
            with pytest.raises(GateClosed):
                command.contract(project.site())
            assert "legacy" in schema.shape(database)["volumes"]["columns"]
        assert_free(database)
        assert command.contract(project.site()).revisions == ("c2",)
        assert schema.triggers(database) == []
        [(size,)] = schema.query_all(database, "SELECT size_bytes FROM volumes WHERE id = 7")
        assert size == schema.size_of(7) * GIB


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize(
    "statement",
    [
        'op.drop_table("volumes")',
        'op.alter_column("volumes", "size_gb", new_column_name="gone", existing_type=sa.Integer)',
        'op.drop_constraint("fk_child", "child", type_="foreignkey")',
    ],
)
def test_destructive_statements_without_rebuild_run_under_lock(
    database: Database, tmp_path: Path, statement: str
) -> None:
    """DROP TABLE, a renamed column and a dropped foreign key do not rebuild the table."""
    contract = schema.drop_in_step(database.server.product) + statement
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        if "child" in statement:
            schema.run_all(
                database,
                "CREATE TABLE child (id INTEGER PRIMARY KEY, volume INTEGER,"
                " CONSTRAINT fk_child FOREIGN KEY (volume) REFERENCES volumes (id)) ENGINE=InnoDB",
            )
        assert command.contract(project.site()).revisions == ("c2",)
    assert schema.version_rows(database) == ["c2"]


# --- a section that no lock covers, where DDL is transactional -----------------------------------

_BLOCK = 'with op.get_context().autocommit_block():\n    op.execute("{}")\n'
_CONCURRENT = "CREATE INDEX CONCURRENTLY ix_note ON volumes (note)"


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_concurrent_index_build_between_locked_statements(database: Database, tmp_path: Path) -> None:
    """A destructive statement before the block and one after it: both run, the index exists and is valid."""
    contract = (
        schema.drop_in_step(database.server.product)
        + _BLOCK.format(_CONCURRENT)
        + 'op.drop_column("volumes", "legacy")\n'
    )
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        assert command.contract(project.site()).revisions == ("c2",)
    assert "ix_note ON public.volumes USING btree (note)', True" in schema.catalog(database)
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]
    assert schema.version_rows(database) == ["c2"]
    assert schema.journal(database) == []


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_rows_are_counted_again_after_autocommit_block(database: Database, tmp_path: Path) -> None:
    """A row that becomes pending while the index is built is found before the next destructive statement."""
    contract = _BLOCK.format(_CONCURRENT) + 'op.drop_column("volumes", "legacy")\n'
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        with schema.happens("before", _CONCURRENT, lambda _: make_row_pending(database)):
            with pytest.raises(GateClosed):
                command.contract(project.site())
            assert "legacy" in schema.shape(database)["volumes"]["columns"]
        assert_free(database)
        project.migrate()
        assert command.contract(project.site()).revisions == ("c2",)
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_destructive_statement_in_autocommit_block_is_refused(database: Database, tmp_path: Path) -> None:
    """No lock lasts across the block: exit 3, and nothing is dropped."""
    contract = _BLOCK.format("ALTER TABLE volumes DROP COLUMN legacy")
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        before = Snapshot.of(database)
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3
        assert "autocommit_block" in str(refusal.value)
        assert Snapshot.of(database) == before
        assert_free(database)


@pytest.mark.needs("transactional_ddl", "many_writers")
@pytest.mark.parametrize("moment", [_CONCURRENT, "DROP TRIGGER", "ALTER TABLE", "UPDATE alembic_version"])
def test_revision_with_autocommit_block_is_resumed(database: Database, tmp_path: Path, moment: str) -> None:
    """kill -9 in and after the block: the next run ends with a valid index and without the old column."""
    contract = (
        _BLOCK.format(_CONCURRENT)
        + schema.drop_in_step(database.server.product)
        + 'op.drop_column("volumes", "legacy")\n'
    )
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        with OldVersion(database):
            killed = schema.run(project, "contract", die_at=moment)
            assert killed.code == -9, killed.output
            resumed = schema.run(project, "contract")
        assert resumed.code == 0, resumed.output
    assert "ix_note ON public.volumes USING btree (note)', True" in schema.catalog(database)
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]
    assert (schema.triggers(database), schema.version_rows(database)) == ([], ["c2"])
    assert schema.journal(database) == []


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_trigger_dropped_before_autocommit_block_is_restored(database: Database, tmp_path: Path) -> None:
    """The block commits the DROP TRIGGER; after a kill there, the trigger is restored
    before rows are counted."""
    contract = (
        schema.drop_in_step(database.server.product)
        + _BLOCK.format(_CONCURRENT)
        + 'op.drop_column("volumes", "legacy")\n'
    )
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        assert schema.run(project, "contract", die_at=_CONCURRENT).code == -9
        schema.fill(database, 1000, 1000)
        skips_a_row = "sa.case((t.c.id == 1000, None), else_=1) * sa.cast(t.c.size_gb"
        project.data("volume_bytes", schema.BACKFILL.replace("sa.cast(t.c.size_gb", skips_a_row))
        refused = schema.run(project, "contract")
        assert refused.code == 3, refused.output
        assert schema.triggers(database) == ["volumes_in_step"]
        project.data("volume_bytes", schema.BACKFILL)
        done = schema.run(project, "contract")
        assert done.code == 0, done.output
    assert schema.triggers(database) == []
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]
    assert schema.journal(database) == []


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_invalid_index_is_built_again(database: Database, tmp_path: Path) -> None:
    """A unique index fails on duplicates and remains INVALID; without the duplicates it is built."""
    unique = "CREATE UNIQUE INDEX CONCURRENTLY ix_note ON volumes (note)"
    with schema.volumes(tmp_path / "project", database) as project:
        project.expand(_BLOCK.format(unique), "e3", additive=declared(unique))
        schema.ready(project, database, "e2")
        schema.run_all(database, "UPDATE volumes SET note = 'twice' WHERE id < 3")
        with pytest.raises(RevisionFailed):
            project.apply_expand()
        assert schema.version_rows(database) == ["e2"]
        schema.run_all(database, "UPDATE volumes SET note = NULL WHERE id < 3")
        assert project.apply_expand() == ["e3"]
    assert "ix_note ON public.volumes USING btree (note)', True" in schema.catalog(database)


@pytest.mark.needs("transactional_ddl")
def test_revision_that_raises_midway_changes_nothing(database: Database, tmp_path: Path) -> None:
    """DROP COLUMN, then an exception of the script: the column and its values are still there."""
    contract = schema.drop_in_step(database.server.product) + 'op.drop_column("volumes", "legacy")\n'
    contract += 'raise RuntimeError("of the script")'
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        before = Snapshot.of(database)
        with pytest.raises(RevisionFailed, match="of the script"):
            command.contract(project.site())
        assert Snapshot.of(database) == before
        assert schema.journal(database) == []


def test_revision_without_requirements_needs_no_data_migration(database: Database, tmp_path: Path) -> None:
    """``requires = ()``: the columns of the sample are dropped without a check of any row."""
    with schema.volumes(tmp_path / "project", database, contract="pass") as project:
        project.contract('op.drop_column("volumes", "legacy")', "c3", depends_on="e2")
        schema.ready(project, database)
        assert command.contract(project.site()).revisions == ("c2", "c3")
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]


# --- tables that the final check reads ------------------------------------------------------------

_OTHER_TABLE = {
    "by name": """
        kept = sa.table("kept", sa.column("volume"))
        PENDING = lambda t: sa.exists().where(kept.c.volume == t.c.id)
    """,
    "by an alias": """
        kept = sa.table("kept", sa.column("volume")).alias("k")
        PENDING = lambda t: t.c.id.in_(sa.select(kept.c.volume))
    """,
    "twice": """
        kept = sa.table("kept", sa.column("volume"))
        one, two = kept.alias("one"), kept.alias("two")
        both = sa.select(one.c.volume).where(one.c.volume.in_(sa.select(two.c.volume)))
        PENDING = lambda t: t.c.id.in_(both)
    """,
    "itself": """
        def PENDING(t):
            again = t.alias("again")
            return sa.exists().where(again.c.id == t.c.id, again.c.size_bytes.is_(None))
    """,
    "in a CTE": """
        kept = sa.table("kept", sa.column("volume"))
        PENDING = lambda t: t.c.id.in_(sa.select(sa.select(kept.c.volume).cte("them").c.volume))
    """,
}


@pytest.mark.parametrize("name", list(_OTHER_TABLE))
def test_final_check_locks_every_table_that_pending_reads(
    project: Project, database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table and alias that it reads is locked: a row inserted into the *other* table is found too."""
    from online_migrate.contract import runner

    schema.ready(project, database)
    schema.run_all(database, "CREATE TABLE kept (volume INTEGER PRIMARY KEY)")
    project.data(
        "volume_bytes",
        _OTHER_TABLE[name]
        + """
        volume_bytes = Backfill(table="volumes", revision="e2", pending=PENDING, values={"size_bytes": 1})
    """,
    )
    assert command.gate(project.site()) == []
    apply = runner.run
    make_pending = "INSERT INTO kept (volume) VALUES (7)"
    if name == "itself":
        make_pending = "UPDATE volumes SET size_bytes = NULL WHERE id = 7"

    def commit_row_and_apply(stepper: object, revision: str, services: object) -> None:
        schema.run_all(database, make_pending)
        apply(stepper, revision, services)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run", commit_row_and_apply)
    before = schema.catalog(database)
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    assert [(blocker.id, blocker.keys) for blocker in refusal.value.blockers] == [("pending-rows", ("7",))]
    assert schema.catalog(database) == before
    monkeypatch.undo()
    schema.run_all(database, "DELETE FROM kept", "UPDATE volumes SET size_bytes = 1 WHERE id = 7")
    assert command.contract(project.site()).revisions == ("c2",)


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_final_check_locks_table_in_its_own_schema(database: Database, tmp_path: Path) -> None:
    """The check and the lock apply to the table that the data migration names, not to its namesake."""
    schema.run_all(
        database,
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO elsewhere.things VALUES (1, 1, 1)",
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO things VALUES (7, 7, NULL)",
    )
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("pass", "e1")
        project.contract('op.drop_column("things", "old", schema="elsewhere")', "c1", requires=("things",))
        project.data(
            "things",
            """
            columns = [sa.Column("id", sa.Integer, primary_key=True), sa.Column("old", sa.Integer),
                       sa.Column("new", sa.Integer)]
            table = sa.Table("things", sa.MetaData(), *columns, schema="elsewhere")
            things = Backfill(table=table, values={"new": table.c.old}, pending=table.c.new.is_(None))
            """,
        )
        project.apply_expand()
        project.migrate()
        make_pending = "INSERT INTO elsewhere.things VALUES (2, 2, NULL)"
        committed = schema.happens("before", "LOCK TABLE", lambda _: schema.run_all(database, make_pending))
        with committed, pytest.raises(GateClosed) as refusal:
            command.contract(project.site())
        assert refusal.value.blockers[0].keys == ("2",)
        project.migrate()
        assert command.contract(project.site()).revisions == ("c1",)
    assert schema.query_all(database, "SELECT id, new FROM elsewhere.things ORDER BY id") == [(1, 1), (2, 2)]


_AWKWARD = {
    "postgresql": (
        "CREATE FUNCTION awkward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.note LIKE '100%' OR NEW.note = ':x' THEN NEW.note := 'it''s; \\ fine'; END IF;"
        " RETURN NEW; END $$",
        "CREATE TRIGGER awkward BEFORE UPDATE ON volumes FOR EACH ROW"
        " WHEN (NEW.note IS NOT NULL) EXECUTE FUNCTION awkward()",
    ),
    "mysql": (
        "CREATE TRIGGER awkward BEFORE UPDATE ON volumes FOR EACH ROW BEGIN"
        " IF NEW.note LIKE '100%' OR NEW.note = ':x' THEN SET NEW.note = 'it''s; \\\\ fine'; END IF; END",
    ),
}
_AWKWARD["mariadb"] = _AWKWARD["mysql"]
_AWKWARD_GONE = {
    "postgresql": ["DROP TRIGGER awkward ON volumes", "DROP FUNCTION awkward()"],
    "mysql": ["DROP TRIGGER awkward"],
    "mariadb": ["DROP TRIGGER awkward"],
}


@pytest.mark.needs("many_writers")
def test_trigger_body_is_restored_verbatim(database: Database, tmp_path: Path) -> None:
    """Percent signs, colons, quotes, semicolons and backslashes in the trigger body are unchanged."""
    product = database.server.product
    drops = schema.executed(_AWKWARD_GONE[product]) + "\n" + schema.drop_in_step(product)
    if database.server.has("transactional_ddl"):
        drops += _BLOCK.format(_CONCURRENT)
    last = 'op.drop_column("volumes", "legacy")\n'
    with schema.volumes(tmp_path / "project", database, contract=drops + last) as project:
        schema.ready(project, database)
        schema.run_all(database, *_AWKWARD[product])
        before = schema.catalog(database)
        moment = _CONCURRENT if database.server.has("transactional_ddl") else "ALTER TABLE"
        assert schema.run(project, "contract", die_at=moment).code == -9
        assert schema.triggers(database) == []
        schema.fill(database, 1000, 1000)
        skips_a_row = "sa.case((t.c.id == 1000, None), else_=1) * sa.cast(t.c.size_gb"
        project.data("volume_bytes", schema.BACKFILL.replace("sa.cast(t.c.size_gb", skips_a_row))
        refused = schema.run(project, "contract")
        assert refused.code == 3, refused.output
        assert schema.catalog(database) == before
        project.data("volume_bytes", schema.BACKFILL)
        done = schema.run(project, "contract")
        assert done.code == 0, done.output
        assert schema.triggers(database) == []


# --- scripts that release the lock ----------------------------------------------------------------


def assert_lock_release_is_refused(database: Database, tmp_path: Path, statement: str) -> None:
    """Asserts that a script that ends the transaction or the lock before a DROP is
    refused and drops nothing."""
    contract = f"op.execute({statement!r})\nop.drop_column('volumes', 'legacy')\n"
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert "legacy" in schema.shape(database)["volumes"]["columns"]
        assert schema.version_rows(database) == ["e2"]
        assert_free(database)


@pytest.mark.needs("transactional_ddl")
@pytest.mark.parametrize("statement", ["COMMIT", "END", "ROLLBACK", "commit;"])
def test_script_that_ends_transaction_is_refused(database: Database, tmp_path: Path, statement: str) -> None:
    """``op.execute("COMMIT")`` before CONCURRENTLY is a common habit: it releases the lock silently."""
    assert_lock_release_is_refused(database, tmp_path, statement)


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize(
    "statement", ["UNLOCK TABLES", "START TRANSACTION", "BEGIN", "LOCK TABLES alembic_version READ"]
)
def test_script_that_releases_table_lock_is_refused(
    database: Database, tmp_path: Path, statement: str
) -> None:
    """Each of these releases LOCK TABLES, although the engine believes that it holds the lock."""
    assert_lock_release_is_refused(database, tmp_path, statement)
