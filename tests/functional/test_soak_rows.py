"""Rows that are written while a soak has dropped the triggers of a sync: they are named, and none is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import GateClosed
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

DISKS = """
    op.create_table(
        "disks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size_gb", sa.Integer),
        sa.Column("label", sa.String(20)),
        mysql_engine="InnoDB",
    )
"""
SIZE_MB = """
    op.add_column("disks", sa.Column("size_mb", sa.Integer))
    op.add_column("disks", sa.Column("name", sa.String(20)))
    op.create_sync(
        "disk_size", "disks",
        forward={"size_mb": sa.column("size_gb") * 1024, "name": sa.column("label")},
        backward={
            "size_gb": {
                "postgresql": "size_mb / 1024", "mysql": "size_mb DIV 1024", "sqlite": "size_mb / 1024",
            },
            "label": sa.column("name"),
        },
    )
"""
DATA = """
disk_mb = Backfill(table="disks", values=lambda t: {"size_mb": t.c.size_gb * 1024},
                   pending=lambda t: t.c.size_mb.is_(None) & t.c.size_gb.is_not(None))
"""
DROPS = 'op.drop_sync("disk_size")\nop.drop_column("disks", "size_gb")\nop.drop_column("disks", "label")\n'
ALL = "SELECT id, size_gb, size_mb FROM disks ORDER BY id"


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """Three disks of 1, 2 and 3 GB, migrated, ready for a contract that drops the sync and two columns."""
    with Project.create(tmp_path / "project", database.url, lock_attempts=20) as project:
        project.expand(DISKS)
        project.expand(SIZE_MB)
        project.contract(DROPS, "c1", requires=("disk_mb",))
        project.data("disk_mb", DATA)
        project.apply_expand()
        schema.run_all(database, *(f"INSERT INTO disks (id, size_gb) VALUES ({n}, {n})" for n in (1, 2, 3)))
        project.migrate()
        yield project


def test_unsoak_names_rows_that_new_code_wrote(project: Project, database: Database) -> None:
    """An UPDATE and an INSERT of new code: their old columns are stale until they get the new values."""
    command.soak(project.site())
    schema.run_all(
        database,
        "UPDATE disks SET size_mb = 10240 WHERE id = 1",
        "INSERT INTO disks (id, size_mb) VALUES (4, 1536)",
    )
    ran = schema.run(project, "contract", "--unsoak")
    assert ran.code == 1, ran.output
    assert "2 row(s) of disks differ" in ran.out
    assert "written while the columns soaked: 1, 4" in ran.out
    assert schema.query_all(database, "SELECT state FROM online_migrate_soak") == [("returned",)]
    assert schema.query_all(database, ALL)[0] == (1, 1, 10240)

    assert [one.id for one in command.gate(project.site())] == ["unsoak-unfinished"]
    with pytest.raises(GateClosed) as closed:
        command.contract(project.site())
    assert [one.id for one in closed.value.blockers] == ["unsoak-unfinished"]
    with pytest.raises(GateClosed) as closed:
        command.soak(project.site())
    assert [(one.id, one.keys) for one in closed.value.blockers] == [("sync-out-of-step", ("1", "4"))]

    ran = schema.run(project, "contract", "--unsoak", "--json")
    [differing] = json.loads(ran.out)["out_of_step"]
    assert (ran.code, differing["count"], differing["keys"]) == (1, 2, ["1", "4"])
    update, then = (
        differing["hint"].removeprefix("give the old columns the value of the new ones: ").split(";")
    )
    assert then == " then: online-migrate contract --unsoak"
    schema.run_all(database, update)
    again = command.unsoak(project.site())
    assert (again.revisions, again.owed, again.out_of_step) == (("c1",), (), ())
    assert schema.query_all(database, ALL) == [(1, 10, 10240), (2, 2, 2048), (3, 3, 3072), (4, 1, 1536)]
    assert schema.query_all(database, "SELECT state FROM online_migrate_soak") == []
    schema.run_all(database, "UPDATE disks SET size_gb = size_gb + 1 WHERE id = 1")
    assert schema.query_all(database, ALL)[0] == (1, 11, 11264)
    assert command.contract(project.site()).revisions == ("c1",)


def test_unsoak_of_rows_in_step_ends(project: Project, database: Database) -> None:
    """A row that no version wrote, and one that has a value which the old column cannot hold exactly."""
    schema.run_all(database, "UPDATE disks SET size_mb = 1536 WHERE id = 1")
    command.soak(project.site())
    back = command.unsoak(project.site())
    assert (back.revisions, back.out_of_step) == (("c1",), ())
    assert schema.query_all(database, ALL)[0] == (1, 1, 1536)
    assert command.gate(project.site()) == []


# --- a soak that is killed, where a statement cannot be rolled back ----------------------------------

FIRST, SECOND = "ALTER TABLE disks RENAME COLUMN size_gb", "ALTER TABLE disks RENAME COLUMN label"
NO_ROLLBACK = pytest.mark.needs("lock_tables")  # the servers of the MySQL family


def kill(project: Project, moment: str) -> None:
    """Kills a soak before a statement that begins with *moment*."""
    ran = schema.run(project, "contract", "--soak", "--soak-time", "1h", die_at=moment)
    assert ran.code == -9, ran.output


def right(hint: str, which: str) -> str:
    """Returns the statement of a hint for the rows whose *which* columns are right."""
    [text] = [part for part in hint.split("; ") if part.startswith(f"where the {which} ")]
    return text.partition("right: ")[2]


@NO_ROLLBACK
@pytest.mark.parametrize("moment", [FIRST, SECOND], ids=["before", "between"])
def test_a_killed_soak_loses_no_row_of_old_code(project: Project, database: Database, moment: str) -> None:
    """Old code writes a column that is not renamed yet: the soak is refused until the rows are in step."""
    kill(project, moment)
    column, value = ("size_gb", 77) if moment == FIRST else ("label", "'mine'")
    schema.run_all(database, f"UPDATE disks SET {column} = {value} WHERE id = 1")
    with pytest.raises(GateClosed) as closed:
        command.soak(project.site())
    [blocker] = closed.value.blockers
    assert (blocker.id, blocker.object, blocker.keys) == ("sync-out-of-step", "disk_size", ("1",))
    assert "while an interrupted soak had dropped the triggers" in blocker.reason
    assert blocker.hint.endswith("then: online-migrate contract --soak")
    # The triggers are there again.
    schema.run_all(database, "UPDATE disks SET size_gb = 5 WHERE id = 2")
    assert schema.query_all(database, ALL)[1] == (2, 5, 5120)

    schema.run_all(database, right(blocker.hint, "old"))
    assert command.soak(project.site(), soak_time=0).revisions == ("c1",)
    assert command.contract(project.site()).revisions == ("c1",)
    new = schema.query_all(database, "SELECT id, size_mb, name FROM disks ORDER BY id")
    expected = (1, 77 * 1024, None) if moment == FIRST else (1, 1024, "mine")
    assert new == [expected, (2, 5120, None), (3, 3072, None)]


@NO_ROLLBACK
@pytest.mark.parametrize("moment", [FIRST, SECOND], ids=["before", "between"])
def test_unsoak_of_a_killed_soak_names_rows(project: Project, database: Database, moment: str) -> None:
    """Both versions may have written: contract is refused until the rows are in step."""
    kill(project, moment)
    column, value = ("size_gb", 77) if moment == FIRST else ("label", "'mine'")
    schema.run_all(
        database,
        f"UPDATE disks SET {column} = {value} WHERE id = 1",
        "UPDATE disks SET size_mb = 9216 WHERE id = 2",
    )
    [blocker] = command.unsoak(project.site()).out_of_step
    assert (blocker.id, blocker.keys) == ("sync-out-of-step", ("1", "2"))
    with pytest.raises(GateClosed) as closed:
        command.contract(project.site())
    assert [one.id for one in closed.value.blockers] == ["unsoak-unfinished"]
    schema.run_all(database, right(blocker.hint, "old") + " AND id = 1")
    schema.run_all(database, right(blocker.hint, "new") + " AND id = 2")
    assert command.unsoak(project.site()).out_of_step == ()
    assert command.contract(project.site()).revisions == ("c1",)
    new = schema.query_all(database, "SELECT size_mb, name FROM disks WHERE id < 3 ORDER BY id")
    assert new == [(77 * 1024, None) if moment == FIRST else (1024, "mine"), (9216, None)]


@NO_ROLLBACK
def test_a_killed_soak_that_renamed_everything_ends(project: Project, database: Database) -> None:
    """Nothing could be written out of step before the last rename; new code wrote afterwards."""
    soaking = schema.run(project, "contract", "--soak")
    assert soaking.code == 0, soaking.output
    command.unsoak(project.site())
    [last] = [n for n, text in enumerate(soaking.statements, 1) if text.startswith(SECOND)]
    ran = schema.run(project, "contract", "--soak", "--soak-time", "1h", die_at=last + 1)
    assert ran.code == -9, ran.output
    schema.run_all(database, "UPDATE disks SET size_mb = 9216 WHERE id = 2")
    assert schema.query_all(database, "SELECT state FROM online_migrate_soak") == [("begun",)]
    assert command.soak(project.site()).revisions == ("c1",)
    soak = "SELECT state, soak_time FROM online_migrate_soak"
    assert schema.query_all(database, soak) == [("soaking", 3600)]


@NO_ROLLBACK
def test_the_table_is_locked_without_a_data_migration(database: Database, tmp_path: Path) -> None:
    """The revision requires nothing: no row is written between the drop of a trigger and the rename."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(DISKS)
        trigger = "CREATE TRIGGER sized BEFORE INSERT ON disks FOR EACH ROW SET NEW.label = 'sized'"
        project.expand_declared(f'op.execute("{trigger}")')
        drops = DROPS.replace('op.drop_sync("disk_size")', 'op.execute("DROP TRIGGER sized")')
        project.contract(drops, "c1", requires=())
        project.apply_expand()
        ran = schema.run(project, "contract", "--soak")
        assert ran.code == 0, ran.output
        wanted = ("LOCK TABLE", "DROP TRIGGER", FIRST, SECOND, "UNLOCK TABLE")
        found = [next((one for one in wanted if text.startswith(one)), None) for text in ran.statements]
        assert [one for one in found if one] == list(wanted), ran.statements
        assert command.unsoak(project.site()).out_of_step == ()
