"""contract --soak after an earlier soak, unsoak or contract, and of several revisions at once."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import GateClosed, Refused
from tests.functional.test_soak import boxes, refused, states
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

NO_ROLLBACK = pytest.mark.needs("lock_tables")  # the servers of the MySQL family
COPIES = "CREATE TRIGGER boxes_copy BEFORE INSERT ON boxes FOR EACH ROW SET NEW.note = NEW.old_name"
NOTE = """
    op.add_column("boxes", sa.Column("note", sa.String(20)))
"""
DROPS = textwrap.dedent(
    """
    op.execute("DROP TRIGGER boxes_copy")
    op.drop_column("boxes", "label")
    op.drop_column("boxes", "old_name")
    """
)
RENAME_LABEL = "ALTER TABLE boxes RENAME COLUMN label"
RENAME_OLD = "ALTER TABLE boxes RENAME COLUMN old_name"


def copied(folder: Path, database: Database) -> Project:
    """A project whose contract drops a trigger and the two columns label, NOT NULL, and old_name."""
    project = boxes(folder, database, DROPS, then=NOTE)
    schema.run_all(database, COPIES)
    return project


def killed(project: Project, *arguments: str, moment: str) -> None:
    """Kills a form of contract before a statement that begins with *moment*."""
    ran = schema.run(project, "contract", *arguments, die_at=moment)
    assert ran.code == -9, ran.output


def closed(project: Project) -> list[tuple[str, str, str]]:
    """Returns the blockers of a soak: the id, the object and the hint of each."""
    with pytest.raises(GateClosed) as gate:
        command.soak(project.site())
    return [(one.id, one.object, one.hint) for one in gate.value.blockers]


@NO_ROLLBACK
def test_a_soak_after_an_unsoak_executes_each_statement(database: Database, tmp_path: Path) -> None:
    """What the journal has of a killed soak does not count for the next one; NOT NULL stays owed."""
    with copied(tmp_path / "project", database) as project:
        before = schema.catalog(database)
        killed(project, "--soak", moment=RENAME_OLD)
        schema.run_all(database, "INSERT INTO boxes (id) VALUES (2)")
        assert [one.rows for one in command.unsoak(project.site()).owed] == [1]
        assert (states(database), schema.triggers(database)) == ([("c1", "returned")], ["boxes_copy"])

        assert command.soak(project.site()).revisions == ("c1",)
        assert schema.triggers(database) == []
        schema.run_all(database, "INSERT INTO boxes (id) VALUES (3)")
        assert [one.rows for one in command.unsoak(project.site()).owed] == [2]
        schema.run_all(database, "UPDATE boxes SET label = 'x' WHERE id > 1")
        assert command.unsoak(project.site()).owed == ()
        assert (schema.catalog(database), states(database)) == (before, [])

        command.soak(project.site(), soak_time=0)
        assert command.contract(project.site()).revisions == ("c1",)
        assert schema.triggers(database) == []
        schema.run_all(database, "INSERT INTO boxes (id) VALUES (4)")


@NO_ROLLBACK
def test_a_refused_soak_leaves_what_is_owed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of an unsoak that owes NOT NULL is as before, if no statement of the soak is executed."""
    from online_migrate.contract import soak

    class Closed(soak._SoakGuard):
        def authorize(self, statement: str, kind: object) -> list[str]:
            raise GateClosed([])

    with boxes(tmp_path / "project", database, 'op.drop_column("boxes", "label")\n') as project:
        command.soak(project.site())
        schema.run_all(database, "INSERT INTO boxes (id) VALUES (2)")
        command.unsoak(project.site())
        record = schema.query_all(database, "SELECT * FROM online_migrate_soak")
        monkeypatch.setattr(soak, "_SoakGuard", Closed)
        with pytest.raises(GateClosed):
            command.soak(project.site())
        assert schema.query_all(database, "SELECT * FROM online_migrate_soak") == record
        assert [one.rows for one in command.unsoak(project.site()).owed] == [1]


def test_a_soak_after_an_unsoak_owes_not_null(database: Database, tmp_path: Path) -> None:
    """The column is nullable when it soaks again, and is NOT NULL after the second unsoak."""
    if database.server.product == "sqlite":
        drop = 'op.drop_column("boxes", "old_name")\n'  # it has no NOT NULL column that can soak
    else:
        drop = 'op.drop_column("boxes", "label")\n'
    with boxes(tmp_path / "project", database, drop) as project:
        before = schema.catalog(database)
        for row in (2, 3):
            command.soak(project.site())
            label = ", label" if database.server.product == "sqlite" else ""
            value = ", 'x'" if label else ""
            schema.run_all(database, f"INSERT INTO boxes (id{label}) VALUES ({row}{value})")
            owed = command.unsoak(project.site()).owed
            assert [one.rows for one in owed] == ([] if label else [row - 1])
        schema.run_all(database, "UPDATE boxes SET label = 'x' WHERE label IS NULL")
        if states(database):
            assert command.unsoak(project.site()).owed == ()
        assert (schema.catalog(database).replace('"', ""), states(database)) == (before.replace('"', ""), [])


@NO_ROLLBACK
def test_a_soak_does_not_continue_a_killed_unsoak(database: Database, tmp_path: Path) -> None:
    """It is refused with the command that brings the rest back."""
    with copied(tmp_path / "project", database) as project:
        command.soak(project.site())
        killed(project, "--unsoak", moment="CREATE DEFINER")
        before = schema.Snapshot.of(database, "boxes")
        assert closed(project) == [("unsoak-unfinished", "c1", "online-migrate contract --unsoak")]
        ran = schema.run(project, "contract", "--soak")
        assert (ran.code, "online-migrate contract --unsoak" in ran.output) == (3, True)
        assert schema.Snapshot.of(database, "boxes") == before
        assert command.unsoak(project.site()).owed == ()
        assert schema.triggers(database) == ["boxes_copy"]


def test_a_new_soak_time_is_recorded(database: Database, tmp_path: Path) -> None:
    """The time of what soaks already is changed if one is given, and is kept if none is given."""
    with boxes(tmp_path / "project", database, 'op.drop_column("boxes", "old_name")\n') as project:
        for given, recorded in ((3600, 3600), (None, 3600), (60, 60), (0, 0)):
            assert command.soak(project.site(), soak_time=given).revisions == ("c1",)
            assert schema.query_all(database, "SELECT soak_time FROM online_migrate_soak") == [(recorded,)]
        assert command.contract(project.site()).revisions == ("c1",)


@NO_ROLLBACK
def test_a_begun_contract_does_not_soak(database: Database, tmp_path: Path) -> None:
    """What its first statement dropped would not be brought back: contract has to continue."""
    drops = 'op.drop_table("lids")\nop.drop_column("boxes", "old_name")\n'
    with boxes(tmp_path / "project", database, drops) as project:
        killed(project, moment="ALTER TABLE boxes DROP COLUMN old_name")
        before = schema.Snapshot.of(database, "boxes")
        with pytest.raises(Refused, match="was begun and not finished") as error:
            command.soak(project.site())
        assert error.value.hint.startswith("online-migrate contract ")
        assert schema.Snapshot.of(database, "boxes") == before
        assert states(database) == []
        assert command.contract(project.site()).revisions == ("c1",)


# --- several revisions -------------------------------------------------------------------------------


def two(folder: Path, database: Database, first: str, second: str) -> Project:
    """A project with two contract revisions."""
    project = boxes(folder, database, first)
    project.contract(second, "c2", requires=())
    return project


def test_all_revisions_are_planned_before_one_is_renamed(database: Database, tmp_path: Path) -> None:
    """A reason against the second revision: the first one does not soak either."""
    drop = 'op.drop_column("boxes", "old_name")\n'
    with two(tmp_path / "project", database, drop, 'op.drop_table("lids")\n') as project:
        schema.run_all(database, "CREATE TABLE online_migrate_soak_lids (id INT)")
        assert [one[:2] for one in closed(project)] == [("cannot-soak", "c2")]
        assert (states(database), refused(database, "SELECT old_name FROM boxes")) == ([], False)
        schema.run_all(database, "DROP TABLE online_migrate_soak_lids")
        assert command.soak(project.site(), soak_time=0).revisions == ("c1", "c2")
        assert command.contract(project.site()).revisions == ("c1", "c2")


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_a_table_that_an_earlier_script_names(database: Database, tmp_path: Path, *, at_once: bool) -> None:
    """The earlier script names the table by its own name, and would fail: the table does not soak yet."""
    first, second = 'op.drop_column("boxes", "old_name")\n', 'op.drop_table("boxes")\n'
    with two(tmp_path / "project", database, first, second) as project:
        if not at_once:
            command.soak(project.site(), "c1")
        with pytest.raises(GateClosed) as gate:
            command.soak(project.site())
        [blocker] = gate.value.blockers
        assert (blocker.id, blocker.object) == ("cannot-soak", "c2")
        assert "table boxes: contract revision c1, which comes first, uses its name" in blocker.reason
        assert blocker.hint == "apply that revision first: online-migrate contract c1"
        assert states(database) == ([] if at_once else [("c1", "soaking")])
        command.contract(project.site(), "c1", end_soak=True)
        assert command.soak(project.site(), soak_time=0).revisions == ("c2",)
        assert command.contract(project.site()).revisions == ("c2",)
        assert "boxes" not in schema.tables(database)
