"""verify and its barriers: what the server refuses, and what contract proves without reading a row."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command, state
from online_migrate.command import CommandContext, MigrateOptions
from online_migrate.command.verification import _Verifying
from online_migrate.contract import barrier_ddl
from online_migrate.dialects import LockTarget
from online_migrate.exceptions import GateClosed, Refused, RollbackRefused
from online_migrate.migrate.verification import VerificationTaken, VerifyOutcome, VerifyResult
from online_migrate.rollback.undo import refuse_barriers
from tests.servers import Database
from tests.support import schema
from tests.support.chaos import wait_until
from tests.support.project import Project
from tests.support.services import live

pytestmark = pytest.mark.needs("many_writers")

NAME = "volume_bytes"
BARRIER = f"online_migrate_barrier_{NAME}"
PENDING = "INSERT INTO volumes (id, size_gb) VALUES (500, 5)"


def drop_sizes(product: str) -> str:
    """The lines that drop what the sample's data migration reads."""
    lines = 'op.drop_index("ix_volumes_size_gb", "volumes")\nop.drop_column("volumes", "size_gb")\n'
    return schema.drop_in_step(product) + lines


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, whose rows are migrated; its contract drops the trigger and the old column."""
    contract = drop_sizes(database.server.product)
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        yield project


def out_of_step(database: Database) -> None:
    """Drops the trigger that keeps the rows of the old version in step: its rows are pending then."""
    schema.run_all(database, *schema.out_of_step(database.server.product))


def verify(project: Project, **limits: Any) -> VerifyResult:
    """Runs verify on the sample's data migration."""
    [result] = command.verify(project.site(), [NAME], MigrateOptions(**limits), barrier=True)
    return result


def refused(database: Database, *statements: str) -> bool:
    """Returns whether the server refuses the last statement because of the barrier."""
    with schema.session(database) as other:
        *before, last = statements
        for statement in before:
            other.exec_driver_sql(statement)
        try:
            other.exec_driver_sql(last)
        except sa.exc.DBAPIError as error:
            return BARRIER in str(error)
        other.commit()
    return False


@contextlib.contextmanager
def reads_of_rows(site: CommandContext) -> Iterator[list[str]]:
    """Collects the queries of the table that may return or count rows, while its block lasts."""
    found: list[str] = []

    def listen(_connection: object, _cursor: object, text: str, parameters: Any, *_more: object) -> None:
        limits = list(parameters.values()) if isinstance(parameters, dict) else list(parameters)
        asks_nothing = re.search(r"LIMIT (0|%s|%\(param_1\)s)", text) and limits in ([], [0])
        if re.search(r"\bFROM .*\bvolumes\b", text, re.DOTALL) and not asks_nothing:
            found.append(text)

    sa.event.listen(site.engine, "before_cursor_execute", listen)
    yield found
    sa.event.remove(site.engine, "before_cursor_execute", listen)


def drop(database: Database) -> tuple[str, ...]:
    """The statements with which an operator drops the barrier by hand."""
    if database.server.product == "postgresql":
        return (f"ALTER TABLE volumes DROP CONSTRAINT {BARRIER}",)
    return (f"DROP TRIGGER {BARRIER}_insert",)


# --- without a barrier in place contract counts, or is refused ------------------------------------


def test_contract_reads_no_row_behind_barrier(project: Project, database: Database) -> None:
    result = verify(project)
    assert (result.outcome, result.checked, result.barrier) == (VerifyOutcome.COMPLETE, 20, BARRIER)
    site = project.site()
    with reads_of_rows(site) as reads:
        report = command.gate_report(site)
        assert report.blockers == ()
        assert report.verified == (NAME,)
        assert command.contract(site).revisions == ("c2",)
    assert reads == []
    assert schema.triggers(database) == []
    assert schema.query_all(database, "SELECT count(*) FROM online_migrate_verification") == [(0,)]
    schema.run_all(database, "INSERT INTO volumes (id, size_bytes) VALUES (600, 1)")


def test_without_barrier_contract_counts(project: Project, database: Database) -> None:
    """A project without services is told how to get a barrier; its rows are counted, so the test can fail."""
    [result] = command.verify(project.site())
    assert (result.outcome, result.barrier) == (VerifyOutcome.COMPLETE, None)
    assert "--barrier" in str(result.note)
    site = project.site()
    with reads_of_rows(site) as reads:
        assert command.gate_report(site).verified == ()
        assert command.contract(site).revisions == ("c2",)
    assert reads != []


# --- what the server refuses ---------------------------------------------------------------------

_EVERYWHERE = (
    PENDING,
    "INSERT INTO volumes (id, size_gb, size_bytes) VALUES (501, 1, 1), (502, 1, NULL)",
    "INSERT INTO volumes (id, size_gb) SELECT id + 500, size_gb FROM volumes",
    "UPDATE volumes SET size_bytes = NULL WHERE id = 3",
)
_POSTGRESQL = (
    "INSERT INTO volumes (id, size_gb) VALUES (3, 5) ON CONFLICT (id) DO UPDATE SET size_bytes = NULL",
    "INSERT INTO volumes (id, size_gb) VALUES (503, 5) ON CONFLICT DO NOTHING",
    "WITH moved AS (UPDATE volumes SET size_bytes = NULL WHERE id = 4 RETURNING id) SELECT * FROM moved",
)
_MYSQL = (
    "INSERT IGNORE INTO volumes (id, size_gb) VALUES (503, 5)",
    "REPLACE INTO volumes (id, size_gb) VALUES (3, 5)",
    "REPLACE INTO volumes (id, size_gb) VALUES (504, 5)",
    "INSERT INTO volumes (id, size_gb) VALUES (3, 5) ON DUPLICATE KEY UPDATE size_bytes = NULL",
    "INSERT IGNORE INTO volumes (id) VALUES (3) ON DUPLICATE KEY UPDATE size_bytes = NULL",
    "UPDATE IGNORE volumes SET size_bytes = NULL",
    "UPDATE volumes JOIN (SELECT 3 AS id) AS one ON one.id = volumes.id SET volumes.size_bytes = NULL",
)


def test_old_writer_cannot_write_pending_row(project: Project, database: Database) -> None:
    """By any statement, in a strict session or not; whatever is not pending can be written."""
    out_of_step(database)
    verify(project)
    is_mysql = database.server.product != "postgresql"
    for statement in (*_EVERYWHERE, *(_MYSQL if is_mysql else _POSTGRESQL)):
        assert refused(database, statement), statement
    setting = "SET SESSION sql_mode = ''" if is_mysql else "SET session_replication_role = replica"
    assert refused(database, setting, PENDING)
    pending = "SELECT count(*) FROM volumes WHERE size_bytes IS NULL AND size_gb IS NOT NULL"
    assert schema.query_all(database, pending) == [(0,)]
    schema.run_all(
        database,
        "INSERT INTO volumes (id, size_gb, size_bytes) VALUES (700, 5, 5)",
        "INSERT INTO volumes (id) VALUES (701)",
        "UPDATE volumes SET note = 'x', size_gb = 7 WHERE id = 3",
        "DELETE FROM volumes WHERE id = 4",
    )


@pytest.mark.needs("lock_tables")
def test_trigger_that_is_created_later_does_not_pass_barrier(project: Project, database: Database) -> None:
    """A BEFORE trigger that makes the row pending fires first, although it is younger."""
    out_of_step(database)
    verify(project)
    schema.run_all(
        database, "CREATE TRIGGER spoil BEFORE INSERT ON volumes FOR EACH ROW SET NEW.size_bytes = NULL"
    )
    assert refused(database, "INSERT INTO volumes (id, size_gb, size_bytes) VALUES (500, 5, 5)")


def test_rows_that_fail_verify_are_refused_too(project: Project, database: Database) -> None:
    project.data(
        NAME,
        schema.BACKFILL.replace("revision=", "verify=lambda t: t.c.size_bytes >= 0, revision="),
    )
    verify(project)
    assert refused(database, "UPDATE volumes SET size_bytes = -1 WHERE id = 3")
    assert command.gate_report(project.site()).verified == (NAME,)


# --- a barrier that was recorded and is not in place ---------------------------------------------


def dropped(database: Database) -> None:
    schema.run_all(database, *drop(database))


def made_again(database: Database) -> None:
    """Dropped, and created again with the same text, after a pending row was written."""
    out_of_step(database)
    if database.server.product == "postgresql":
        [(text,)] = schema.query_all(
            database, f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{BARRIER}'"
        )
        again = f"ALTER TABLE volumes ADD CONSTRAINT {BARRIER} {text} NOT VALID"
    else:
        [(text,)] = schema.query_all(
            database,
            "SELECT action_statement FROM information_schema.triggers WHERE trigger_schema = DATABASE() "
            f"AND trigger_name = '{BARRIER}_insert'",
        )
        again = f"CREATE TRIGGER {BARRIER}_insert AFTER INSERT ON volumes FOR EACH ROW {text}"
    schema.run_all(database, *drop(database), PENDING, again)


def weakened(database: Database) -> None:
    """Another condition under the same name."""
    if database.server.product == "postgresql":
        again = f"ALTER TABLE volumes ADD CONSTRAINT {BARRIER} CHECK (id > 0)"
    else:
        again = f"CREATE TRIGGER {BARRIER}_insert AFTER INSERT ON volumes FOR EACH ROW DO 1"
    schema.run_all(database, *drop(database), again)


def table_replaced(database: Database) -> None:
    """A copy of the table takes its place, without the barrier."""
    schema.run_all(
        database,
        "CREATE TABLE copied AS SELECT * FROM volumes",
        "DROP TABLE volumes",
        "ALTER TABLE copied RENAME TO volumes",
        "ALTER TABLE volumes ADD PRIMARY KEY (id)",
        "CREATE INDEX ix_volumes_size_gb ON volumes (size_gb)",
    )


@pytest.mark.parametrize(
    ("happens", "blocker"),
    [
        (dropped, "barrier-missing"),
        (made_again, "barrier-changed"),
        (weakened, "barrier-changed"),
        (table_replaced, "barrier-missing"),
    ],
)
def test_barrier_that_is_not_in_place_closes_gate(
    project: Project, database: Database, happens: Callable[[Database], None], blocker: str
) -> None:
    verify(project)
    happens(database)
    with pytest.raises(GateClosed) as closed:
        command.contract(project.site())
    [found] = closed.value.blockers
    assert (found.id, found.object) == (blocker, NAME)
    assert f"verify {NAME}" in found.hint
    assert command.status(project.site()).migrations[0].verification.barrier_state == blocker
    # The remedy: another barrier, and every row again.
    project.migrate()
    assert verify(project).outcome is VerifyOutcome.COMPLETE
    assert command.gate_report(project.site()).verified == (NAME,)


@pytest.mark.parametrize("happens", [dropped, weakened])
def test_barrier_vanishes_after_gate(
    project: Project, database: Database, happens: Callable[[Database], None]
) -> None:
    """The check under the lock finds it; the old column is there."""
    verify(project)
    announced = "INSERT INTO online_migrate_contracted"
    with (
        schema.happens("before", announced, lambda _connection: happens(database)),
        pytest.raises(GateClosed) as closed,
    ):
        command.contract(project.site())
    assert closed.value.blockers[0].id.startswith("barrier-")
    assert "size_gb" in schema.shape(database)["volumes"]["columns"]


def test_dropped_by_command(project: Project, database: Database) -> None:
    """After --drop-barrier the old version can write again, and contract counts."""
    out_of_step(database)
    verify(project)
    assert command.drop_barrier(project.site(), NAME)
    assert not command.drop_barrier(project.site(), NAME)
    schema.run_all(database, PENDING)
    with pytest.raises(GateClosed) as closed:
        command.contract(project.site())
    assert [blocker.id for blocker in closed.value.blockers] == ["pending-rows"]


def test_rollback_is_refused_while_there_is_a_barrier(project: Project, database: Database) -> None:
    verify(project)
    with database.engine.connect() as connection:
        refuse_barriers(connection, ["other"], [LockTarget("other")])
        for names, tables in (([NAME], []), ([], [LockTarget("volumes")])):
            with pytest.raises(RollbackRefused) as refusal:
                refuse_barriers(connection, names, tables)
            [blocker] = refusal.value.blockers
            assert (blocker.id, blocker.object) == ("barrier", NAME)
            assert "--drop-barrier" in blocker.hint


# --- what a verification is worth ----------------------------------------------------------------


def test_verification_before_barrier_does_not_count(project: Project, database: Database) -> None:
    """Complete without a barrier; then the barrier, but not all rows: contract counts."""
    command.verify(project.site(), [NAME])
    first = verify(project, max_count=7, batch_size=3)
    assert (first.outcome, first.checked, first.exit_code) == (VerifyOutcome.REMAINING, 7, 1)
    assert first.barrier == BARRIER
    assert command.gate_report(project.site()).verified == ()
    shown = command.status(project.site()).migrations[0].verification
    assert (shown.status, shown.checked, shown.barrier_state) == ("running", 7, "created")
    second = verify(project, batch_size=3)
    assert (second.outcome, second.checked) == (VerifyOutcome.COMPLETE, 20)
    assert command.gate_report(project.site()).verified == (NAME,)


def test_walk_of_another_process_before_barrier_does_not_count(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It walks on the record of the barrier while that is created, and a row becomes pending behind it."""
    until_free, walked = barrier_ddl.until_free, list[str]()

    def walk_first(*arguments: Any) -> Any:
        if not walked:
            with schema.session(database) as other:
                record = state.get_verification(other, NAME)
                assert record is not None
                begun = state.begin_verification(other, NAME, record.expressions)
                assert begun is not None
                assert state.finish_verification(other, NAME, begun.run)
                other.commit()
                walked.append(begun.run)
            out_of_step(database)
            schema.run_all(database, PENDING)
        return until_free(*arguments)

    monkeypatch.setattr(barrier_ddl, "until_free", walk_first)
    result = verify(project)
    assert walked
    assert (result.outcome, result.failing) == (VerifyOutcome.FAILING, 1)
    assert command.gate_report(project.site()).verified == ()


def test_barrier_starts_verification_of_another_process_again(project: Project, database: Database) -> None:
    """What it has checked so far was not behind the barrier."""
    result = verify(project, max_count=5)
    assert (result.outcome, result.checked) == (VerifyOutcome.REMAINING, 5)
    with schema.session(database) as other:
        record = state.get_verification(other, NAME)
        assert record is not None
        assert record.checkpoint is not None
        state.set_barrier(other, NAME, state.BarrierState.CREATED, definition="of another process")
        progress = state.Progress("[20]", 15)
        assert not state.add_verified(other, NAME, record.run, progress)
        assert not state.finish_verification(other, NAME, record.run)
        begun = state.begin_verification(other, NAME, record.expressions)
        assert begun is not None
        assert (begun.checkpoint, begun.checked, begun.barrier) == (None, 0, BARRIER)
        assert state.begin_verification(other, NAME, "of another version") is None


def test_record_of_new_barrier_is_not_replaced(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without a barrier has read that there is no record; without it nothing drops the barrier."""
    assert verify(project).outcome is VerifyOutcome.COMPLETE
    monkeypatch.setattr(_Verifying, "_recorded", lambda _self: (None, False))
    monkeypatch.setattr(_Verifying, "_why_no_barrier", lambda _self: "it has read that there is none")
    with pytest.raises(VerificationTaken):
        command.verify(project.site(), [NAME])
    monkeypatch.undo()
    assert command.gate_report(project.site()).verified == (NAME,)


def test_edited_condition_is_counted(project: Project, database: Database) -> None:
    """The barrier refuses by the old text, and proves nothing of the new one."""
    verify(project)
    project.data(
        NAME,
        schema.BACKFILL.replace("t.c.size_bytes.is_(None)", "(t.c.size_bytes.is_(None) | (t.c.id == 9))"),
    )
    report = command.gate_report(project.site())
    assert report.verified == ()
    assert [blocker.id for blocker in report.blockers] == ["pending-rows"]


def test_transaction_that_began_before_barrier(project: Project, database: Database) -> None:
    """The barrier waits for it; the pending row that it commits is found."""
    out_of_step(database)
    with (
        schema.session(database) as old,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        old.exec_driver_sql(PENDING)
        said: list[str] = []
        running = pool.submit(
            command.verify, project.site(echo=said.append), [NAME], MigrateOptions(), barrier=True
        )
        wait_until(
            lambda: any("no lock" in line or "waiting until" in line for line in said),
            "verify waits for the table",
        )
        assert not running.done()
        old.commit()
        [result] = running.result(60)
    assert (result.outcome, result.failing, result.keys) == (VerifyOutcome.FAILING, 1, ("500",))
    assert result.exit_code == 2
    assert command.gate_report(project.site()).verified == ()
    assert refused(database, "INSERT INTO volumes (id, size_gb) VALUES (501, 5)")


def test_pending_row_prevents_barrier(project: Project, database: Database) -> None:
    out_of_step(database)
    schema.run_all(database, PENDING)
    result = verify(project)
    assert (result.outcome, result.keys, result.barrier) == (VerifyOutcome.FAILING, ("500",), None)
    assert not refused(database, "INSERT INTO volumes (id, size_gb) VALUES (501, 5)")


def test_incomplete_data_migration_is_refused(project: Project, database: Database) -> None:
    schema.run_all(database, "UPDATE online_migrate_data_migration SET status = 'stopped'")
    with pytest.raises(GateClosed) as closed:
        verify(project)
    assert [blocker.id for blocker in closed.value.blockers] == ["not-complete"]
    assert not any(BARRIER in trigger for trigger in schema.triggers(database))


def test_live_old_service_is_never_refused(project: Project, database: Database) -> None:
    """Not even with --barrier; a service whose code survives the contract is no hindrance."""
    out_of_step(database)
    with live(database):
        with pytest.raises(GateClosed) as closed:
            verify(project)
        assert closed.value.blockers[0].id.startswith("service")
        assert not refused(database, PENDING)
        schema.run_all(database, "DELETE FROM volumes WHERE id = 500")
    with live(database, "c2"):
        [result] = command.verify(project.site(), [NAME])
    assert result.barrier == BARRIER


# --- where there is no barrier -------------------------------------------------------------------


def test_condition_on_another_table(project: Project, database: Database) -> None:
    project.data(
        NAME,
        schema.BACKFILL.replace(
            "t.c.size_bytes.is_(None)",
            "t.c.size_bytes.is_(None) & sa.exists().where(sa.table('e', sa.column('v')).c.v == t.c.id)",
        ),
    )
    schema.run_all(database, "CREATE TABLE e (v INTEGER)")
    with pytest.raises(Refused, match="read table e"):
        verify(project)
    [result] = command.verify(project.site(), [NAME])
    assert (result.outcome, result.barrier) == (VerifyOutcome.COMPLETE, None)


@pytest.mark.parametrize("call", ["sa.func.now() > sa.func.now()", "sa.func.rand() > 2", "sa.text('1 = 0')"])
def test_condition_that_changes_by_itself(project: Project, database: Database, call: str) -> None:
    """A clock, a random number; SQL text, on the servers where its columns cannot be renamed."""
    if database.server.product == "postgresql":
        call = call.replace("rand()", "random()")
        if "text" in call:
            call = "sa.text('1 = (SELECT 0)')"
    project.data(
        NAME, schema.BACKFILL.replace("t.c.size_gb.is_not(None)", f"t.c.size_gb.is_not(None) & ({call})")
    )
    with pytest.raises(Refused):
        verify(project)


@pytest.mark.needs("lock_tables")
def test_cascade_passes_triggers(project: Project, database: Database) -> None:
    """A foreign key that changes rows by cascade, before and after verify: rows are counted."""
    verify(project)
    schema.run_all(
        database,
        "CREATE TABLE owners (id INTEGER PRIMARY KEY, size_bytes BIGINT UNIQUE) ENGINE=InnoDB",
        "INSERT INTO owners SELECT MIN(id), size_bytes FROM volumes GROUP BY size_bytes",
        "ALTER TABLE volumes ADD CONSTRAINT owned FOREIGN KEY (size_bytes) REFERENCES owners (size_bytes) "
        "ON DELETE SET NULL",
        "DELETE FROM owners WHERE id = 3",
    )
    report = command.gate_report(project.site())
    assert report.verified == ()
    assert [blocker.id for blocker in report.blockers] == ["pending-rows"]
    command.drop_barrier(project.site(), NAME)
    project.migrate()
    with pytest.raises(Refused, match="cascade"):
        verify(project)


@pytest.mark.needs("lock_tables")  # the servers whose barriers are triggers
@pytest.mark.parametrize(
    ("change", "pending"),
    [
        ("ALTER TABLE volumes DROP COLUMN size_bytes, ADD COLUMN size_bytes BIGINT", True),
        ("ALTER TABLE volumes CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", False),
    ],
)
def test_altered_table_is_verified_again(
    project: Project, database: Database, change: str, pending: bool
) -> None:
    """An ALTER TABLE fires no trigger: the rows are counted, until they are verified again."""
    assert verify(project).outcome is VerifyOutcome.COMPLETE
    schema.run_all(database, change)
    report = command.gate_report(project.site())
    assert report.verified == ()
    assert [blocker.id for blocker in report.blockers] == (["pending-rows"] if pending else [])
    [found] = command.status(project.site()).migrations
    assert found.verification is not None
    assert found.verification.barrier_state == "table-altered"
    if pending:
        command.drop_barrier(project.site(), NAME)
        project.migrate()
    assert verify(project).outcome is VerifyOutcome.COMPLETE
    assert command.gate_report(project.site()).verified == (NAME,)
    assert command.contract(project.site()).revisions == ("c2",)


@pytest.mark.needs("lock_tables")
def test_partitioned_table_has_no_barrier(project: Project, database: Database) -> None:
    schema.run_all(database, "ALTER TABLE volumes PARTITION BY HASH (id) PARTITIONS 2")
    with pytest.raises(Refused, match="EXCHANGE PARTITION"):
        verify(project)


# --- kills ---------------------------------------------------------------------------------------


_VERIFYING = (
    "INSERT INTO online_migrate_verification",
    "CREATE",
    "UPDATE online_migrate_verification SET barrier_state",
    "UPDATE online_migrate_verification SET checkpoint",
    "VALIDATE",
)
_DIFFERENT = {
    "postgresql": {
        "CREATE": "ALTER TABLE volumes ADD CONSTRAINT",
        "VALIDATE": "ALTER TABLE volumes VALIDATE CONSTRAINT",
    },
    "mysql": {
        "CREATE": f"CREATE TRIGGER {BARRIER}_update",
        "VALIDATE": "UPDATE online_migrate_verification SET status",
    },
}
"""The moments at which the servers differ."""


@pytest.mark.parametrize("moment", _VERIFYING)
def test_verify_is_killed(project: Project, database: Database, moment: str) -> None:
    """What is left half-made does not count, and the next verify completes it."""
    out_of_step(database)
    product = "postgresql" if database.server.product == "postgresql" else "mysql"
    moment = _DIFFERENT[product].get(moment, moment)
    killed = schema.run(project, "verify", "--barrier", "--batch-size", "9", NAME, die_at=moment)
    assert killed.code == -9, killed.output
    assert command.gate_report(project.site()).verified == ()
    assert verify(project).outcome is VerifyOutcome.COMPLETE
    assert command.gate_report(project.site()).verified == (NAME,)
    assert refused(database, PENDING)


_MOMENTS = (
    "UPDATE online_migrate_verification",
    "DROP TRIGGER",
    "DELETE FROM online_migrate_verification",
    "ALTER TABLE volumes DROP",
)


@pytest.mark.parametrize("moment", _MOMENTS)
def test_contract_is_killed_around_barrier(project: Project, database: Database, moment: str) -> None:
    """The next contract completes it; no row is lost, and every write is possible in the end."""
    verify(project)
    killed = schema.run(project, "contract", die_at=moment)
    assert killed.code == -9, killed.output
    assert "size_gb" in schema.shape(database)["volumes"]["columns"]
    assert schema.run(project, "contract").code == 0
    assert "size_gb" not in schema.shape(database)["volumes"]["columns"]
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * schema.GIB for row in range(1, 21)}
    schema.run_all(database, "INSERT INTO volumes (id) VALUES (600)")
    assert schema.triggers(database) == []


# --- the command line ----------------------------------------------------------------------------


def test_command_line(project: Project, database: Database) -> None:
    """Exit codes, text and JSON of verify, status and gate."""
    assert schema.run(project, "verify", "--barrier", "--max-count", "5", "--batch-size", "5").code == 1
    done = schema.run(project, "verify", "--barrier", "--json")
    assert done.code == 0
    [result] = done.json
    assert (result["outcome"], result["checked"], result["barrier"]) == ("complete", 20, BARRIER)
    gate = schema.run(project, "gate")
    assert f"{NAME}: no row was counted" in gate.out
    assert schema.run(project, "gate", "--json").json["verified"] == [NAME]
    status = schema.run(project, "status")
    assert f"{NAME}: verification complete, 20 row(s) checked; barrier created" in status.out
    shown = schema.run(project, "status", "--json").json["migrations"][0]["verification"]
    assert (shown["status"], shown["checked"], shown["barrier"]) == ("complete", 20, BARRIER)
    dropped = schema.run(project, "verify", "--drop-barrier", NAME)
    assert (dropped.code, dropped.out) == (0, f"{NAME}: the barrier was dropped\n")
    out_of_step(database)
    schema.run_all(database, PENDING)
    failing = schema.run(project, "verify", NAME)
    assert failing.code == 2
    assert "row 500" in failing.out
