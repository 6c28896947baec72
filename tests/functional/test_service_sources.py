"""Services that report beside the registry: Cinder's and Nova's tables, and a function of the project."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.contract import runner as contracts
from online_migrate.contract.live_services import LiveServices
from online_migrate.exceptions import ConfigBroken, GateClosed
from tests.servers import Database
from tests.support import accounts, schema
from tests.support import service_tables as tables
from tests.support.project import Project
from tests.support.schema import Snapshot
from tests.support.service_tables import ago, cell, cinder, nova
from tests.support.services import live

pytestmark = pytest.mark.each_product
BEHIND = ["service-behind"]
SILENT = ["service-silent"]
UNDECLARED = ["service-versions-undeclared"]
UNREADABLE = ["service-unreadable"]
CINDER = "c1:cinder-volume:rpc=3.10, c1:cinder-volume:object=1.38, c1:cinder-scheduler:rpc=3.12"


@contextlib.contextmanager
def project(database: Database, folder: Path, **settings: Any) -> Iterator[Project]:
    """A project of which contract revision c1 is not applied."""
    with Project.create(folder / "project", database.url, **settings) as project:
        project.expand('op.create_table("t", sa.Column("id", sa.Integer), sa.Column("a", sa.Integer))', "e1")
        project.contract('op.drop_column("t", "a")', "c1")
        project.apply_expand()
        yield project


def gate(project: Project, **options: Any) -> list[str]:
    """The ids of the blockers."""
    return [blocker.id for blocker in command.gate(project.site(), **options)]


@contextlib.contextmanager
def checks(project: Project) -> Iterator[Callable[..., list[str]]]:
    """Yields a function that returns the ids of the blockers that the services cause, for many cases."""
    site = project.site()
    with site.read_connection() as connection:

        def check(**options: Any) -> list[str]:
            found = LiveServices.of(site.project, **options).check(connection, ["c1"])
            connection.rollback()
            return [blocker.id for blocker in found.blockers]

        yield check


# --- Cinder ---------------------------------------------------------------------------------------


def test_rows_of_cinder(database: Database, tmp_path: Path) -> None:
    """Every row that is not deleted counts; versions are numbers; what is no version proves nothing."""
    tables.create(database, tables.cinder_services)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"rpc_current_version": "3.9"}, BEHIND),
        ({"object_current_version": "1.4"}, BEHIND),
        ({"rpc_current_version": "4.0", "object_current_version": "1.100"}, []),
        ({"rpc_current_version": None}, UNREADABLE),
        ({"object_current_version": "1.x"}, UNREADABLE),
        ({"object_current_version": ""}, UNREADABLE),
        ({"rpc_current_version": "4"}, UNREADABLE),
        ({"rpc_current_version": "3.10rc1"}, UNREADABLE),
        ({"host": None}, UNREADABLE),
        ({"rpc_current_version": "3.9", "deleted": True}, SILENT),
        ({"rpc_current_version": "3.9", "deleted": None}, BEHIND),
        ({"rpc_current_version": "3.9", "disabled": True}, BEHIND),
        ({"rpc_current_version": "3.9", "updated_at": ago(9e7)}, BEHIND),
        ({"rpc_current_version": "3.9", "updated_at": None}, BEHIND),
        ({"binary": "cinder-backup"}, UNDECLARED),
    ]
    settings = {"services_from": "cinder", "survived_by": CINDER, "ignore_stale_after": 1}
    with project(database, tmp_path, **settings) as sample:
        assert gate(sample) == ["service-silent"]
        assert gate(sample, attest="it is a new database") == []
        with checks(sample) as check:
            for changed, expected in cases:
                tables.write(database, tables.cinder_services, cinder(**changed))
                assert check() == expected, changed
                attested = [] if expected in (SILENT, UNDECLARED) else expected
                assert check(attest="checked on all hosts") == attested, changed

        scheduler = cinder(binary="cinder-scheduler", host="two", rpc_current_version="3.11")
        old = cinder(host="three", rpc_current_version=None)
        tables.write(database, tables.cinder_services, cinder(), scheduler, old)
        unreadable, behind = command.gate(sample.site())
        assert unreadable.object == "service cinder-volume"
        assert "of host 'three', proves nothing: rpc_current_version is NULL" in unreadable.reason
        assert unreadable.hint.endswith("cinder-manage service remove cinder-volume three")
        assert (behind.object, behind.count) == ("service cinder-scheduler", 1)
        assert "two), live with rpc 3.11, object 1.38; its code does not survive c1" in behind.reason
        assert behind.reason.endswith("(c1 needs rpc 3.12)")

        # The registry counts beside the table, in both directions.
        tables.write(database, tables.cinder_services, cinder())
        with live(database, service="cinder-api"):
            assert gate(sample) == ["service-behind"]
        with live(database, "c1", service="cinder-api"):
            assert gate(sample) == []


def test_what_the_table_does_not_prove(database: Database, tmp_path: Path) -> None:
    """A revision without a declared version, and cinder-api, which has no row: registry or attestation."""
    tables.create(database, tables.cinder_services)
    tables.write(database, tables.cinder_services, cinder())
    settings = {"services_from": "cinder", "services": "cinder-api, cinder-volume"}
    with project(database, tmp_path, survived_by="c0:cinder-volume:rpc=1.0", **settings) as sample:
        undeclared, silent = sorted(command.gate(sample.site()), key=lambda blocker: blocker.object)
        assert (undeclared.id, undeclared.object) == ("service-versions-undeclared", "c1")
        assert (silent.id, silent.object) == ("service-silent", "service cinder-api")
        assert gate(sample, attest="no cinder-api runs; all volume services are 2026.1") == []
        [script] = (sample.scripts / "contract").glob("*.py")
        written = script.read_text()
        for version, expected in {"3.10": SILENT, "3.11": [*BEHIND, *SILENT]}.items():
            least = {"cinder-volume:rpc": version, "cinder-volume:object": "1.38"}
            script.write_text(f"{written}\nsurvived_by = {least}\n")
            assert sorted(gate(sample)) == expected
        with pytest.raises(GateClosed):
            command.upgrade(sample.site())
        tables.write(database, tables.cinder_services)
        command.upgrade(sample.site())
        assert command.gate(sample.site()) == []


@pytest.mark.parametrize("own_table", [False, True], ids=["other table", "table services"])
def test_row_that_becomes_old_after_the_gate(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_table: bool
) -> None:
    """It is found under the lock, also if the locked table is the one in which the services report."""
    tables.create(database, tables.cinder_services)
    tables.write(database, tables.cinder_services, cinder())
    settings = {"services_from": "cinder", "survived_by": CINDER, "lock_timeout": 0.5}
    table, column, filled = ("services", "topic", "availability_zone") if own_table else ("t", "a", "b")
    with Project.create(tmp_path / "project", database.url, **settings) as sample:
        columns = 'sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer)'
        sample.expand(f'op.create_table("t", {columns}, sa.Column("b", sa.String(9)))', "e1")
        sample.contract(f'op.drop_column("{table}", "{column}")', "c1", requires=("texts",))
        sample.data(
            "texts",
            f"""
            texts = Backfill(
                table="{table}",
                values=lambda t: {{"{filled}": "nova"}},
                pending=lambda t: t.c.{filled}.is_(None),
                revision="e1",
            )
            """,
        )
        sample.apply_expand()
        sample.migrate()
        assert gate(sample) == []
        before = Snapshot.of(database, "services")
        apply = contracts.run

        def downgrade_and_apply(runner: Any, revision: str, required: Any) -> None:
            schema.run_all(database, "UPDATE services SET rpc_current_version = '3.9'")
            apply(runner, revision, required)

        monkeypatch.setattr(contracts, "run", downgrade_and_apply)
        with pytest.raises(GateClosed) as refusal:
            command.contract(sample.site())
        assert [blocker.id for blocker in refusal.value.blockers] == ["service-behind"]
        assert refusal.value.hint.startswith("nothing was changed; the services changed")
        monkeypatch.undo()
        schema.run_all(database, "UPDATE services SET rpc_current_version = '3.10'")
        assert Snapshot.of(database, "services") == before
        assert command.contract(sample.site()).revisions == ("c1",)


def test_table_that_cannot_be_read(database: Database, tmp_path: Path) -> None:
    """Missing table, missing column, missing privilege: the gate is closed, and contract changes nothing."""
    with project(database, tmp_path, services_from="cinder", survived_by=CINDER) as sample:
        [blocker] = command.gate(sample.site())
        assert (blocker.id, blocker.object) == ("service-unreadable", "services")
        assert gate(sample, attest="checked") == ["service-unreadable"]
        with pytest.raises(GateClosed):
            command.contract(sample.site())
        tables.create(database, tables.nova_services)
        assert gate(sample) == ["service-unreadable"]
        assert command.services(sample.site()).reported.unreadable
        schema.run_all(database, "DROP TABLE services")
        tables.create(database, tables.cinder_services)
        tables.write(database, tables.cinder_services, cinder())
        assert gate(sample) == []
        if database.server.has("many_writers"):
            with accounts.reader(database, hidden="services") as url:
                sample.url = url
                [blocker] = command.gate(sample.site())
            assert blocker.hint == "grant this user SELECT on services, then: online-migrate gate"


# --- Nova -----------------------------------------------------------------------------------------


@pytest.fixture
def cells(database: Database, tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    """The databases of cell0 and cell1; *database* is Nova's API database."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in ("cell0", "cell1"):
            (tmp_path / name).mkdir()
            found.append(stack.enter_context(database.server.fresh_database(tmp_path / name, name)))
            tables.create(found[-1], tables.nova_services)
        tables.create(database, tables.cell_mappings)
        yield found[0], found[1]


NOVA = {
    "services_from": "nova",
    "survived_by": "c1:nova-compute=66, c1:nova-conductor=66, c1:nova-osapi_compute=9",
}


def test_rows_of_nova(database: Database, cells: tuple[Database, Database], tmp_path: Path) -> None:
    """Not deleted, not forced down; a row that has never reported counts whatever its silence."""
    cell0, cell1 = cells
    old = {"version": 65}
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        (old, BEHIND),
        ({"version": 100}, []),
        ({"version": 0}, BEHIND),
        ({"version": None}, UNREADABLE),
        ({"version": -1}, UNREADABLE),
        ({"binary": " "}, UNREADABLE),
        (old | {"deleted": 5}, []),
        (old | {"deleted": None}, BEHIND),
        (old | {"disabled": True}, BEHIND),
        (old | {"last_seen_up": ago(400)}, BEHIND),
        (old | {"last_seen_up": ago(2000)}, []),
        (old | {"last_seen_up": None}, BEHIND),
        (old | {"last_seen_up": None, "report_count": 0}, BEHIND),
        (old | {"last_seen_up": ago(2000), "report_count": 0}, BEHIND),
        (old | {"forced_down": True, "last_seen_up": ago(400)}, []),
        ({"version": None, "forced_down": True, "last_seen_up": None}, []),
        (old | {"forced_down": True}, BEHIND),
        (old | {"forced_down": None, "last_seen_up": ago(400)}, BEHIND),
        ({"binary": "nova-scheduler"}, UNDECLARED),
    ]
    api = nova(binary="nova-osapi_compute", topic=None, report_count=0, last_seen_up=None, version=9)
    with project(database, tmp_path, ignore_stale_after=600, **NOVA) as sample:
        tables.write(database, tables.cell_mappings, cell(0, cell0.url), cell(1, cell1.url, disabled=True))
        assert gate(sample) == ["service-silent"]
        tables.write(cell0, tables.nova_services, api)
        with checks(sample) as check:
            for changed, expected in cases:
                tables.write(cell1, tables.nova_services, nova(**changed))
                assert check() == expected, changed
        tables.write(cell0, tables.nova_services, api | {"version": 8}, nova(version=65))
        tables.write(cell1, tables.nova_services, nova())
        found = command.gate(sample.site())
        assert [blocker.object for blocker in found] == ["service nova-compute", "service nova-osapi_compute"]
        assert (
            "one in cell cell0 (00000000-0000-0000-0000-000000000000)), live with version 65"
            in found[0].reason
        )


def template_of(database: Database) -> str:
    """A template that stands for the URL of *database*."""
    if database.server.product == "sqlite":
        return "{scheme}:////{path}"
    return "{scheme}://{username}:{password}@{hostname}:{port}/{path}?{query}"


def test_cells_are_found(database: Database, cells: tuple[Database, Database], tmp_path: Path) -> None:
    """Templates are filled in from nova_database; from a cell, the API database names the others."""
    cell0, cell1 = cells
    for one in cells:
        tables.write(one, tables.nova_services, nova())
    mappings = [cell(0, cell0.url), cell(1, template_of(cell1))]
    tables.write(database, tables.cell_mappings, *mappings)
    with project(database, tmp_path, **NOVA) as sample:
        [blocker] = command.gate(sample.site())
        assert blocker.object.startswith("cell cell1 (")
        assert "it is a template, and nova_database in [online_migrate]" in blocker.reason
        settings = NOVA | {"nova_database": cell1.url.replace("%", "%%")}
        (tmp_path / "filled").mkdir()
    with project(database, tmp_path / "filled", **settings) as sample:
        assert gate(sample) == []
        # The template in a second cell names the database of the first one: one database is not read.
        tables.write(database, tables.cell_mappings, *mappings, cell(2, template_of(cell1)))
        assert sorted(gate(sample)) == ["service-unreadable"] * 2
        tables.write(database, tables.cell_mappings, *mappings)
    (tmp_path / "cell").mkdir()
    settings |= {"nova_api_database": database.url.replace("%", "%%")}
    with project(cell1, tmp_path / "cell", **settings) as sample:
        assert gate(sample) == []
        tables.write(cell0, tables.nova_services, nova(version=65))
        assert gate(sample) == ["service-behind"]
        # The command's own database counts also if it is missing in the list.
        tables.write(database, tables.cell_mappings, cell(0, cell0.url))
        tables.write(cell0, tables.nova_services, nova())
        tables.write(cell1, tables.nova_services, nova(version=65))
        [blocker] = command.gate(sample.site())
        assert "one in the command's own database), live with version 65" in blocker.reason
        schema.run_all(database, "DROP TABLE cell_mappings")
        [blocker] = command.gate(sample.site())
        assert (blocker.id, blocker.object) == ("service-unreadable", "services")
        assert "which cells Nova has" in blocker.reason


def test_silent_cell_closes_gate(
    database: Database, cells: tuple[Database, Database], tmp_path: Path
) -> None:
    """Refused, by name and without the password: no answer, no server, no table, no URL."""
    cell0, cell1 = cells
    tables.write(cell0, tables.nova_services, nova())
    schema.run_all(cell1, "DROP TABLE services")
    url = sa.make_url(database.url)
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = closed.getsockname()[1]
        closed.close()
        broken = {2: "nonsense", 3: "mysql+pymysql://nova:pass@word@host/nova"}
        if url.host:
            addresses = {4: mute.getsockname()[1], 5: nowhere}
            for number, port in addresses.items():
                there = url.set(host="127.0.0.1", port=port, password="secret-of-cell")
                broken[number] = there.render_as_string(hide_password=False)
        mappings = [cell(0, cell0.url), cell(1, cell1.url), *(cell(n, text) for n, text in broken.items())]
        tables.write(database, tables.cell_mappings, *mappings)
        with project(database, tmp_path, look_timeout=1.5, **NOVA) as sample:
            found = {blocker.object.split()[1]: blocker for blocker in command.gate(sample.site())}
            assert set(found) == {"cell1", *(f"cell{number}" for number in broken)}
            texts = " ".join(f"{blocker.as_dict()}" for blocker in found.values())
            assert not any(secret in texts for secret in ("secret-of-cell", "word@host"))
            if url.host:
                assert "no answer within 1.5 s" in found["cell4"].reason
            tables.write(database, tables.cell_mappings, cell(0, cell0.url))
            assert gate(sample) == []
            with pytest.MonkeyPatch.context() as patched:
                apply = contracts.run

                def silence_and_apply(runner: Any, revision: str, required: Any) -> None:
                    tables.write(database, tables.cell_mappings, cell(0, cell0.url), cell(1, cell1.url))
                    apply(runner, revision, required)

                patched.setattr(contracts, "run", silence_and_apply)
                with pytest.raises(GateClosed) as refusal:
                    command.contract(sample.site())
            assert [blocker.object.split()[1] for blocker in refusal.value.blockers] == ["cell1"]


# --- a function of the project --------------------------------------------------------------------

FUNCTION = """
import sqlalchemy as sa
from online_migrate.services import ReportedService


def rows(connection):
    found = connection.execute(sa.text("SELECT binary_name, version FROM agents")).all()
    connection.commit()
    return [ReportedService(name, "one", versions={"api": version}) for name, version in found]


def says_it(connection):
    yield ReportedService("agent", "one", survives=("c1",))
    yield ReportedService("agent", "two", survives=(), state="stale", silence=700)
    yield ReportedService("agent", "three", state="forced down")


def writes(connection):
    connection.execute(sa.text("DELETE FROM agents"))
    return []


def none(connection):
    return None


def texts(connection):
    return ["agent"]


def registers(connection):
    # Writes by a connection of its own, as the registry of a project may.
    import sqlalchemy as sa
    engine = sa.create_engine(connection.engine.url, poolclass=sa.NullPool)
    with engine.begin() as own:
        own.execute(sa.text("UPDATE agents SET version = '1.11'"))
    return [ReportedService("agent", "one", versions={"agent": "1.11"})]


def wrong(connection):
    return [ReportedService("agent", "one", versions={"api": "new"})]


number = 3
"""


def test_function_of_the_project(database: Database, tmp_path: Path) -> None:
    """Its versions are compared, or it says what the code survives; what it does wrong closes the gate."""
    schema.run_all(
        database,
        "CREATE TABLE agents (binary_name VARCHAR(20), version VARCHAR(20))",
        "INSERT INTO agents VALUES ('agent', '1.9')",
    )
    with project(database, tmp_path, survived_by="c1:agent=1.10", services_from="X") as sample:
        (sample.config_file.parent / "agent_registry.py").write_text(FUNCTION)
        original = sample.config_file.read_text()

        def use(name: str, **more: str) -> Project:
            text = original.replace("services_from = X", f"services_from = {name}")
            text += "".join(f"{key} = {value}\n" for key, value in more.items())
            sample.config_file.write_text(text)
            return sample

        assert gate(use("agent_registry:rows")) == ["service-behind"]
        with pytest.raises(GateClosed):
            command.contract(sample.site())
        schema.run_all(database, "UPDATE agents SET version = '1.10'")
        assert gate(sample) == []
        assert gate(use("agent_registry:says_it")) == ["service-behind"]
        assert gate(use("agent_registry:says_it", ignore_stale_after="600")) == []
        for name in ("writes", "none", "texts", "wrong"):
            [blocker] = command.gate(use(f"agent_registry:{name}").site())
            assert (blocker.id, f"agent_registry:{name} failed" in blocker.reason) == (
                "service-unreadable",
                True,
            )
        assert schema.query_all(database, "SELECT count(*) FROM agents") == [(1,)]
        for name in ("glance", "agent_registry:number", "agent_registry:nothing", "no_such_module:rows"):
            with pytest.raises(ConfigBroken, match="services_from"):
                command.contract(use(name).site())
        assert gate(use("agent_registry:registers")) == []
        assert schema.query_all(database, "SELECT version FROM agents") == [("1.11",)]
        assert gate(use("agent_registry:rows")) == []
        assert command.contract(sample.site()).revisions == ("c1",)


LOCKED = """
import threading
import sqlalchemy as sa
from online_migrate.services import ReportedService

calls = []
version = None


def rows(connection):
    calls.append(1)
    if version is not None:
        engine = sa.create_engine(connection.engine.url)
        with engine.begin() as application:
            application.execute(sa.text(f"UPDATE agents SET version = '{version}'"))
        engine.dispose()
    found = connection.execute(sa.text("SELECT id, version FROM agents")).all()
    return [ReportedService("agent", str(id), versions={"api": version}) for id, version in found]


def hangs(connection):
    threading.Event().wait(60)
    return [ReportedService("agent", "one", survives=("c1",))]


def exits(connection):
    raise SystemExit("no registry")
"""


@pytest.fixture
def agents(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A function reads the table that the contract locks; the rows are migrated."""
    schema.run_all(
        database,
        "CREATE TABLE agents"
        " (id INTEGER PRIMARY KEY, version VARCHAR(9), host VARCHAR(9), a INT, b INT, d INT)",
        "INSERT INTO agents VALUES (1, '1.10', 'one', 1, 1, NULL)",
    )
    settings = {"services_from": "locked_agents:rows", "survived_by": "c1:agent=1.10"}
    with Project.create(tmp_path / "project", database.url, **settings) as sample:
        (sample.config_file.parent / "locked_agents.py").write_text(LOCKED)
        monkeypatch.delitem(sys.modules, "locked_agents", raising=False)
        sample.expand('op.create_table("other", sa.Column("id", sa.Integer))', "e1")
        # Rows that the script writes are counted again, while the first statement holds its lock.
        writes = 'op.execute("UPDATE agents SET d = 2")\n' if database.server.has("transactional_ddl") else ""
        script = f'op.drop_column("agents", "a")\n{writes}op.drop_column("agents", "b")'
        sample.contract(script, "c1", requires=("numbers",))
        pending = "pending=lambda t: t.c.d.is_(None)"
        sample.data(
            "numbers", f'numbers = Backfill(table="agents", values={{"d": 1}}, {pending}, revision="e1")'
        )
        sample.apply_expand()
        sample.migrate()
        yield sample


@pytest.mark.parametrize(
    ("name", "said"),
    [("hangs", "no answer within 1 s (look_timeout)"), ("exits", "SystemExit: no registry")],
)
def test_function_that_gives_no_answer_closes_the_gate(agents: Project, name: str, said: str) -> None:
    """It is called within look_timeout, and may not end the command."""
    text = agents.config_file.read_text()
    changed = f"locked_agents:{name}\nlook_timeout = 1"
    agents.config_file.write_text(text.replace("locked_agents:rows", changed))
    [blocker] = command.gate(agents.site())
    assert (blocker.id, blocker.object) == ("service-unreadable", "services")
    assert f"because locked_agents:{name} failed: {said}" in blocker.reason


def test_function_is_called_before_the_tables_are_locked(
    agents: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application writes meanwhile; the tables that the function reads may be those of the revision."""
    before = Snapshot.of(database, "agents")
    assert gate(agents) == []
    module, apply = sys.modules["locked_agents"], contracts.run
    versions, attempts = iter(["1.9", "1.10"]), []

    def write_and_apply(runner: Any, revision: str, required: Any) -> None:
        module.calls.clear()
        module.version = next(versions)
        try:
            apply(runner, revision, required)
        finally:
            module.version = None
            attempts.append(len(module.calls))

    monkeypatch.setattr(contracts, "run", write_and_apply)
    with pytest.raises(GateClosed) as refusal:
        command.contract(agents.site())
    assert [blocker.id for blocker in refusal.value.blockers] == ["service-behind"]
    schema.run_all(database, "UPDATE agents SET version = '1.10'")
    assert Snapshot.of(database, "agents") == before
    assert command.contract(agents.site()).revisions == ("c1",)
    # Once in each attempt, also if the script writes rows, so that they are verified again.
    assert attempts == [1, 1]


# --- the command line -----------------------------------------------------------------------------


def test_cli_shows_reports_and_limits(database: Database, tmp_path: Path) -> None:
    """``services`` lists the rows, and what each keeps; ``gate`` says what is not seen."""
    tables.create(database, tables.cinder_services)
    old = cinder(host="two", rpc_current_version="3.9", updated_at=ago(4000))
    tables.write(database, tables.cinder_services, cinder(), old)
    with project(database, tmp_path, services_from="cinder", survived_by=CINDER) as sample:
        shown = schema.run(sample, "services")
        lines = [line.split() for line in shown.out.splitlines()]
        assert [(line[1], line[2], line[3], line[4], line[-1]) for line in lines[1:3]] == [
            ("one@lvm", "cinder", "rpc=3.10,object=1.38", "live", "nothing"),
            ("two", "cinder", "rpc=3.9,object=1.38", "stale", "c1"),
        ]
        document = schema.run(sample, "services", "--json").json
        reported = document["reported"]
        assert (document["checked"], reported["source"], len(reported["services"])) == (True, "cinder", 2)
        assert reported["services"][1]["keeps"] == ["c1"]
        closed = schema.run(sample, "gate")
        assert closed.code == 3
        assert (
            "services: read from Cinder's table services; not seen: a worker that still drains" in closed.out
        )
        assert "cinder-api, which has no row" in schema.run(sample, "gate", "--json").json["services_note"]
