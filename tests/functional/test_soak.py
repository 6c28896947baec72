"""contract --soak and --unsoak: columns and tables are made unreachable before they are dropped."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.exceptions import GateClosed, OnlineMigrateError, Refused
from online_migrate.migrate.status import Outcome
from tests.functional.test_chaos_contract import moments
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project
from tests.support.services import live

DROPS = textwrap.dedent(schema.DROP_COLUMNS)


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, ready for a contract that drops a trigger, an index and two columns."""
    drops = schema.drop_in_step(database.server.product) + DROPS
    with schema.volumes(tmp_path / "project", database, contract=drops) as project:
        schema.ready(project, database)
        yield project


def refused(database: Database, statement: str) -> bool:
    """Returns True if the server refuses the statement."""
    try:
        schema.run_all(database, statement)
    except sa.exc.DBAPIError:
        return True
    return False


def states(database: Database) -> list[tuple[object, ...]]:
    return schema.query_all(database, "SELECT revision, state FROM online_migrate_soak")


def plain(database: Database) -> str:
    """Returns the catalog without the quotes that SQLite writes around a renamed table."""
    return schema.catalog(database).replace('"', "")


def test_soaked_columns_are_unreachable_then_dropped(project: Project, database: Database) -> None:
    """Old code fails from the moment of the soak, new code does not; contract waits, and drops."""
    site = project.site()
    assert command.soak(site).revisions == ("c2",)
    assert command.soak(project.site()).revisions == ("c2",)  # a second one changes nothing
    assert refused(database, "SELECT size_gb FROM volumes")
    assert refused(database, "INSERT INTO volumes (id, size_gb) VALUES (70, 1)")
    schema.run_all(database, "INSERT INTO volumes (id, size_bytes) VALUES (71, 1073741824)")
    assert schema.triggers(database) == []
    [blocker] = command.gate(project.site())
    assert (blocker.id, blocker.object) == ("soaking", "c2")
    assert re.search(
        r"another 2[34] h \d\d min: column volumes.size_gb, column volumes.legacy", blocker.reason
    )
    assert "--unsoak" in blocker.hint
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert project.migrate()["volume_bytes"].outcome is Outcome.CONTRACTED
    sent = schema.query_all(database, "SELECT * FROM volumes")
    assert command.contract(project.site(), end_soak=True).revisions == ("c2",)
    assert set(schema.shape(database)["volumes"]["columns"]) == {"id", "note", "size_bytes"}
    assert len(schema.query_all(database, "SELECT * FROM volumes")) == len(sent)
    assert states(database) == []
    assert schema.version_rows(database) == ["c2"]


def test_contract_drops_when_the_time_is_over(project: Project, database: Database) -> None:
    """After the soak time contract needs no option; a verification at the soak counts, nothing is read."""
    command.soak(project.site(), soak_time=0)
    assert command.gate(project.site()) == []
    assert command.contract(project.site()).revisions == ("c2",)
    assert "size_gb" not in schema.shape(database)["volumes"]["columns"]


def test_unsoak_restores_everything(project: Project, database: Database) -> None:
    """Names, order, indexes and triggers are as before; rows written meanwhile are kept."""
    before = schema.Snapshot.of(database)
    command.soak(project.site())
    schema.run_all(database, "INSERT INTO volumes (id, size_bytes) VALUES (71, 1073741824)")
    back = command.unsoak(project.site())
    assert (back.revisions, back.owed) == (("c2",), ())
    after = schema.Snapshot.of(database)
    assert (after.catalog, after.versions) == (before.catalog, before.versions)
    assert set(before.rows) < set(after.rows)
    assert states(database) == []
    contracted = "SELECT state FROM online_migrate_contracted WHERE revision = 'c2'"
    assert schema.query_all(database, contracted) == [("withdrawn",)]
    schema.run_all(database, "INSERT INTO volumes (id, size_gb) VALUES (72, 2)")
    assert schema.query_all(database, "SELECT size_bytes FROM volumes WHERE id = 72") == [(2 * schema.GIB,)]
    with pytest.raises(Refused, match="nothing soaks"):
        command.unsoak(project.site())
    assert command.contract(project.site()).revisions == ("c2",)


# --- NOT NULL -------------------------------------------------------------------------------------

REQUIRED = """
    op.create_table("boxes", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                    sa.Column("label", sa.String(20), nullable=False, comment="seen by 'users'"),
                    sa.Column("old_name", sa.String(20)), mysql_engine="InnoDB")
    op.create_table("lids", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer),
                    mysql_engine="InnoDB")
"""


def boxes(
    folder: Path, database: Database, contract: str, *, then: str | None = None, data: str | None = None
) -> Project:
    """A project. *contract*: the body of its script; *then*: of a second expand; *data*: ``moved``."""
    project = Project.create(folder, database.url, lock_attempts=20)
    project.expand(REQUIRED, "e1")
    if then is not None:
        project.expand(then, "e2")
    if data is not None:
        project.data("moved", data)
    project.contract(contract, "c1", requires=() if data is None else ("moved",))
    project.apply_expand()
    schema.run_all(
        database, "INSERT INTO boxes (id, label) VALUES (1, 'a')", "INSERT INTO lids VALUES (1, 1)"
    )
    if data is not None:
        project.migrate()
    return project


def test_not_null_column_does_not_refuse_new_code(database: Database, tmp_path: Path) -> None:
    """A NOT NULL column without a default is nullable while it soaks; NOT NULL returns once it has values."""
    with boxes(tmp_path / "project", database, 'op.drop_column("boxes", "label")\n') as project:
        before = schema.catalog(database)
        if database.server.product == "sqlite":
            with pytest.raises(GateClosed) as closed:
                command.soak(project.site())
            assert "NOT NULL without a default" in closed.value.blockers[0].reason
            assert schema.catalog(database) == before
            return
        command.soak(project.site())
        schema.run_all(database, "INSERT INTO boxes (id) VALUES (2)")
        back = command.unsoak(project.site())
        assert [(str(one.subject), one.rows) for one in back.owed] == [("column boxes.label", 1)]
        assert schema.query_all(database, "SELECT id, label FROM boxes ORDER BY id") == [(1, "a"), (2, None)]
        assert [b.id for b in command.gate(project.site())] == ["unsoak-unfinished"]
        schema.run_all(database, "UPDATE boxes SET label = 'b' WHERE id = 2")
        assert command.unsoak(project.site()).owed == ()
        assert schema.catalog(database) == before
        assert states(database) == []


def test_dropped_table_is_renamed(database: Database, tmp_path: Path) -> None:
    """A table soaks under another name, returns with its rows, and is dropped under that name."""
    drops = 'op.drop_column("boxes", "old_name")\nop.drop_table("lids")\n'
    with boxes(tmp_path / "project", database, drops) as project:
        before = plain(database)
        command.soak(project.site())
        assert refused(database, "SELECT * FROM lids")
        assert refused(database, "SELECT old_name FROM boxes")
        assert schema.query_all(database, "SELECT * FROM online_migrate_soak_lids") == [(1, 1)]
        command.unsoak(project.site())
        assert plain(database) == before
        assert schema.query_all(database, "SELECT * FROM lids") == [(1, 1)]
        command.soak(project.site(), soak_time=0)
        assert command.contract(project.site()).revisions == ("c1",)
        assert "online_migrate_soak_lids" not in schema.tables(database)
        assert set(schema.shape(database)["boxes"]["columns"]) == {"id", "label"}


def test_sync_stops_while_its_columns_soak(database: Database, tmp_path: Path) -> None:
    """Its triggers go with the soak, come back intact with the column, and its record goes by contract."""
    sync = (
        'op.add_column("boxes", sa.Column("name", sa.String(20)))\n'
        'op.create_sync("boxes_name", "boxes", forward={"name": "old_name"}, backward={"old_name": "name"})\n'
    )
    drops = 'op.drop_sync("boxes_name")\nop.drop_column("boxes", "old_name")\n'
    data = """
moved = Backfill(table="boxes", values=lambda t: {"name": t.c.old_name},
                 pending=lambda t: t.c.name.is_(None) & t.c.old_name.is_not(None))
"""
    with boxes(tmp_path / "project", database, drops, then=sync, data=data) as project:
        before = schema.catalog(database)
        command.soak(project.site())
        schema.run_all(database, "INSERT INTO boxes (id, label, name) VALUES (2, 'b', 'new')")
        assert [blocker.id for blocker in command.gate(project.site())] == ["soaking"]
        [blocker] = command.unsoak(project.site()).out_of_step
        assert (blocker.id, blocker.keys) == ("sync-out-of-step", ("2",))
        assert "UPDATE boxes SET old_name" in blocker.hint
        schema.run_all(database, "UPDATE boxes SET old_name = 'new' WHERE id = 2")
        assert command.unsoak(project.site()).out_of_step == ()
        assert schema.catalog(database) == before
        assert [one.state for one in command.status(project.site()).syncs] == ["there"]
        schema.run_all(database, "INSERT INTO boxes (id, label, name) VALUES (3, 'c', 'newer')")
        assert schema.query_all(database, "SELECT old_name FROM boxes WHERE id = 3") == [("newer",)]
        command.soak(project.site(), soak_time=0)
        assert command.contract(project.site()).revisions == ("c1",)
        assert command.status(project.site()).syncs == ()


# --- what forbids a soak ---------------------------------------------------------------------------

_COPY = {
    "sqlite": ("CREATE TRIGGER boxes_copy AFTER INSERT ON lids BEGIN UPDATE boxes SET old_name = 'x'; END",),
    "postgresql": (
        "CREATE FUNCTION boxes_copy() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN UPDATE boxes SET old_name = 'x'; RETURN NEW; END $$",
        "CREATE TRIGGER boxes_copy AFTER INSERT ON lids FOR EACH ROW EXECUTE FUNCTION boxes_copy()",
    ),
    "mysql": ("CREATE TRIGGER boxes_copy AFTER INSERT ON lids FOR EACH ROW UPDATE boxes SET old_name = 'x'",),
}
_COPY["mariadb"] = _COPY["mysql"]


def reasons(project: Project) -> list[str]:
    """Returns the reasons for which the soak is refused."""
    with pytest.raises(GateClosed) as closed:
        command.soak(project.site())
    assert {blocker.id for blocker in closed.value.blockers} == {"cannot-soak"}
    return [blocker.reason for blocker in closed.value.blockers]


def test_what_uses_a_column_forbids_its_soak(database: Database, tmp_path: Path) -> None:
    """Views, triggers of any table, other statements and a taken name are named; nothing is changed."""
    script = 'op.execute("UPDATE boxes SET old_name = NULL")\nop.drop_column("boxes", "old_name")\n'
    with boxes(tmp_path / "project", database, script) as project:
        schema.run_all(database, "CREATE VIEW seen AS SELECT id, old_name FROM boxes")
        schema.run_all(database, *_COPY[database.server.product])
        schema.run_all(database, "ALTER TABLE boxes ADD COLUMN online_migrate_soak_old_name INT")
        before = schema.Snapshot.of(database, "boxes")
        found = "\n".join(reasons(project))
        for part in ("view", "seen", "trigger boxes_copy", "another statement", "is taken"):
            assert part in found, found
        assert schema.Snapshot.of(database, "boxes") == before
        assert states(database) == []


def test_references_forbid_the_soak_of_a_table(database: Database, tmp_path: Path) -> None:
    """A foreign key of a table that stays would refuse rows of new code."""
    with boxes(tmp_path / "project", database, 'op.drop_table("boxes")\n') as project:
        schema.run_all(
            database,
            "CREATE TABLE tags (id INT PRIMARY KEY, box INT, FOREIGN KEY (box) REFERENCES boxes (id))",
        )
        [reason] = reasons(project)
        assert "foreign key" in reason
        assert "tags" in reason


def test_columns_in_a_key_or_computed_from(database: Database, tmp_path: Path) -> None:
    """A column of the primary key, one that a generated column or a CHECK uses."""
    table = (
        "CREATE TABLE crates (a INT, b INT, c INT, g INT GENERATED ALWAYS AS (b + 1) STORED,"
        " PRIMARY KEY (a), CONSTRAINT c_above CHECK (c > 0))"
    )
    drops = "".join(f'op.drop_column("crates", "{name}")\n' for name in "abc")
    with boxes(tmp_path / "project", database, drops) as project:
        schema.run_all(database, table)
        found = "\n".join(reasons(project))
        assert "crates.a: it is in the primary key" in found
        assert ("crates.b: generated column g" in found) is (database.server.product != "sqlite")
        assert "crates.c: check constraint c" in found.lower()


def test_a_taken_name_forbids_the_return(project: Project, database: Database) -> None:
    """A new column with the old name: refused, with the reason, and nothing is changed."""
    command.soak(project.site())
    schema.run_all(database, "ALTER TABLE volumes ADD COLUMN size_gb INT")
    before = schema.Snapshot.of(database)
    with pytest.raises(GateClosed) as closed:
        command.unsoak(project.site())
    [blocker] = closed.value.blockers
    assert (blocker.id, blocker.object) == ("name-taken", "c2")
    assert "column volumes.size_gb" in blocker.reason
    assert schema.Snapshot.of(database) == before


# --- writers, other migrators, kills ----------------------------------------------------------------


def test_rows_of_old_code_close_the_gate_under_the_lock(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that becomes pending after the gate was checked: refused, and everything is as before."""
    from online_migrate.contract import soak

    begin, before = soak.begin, schema.catalog(database)

    def late(*arguments: object, **more: float) -> bool:
        schema.run_all(database, "UPDATE volumes SET size_bytes = NULL WHERE id = 7")
        return begin(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(soak, "begin", late)
    with pytest.raises(GateClosed) as closed:
        command.soak(project.site())
    assert [(b.id, b.keys) for b in closed.value.blockers] == [("pending-rows", ("7",))]
    assert schema.catalog(database) == before
    assert states(database) == []
    assert schema.journal(database) == []


def test_no_acknowledged_write_of_old_code_is_lost(project: Project, database: Database) -> None:
    """While old code writes: all that was acknowledged is migrated, and nothing is written after the soak."""
    with schema.OldVersion(database) as old:
        while not old.acknowledged:
            pass
        command.soak(project.site(), soak_time=0)
        count = len(old.acknowledged)
        assert command.contract(project.site()).revisions == ("c2",)
        assert len(old.acknowledged) == count
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert {row: rows.get(row) for row in old.acknowledged} == {
        row: schema.size_of(row) * schema.GIB for row in old.acknowledged
    }


def test_services_are_asked(project: Project, database: Database) -> None:
    """A live service whose code does not survive the revision refuses the soak, as it refuses contract."""
    before = schema.catalog(database)
    with live(database), pytest.raises(GateClosed) as closed:
        command.soak(project.site())
    assert [blocker.object for blocker in closed.value.blockers] == ["service api"]
    assert schema.catalog(database) == before
    command.soak(project.site())
    with pytest.raises(OnlineMigrateError), live(database):
        pass  # code that uses what soaks may not start
    command.unsoak(project.site())
    with live(database):
        pass


FORMS = {"soak": ("contract", "--soak"), "unsoak": ("contract", "--unsoak")}


@contextlib.contextmanager
def before_the_kill(
    server: Server, folder: Path, number: int, form: str
) -> Iterator[tuple[Project, Database, str]]:
    """A new database, ready for *form*, and its catalog before any soak."""
    drops = schema.drop_in_step(server.product) + DROPS
    with (
        server.fresh_database(folder, "soak") as database,
        schema.volumes(folder / f"project{number}", database, contract=drops) as project,
    ):
        schema.ready(project, database)
        before = schema.catalog(database)
        if form != "soak":
            command.soak(project.site())
        yield project, database, before


_EACH = pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)], ids=["short", "every"])
"""Every how many moments the process is killed."""


@_EACH
@pytest.mark.parametrize("form", FORMS)
def test_killed_between_statements(server: Server, tmp_path: Path, form: str, step: int) -> None:
    """Killed at each statement, a soak is continued or brought back, and an unsoak is continued."""
    with before_the_kill(server, tmp_path, 0, form) as (project, _database, _before):
        reference = schema.run(project, *FORMS[form])
        assert reference.code == 0, reference.output
    kills = moments(reference.statements, every=False, transactional=server.has("transactional_ddl"))
    for at in kills[step // 2 :: step]:
        where = f"killed before statement {at}: {reference.statements[at - 1]}"
        with before_the_kill(server, tmp_path, at, form) as (project, database, before):
            assert schema.run(project, *FORMS[form], die_at=at).code == -9, where
            if form == "soak" and at % 2:
                assert command.soak(project.site()).revisions == ("c2",), where
                assert refused(database, "SELECT size_gb FROM volumes"), where
            if states(database):
                command.unsoak(project.site())
            assert schema.catalog(database) == before, where
            assert (states(database), schema.journal(database)) == ([], []), where
            assert command.contract(project.site()).revisions == ("c2",), where


@_EACH
def test_killed_contract_of_what_soaks_is_continued(server: Server, tmp_path: Path, step: int) -> None:
    """It goes on with the soaked names; what it has begun to drop cannot be brought back."""
    drop = ("contract", "--end-soak")
    with before_the_kill(server, tmp_path, 0, "contract") as (project, _database, _before):
        reference = schema.run(project, *drop)
        assert reference.code == 0, reference.output
    assert not any("DROP COLUMN size_gb" in text for text in reference.statements)
    kills = moments(reference.statements, every=False, transactional=server.has("transactional_ddl"))
    for at in kills[step // 2 :: step]:
        where = f"killed before statement {at}: {reference.statements[at - 1]}"
        with before_the_kill(server, tmp_path, at, "contract") as (project, database, _before):
            assert schema.run(project, *drop, die_at=at).code == -9, where
            assert refused(database, "SELECT size_gb FROM volumes"), where
            if any(not text.startswith("revision ") for _, _, text in schema.journal(database)):
                with pytest.raises(Refused, match="has begun"):
                    command.unsoak(project.site())
            if schema.version_rows(database) != ["c2"]:
                assert command.contract(project.site(), end_soak=True).revisions == ("c2",), where
            assert set(schema.shape(database)["volumes"]["columns"]) == {"id", "note", "size_bytes"}, where
            assert (states(database), schema.journal(database)) == ([], []), where


# --- the command line, status, plan ------------------------------------------------------------------


def test_command_line(tmp_path: Path) -> None:
    """The options, what they exclude, and what status and plan show."""
    with before_the_kill(schema.embedded(), tmp_path, 0, "soak") as (project, _database, _before):
        assert_command_line(project)


def assert_command_line(project: Project) -> None:
    def run(*arguments: str) -> schema.Run:
        return schema.run(project, *arguments)

    assert run("contract", "--soak", "--unsoak").code == 127
    assert run("contract", "--soak-time", "1h").code == 127
    ran = run("contract", "--soak", "--soak-time", "7d")
    assert (ran.code, "c2 soaks; to bring it back: online-migrate contract --unsoak" in ran.out) == (0, True)
    shown = run("status").out
    line = r"c2: soaks, for another 16[78] h \d\d min: column volumes.size_gb as online_migrate_soak_size_gb"
    assert re.search(line, shown), shown
    planned = run("plan").out
    assert "(what it drops soaks)" in planned
    assert 'DROP COLUMN "online_migrate_soak_size_gb"' in planned
    assert "DROP TRIGGER" not in planned
    gate = run("gate")
    assert (gate.code, "it soaks for another" in gate.out) == (3, True)
    assert run("contract").code == 3
    assert run("contract", "--unsoak").code == 0
    assert run("contract", "--unsoak").code == 3
