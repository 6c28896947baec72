"""Live services: what they report, what they keep from being contracted, and what a killed one leaves."""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command, services
from online_migrate.contract import runner as contracts
from online_migrate.exceptions import GateClosed, Refused
from online_migrate.services.errors import ServiceRefused, ServiceRegistryMissing, UnknownService
from tests.servers import Database
from tests.support import accounts, schema
from tests.support.chaos import wait_until
from tests.support.project import Project
from tests.support.schema import Snapshot
from tests.support.services import ServiceProcess, age, announced, insert, live, rows, wait_for_beats

pytestmark = pytest.mark.each_product
DROP = 'op.drop_column("volumes", "legacy")'


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, ready for contract revision c2."""
    with schema.volumes(tmp_path / "project", database, contract=DROP) as project:
        schema.ready(project, database)
        yield project


def gate(project: Project, **options: Any) -> list[str]:
    """The ids of the blockers."""
    return [blocker.id for blocker in command.gate(project.site(), **options)]


def declare(project: Project, **settings: str) -> None:
    """Adds settings to [online_migrate]."""
    with project.config_file.open("a") as ini:
        ini.writelines(f"{name} = {value}\n" for name, value in settings.items())


# --- the gate, and the lock ----------------------------------------------------------------------


def test_live_service_keeps_revision_from_being_contracted(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by the gate, and one that starts after the gate is found under the lock."""
    assert not command.gate_report(project.site()).services_checked
    before = Snapshot.of(database)
    with live(database, release="2026.1"), live(database, "c2", process="new"):
        [blocker] = command.gate(project.site())
        assert (blocker.id, blocker.object, blocker.count) == ("service-behind", "service api", 1)
        assert "release 2026.1, whose code does not survive c2" in blocker.reason
        with pytest.raises(GateClosed) as refusal:
            command.contract(project.site())
        assert (refusal.value.exit_code, Snapshot.of(database)) == (3, before)
    report = command.gate_report(project.site())
    assert (report.blockers, report.services_checked) == ((), True)
    assert announced(database) == {}

    apply = contracts.run
    with contextlib.ExitStack() as started:

        def start_and_apply(runner: Any, revision: str, required: Any) -> None:
            started.enter_context(live(database))
            apply(runner, revision, required)

        monkeypatch.setattr(contracts, "run", start_and_apply)
        with pytest.raises(GateClosed) as refusal:
            command.contract(project.site())
        assert [blocker.id for blocker in refusal.value.blockers] == ["service-behind"]
        assert refusal.value.hint.startswith("nothing was changed; the services changed")
        assert Snapshot.of(database) == before
        assert set(announced(database).values()) <= {"withdrawn"}
    monkeypatch.undo()
    assert command.contract(project.site()).revisions == ("c2",)
    assert announced(database) == {"c2": "contracted"}


def test_service_that_starts_during_contract_is_refused(project: Project, database: Database) -> None:
    """It starts after the check under the lock: it finds the announcement, or waits, and is refused."""
    starting = concurrent.futures.ThreadPoolExecutor(1)
    outcome: list[concurrent.futures.Future[Any]] = []

    def start(_: object) -> None:
        outcome.append(starting.submit(services.heartbeat, database.url, "api", survives=[]))
        if database.server.has("many_writers"):
            concurrent.futures.wait(outcome, timeout=60)
            assert "are being applied" in str(outcome[0].exception(0))

    with schema.happens("before", "ALTER TABLE volumes DROP", start):
        assert command.contract(project.site()).revisions == ("c2",)
    error = outcome[0].exception(60)
    assert isinstance(error, ServiceRefused)
    assert (error.exit_code, error.revisions, bool(error.hint)) == (3, "c2", True)
    assert rows(database) == []
    with live(database, "c2") as beat:
        wait_until(lambda: rows(database)[0][2] > 1, "a heartbeat")
        assert beat.refused is None


def test_service_that_starts_in_an_autocommit_block_is_refused(database: Database, tmp_path: Path) -> None:
    """The script ends its transaction before the destructive statement: the announcement still refuses."""
    outcome: list[concurrent.futures.Future[Any]] = []
    starting = concurrent.futures.ThreadPoolExecutor(1)

    def start(_: object) -> None:
        outcome.append(starting.submit(services.heartbeat, database.url, "api", survives=[]))
        concurrent.futures.wait(outcome, timeout=60)

    with Project.create(tmp_path / "project", database.url) as project:
        project.expand('op.create_table("t", sa.Column("id", sa.Integer), sa.Column("a", sa.Integer))', "e1")
        project.contract(
            "with op.get_context().autocommit_block():\n"
            '    op.execute("UPDATE t SET a = 1 WHERE a = 77")\n'
            'op.drop_column("t", "a")',
            "c1",
        )
        project.apply_expand()
        with schema.happens("before", "UPDATE t SET a = 1", start):
            assert command.contract(project.site()).revisions == ("c1",)
    assert "are being applied" in str(outcome[0].exception(0))
    assert rows(database) == []


@pytest.mark.needs("many_writers")
def test_announcement_of_killed_contract_is_withdrawn(project: Project, database: Database) -> None:
    """It refuses old code, until the next contract corrects it, also one whose gate is closed."""
    killed = schema.run(project, "contract", die_at="ALTER TABLE volumes DROP")
    assert (killed.code, announced(database)) == (-9, {"c2": "contracting"})
    with pytest.raises(ServiceRefused, match="are being applied") as refusal:
        services.heartbeat(database.url, "api", survives=[])
    assert "run it again" in refusal.value.hint
    declare(project, services="worker")
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert announced(database) in ({"c2": "withdrawn"}, {"c2": "contracting"})
    half_applied = bool(project.report().half_applied)
    assert announced(database) == {"c2": "contracting" if half_applied else "withdrawn"}


# --- killed, frozen, stopped, forced down ---------------------------------------------------------


def test_killed_service_counts_until_it_is_pruned(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """kill -9: live for dead_after, then stale, which keeps the gate closed, until an operator prunes it."""
    killed = ServiceProcess(database, tmp_path / "killed", survives=[])
    killed.kill()
    assert gate(project) == ["service-behind"]
    with pytest.raises(Refused, match="is live"):
        command.prune_services(project.site(), ids=[killed.id[:6]])
    age(database)
    assert gate(project) == ["service-stale"]
    assert command.prune_services(project.site()) == []
    assert command.prune_services(project.site(), stale=5000) == []
    assert gate(project) == ["service-stale"]
    declare(project, ignore_stale_after="900")
    assert gate(project) == []
    with live(database, "c2"):
        [pruned] = command.prune_services(project.site(), stale=600)
    assert pruned.id == killed.id
    [stopped] = command.prune_services(project.site())
    assert (stopped.service, rows(database)) == ("api", [])


@pytest.mark.needs("many_writers")
def test_frozen_service_is_refused_when_it_wakes(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """SIGSTOP: it may write again, so it counts until an operator vouches that it does not run.

    On SQLite it may hold the lock of the database, and then nothing can be contracted. After contract both
    processes wake: one was pruned, one was forced down. Each finds out by its next
    heartbeat, and its old code gets an error of the server instead of writing.
    """
    pruned = ServiceProcess(database, tmp_path / "pruned", survives=[])
    forced = ServiceProcess(database, tmp_path / "forced", survives=[])
    for one in (pruned, forced):
        one.signal(signal.SIGSTOP)
    assert gate(project) == ["service-behind"]
    age(database, id=pruned.id)
    assert sorted(gate(project)) == ["service-behind", "service-stale"]
    command.prune_services(project.site(), stale=1)
    down = command.force_down_service(project.site(), forced.id[:8], "the host is off")
    assert (down.liveness, (down.forced_by or "").endswith(": the host is off")) == ("forced down", True)
    assert command.contract(project.site()).revisions == ("c2",)
    for one in (pruned, forced):
        one.signal(signal.SIGCONT)
        assert "'api' does not survive contract revision(s) c2, which were applied by" in one.refusal()
    with pytest.raises(sa.exc.DBAPIError):
        schema.run_all(database, "UPDATE volumes SET legacy = 'old code' WHERE id = 1")
    assert sorted(id for id, *_ in rows(database)) == sorted([pruned.id, forced.id])

    def liveness() -> set[str]:
        return {one.process.liveness for one in command.services(project.site()).services}

    wait_until(lambda: liveness() == {"live"}, "the gate sees both")
    for one in (pruned, forced):
        one.kill()


# --- rows that prove nothing ----------------------------------------------------------------------


def test_registry_that_proves_nothing_closes_gate(project: Project, database: Database) -> None:
    """Garbage, a heartbeat from the future, unknown revisions, two processes with one identity, no column."""
    with live(database, "c2", interval=5):
        assert gate(project) == []
        garbage: dict[str, dict[str, Any]] = {
            "service-unreadable": {"survives": "everything"},
            "service-revision-unknown": {"survives": '["c2", "c9"]'},
            "service-identity-shared": {"process": "same"},
        }
        insert(database, "first", process="same")
        for expected, values in garbage.items():
            insert(database, "garbage", **values)
            assert gate(project) == [expected], values
            with pytest.raises(GateClosed):
                command.contract(project.site())
            schema.run_all(database, "DELETE FROM online_migrate_service WHERE id = 'garbage'")
        insert(database, "garbage")
        age(database, -500, "garbage")
        [blocker] = command.gate(project.site())
        assert (blocker.id, "in the future" in blocker.reason) == ("service-unreadable", True)
        [pruned] = command.prune_services(project.site(), ids=["garbage"])
        assert pruned.id == "garbage"
        with pytest.raises(UnknownService):
            command.prune_services(project.site(), ids=["garbage"])
        assert gate(project) == []
    schema.run_all(database, "ALTER TABLE online_migrate_service RENAME COLUMN survives TO gone")
    assert gate(project) == ["services-unreadable"]
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    assert [blocker.id for blocker in refusal.value.blockers] == ["services-unreadable"]


@pytest.mark.needs("many_writers")
def test_registry_hidden_by_privilege_closes_gate(project: Project, database: Database) -> None:
    """A user who may read every table except the registry: not the same as a project without services."""
    with accounts.reader(database, hidden="online_migrate_service") as url:
        project.url = url
        found = {blocker.id: blocker for blocker in command.gate(project.site())}
    blocker = found["services-unreadable"]
    assert blocker.hint == "grant this user SELECT on online_migrate_service, then: online-migrate gate"


# --- declared services, attestation, older installations ------------------------------------------


def test_declared_service_must_report_or_be_attested(project: Project, database: Database) -> None:
    """An attestation replaces a report, never a live process; it is recorded with operator and host."""
    declare(project, services="api, worker")
    with live(database, "c2"):
        [silent] = command.gate(project.site())
        assert (silent.id, silent.object) == ("service-silent", "service worker")
        assert gate(project, attest="no worker runs") == []
        with live(database, service="worker"):
            assert gate(project, attest="no worker runs") == ["service-behind"]
        refused = schema.run(project, "contract", "--attest", " ")
        assert (refused.code, len(refused.complaint)) == (127, 2)
        done = schema.run(project, "contract", "--attest", "no worker runs", "--json")
        assert (done.code, done.json["applied"]) == (0, ["c2"])
    shown = schema.run(project, "services", "--json")
    [attested] = shown.json["attested"]
    assert (attested["revision"], attested["attestation"]) == ("c2", "no worker runs")
    assert attested["operator"]
    assert ":" in attested["runner"]
    assert (shown.code, shown.json["silent"]) == (0, ["api", "worker"])


def test_upgrade_needs_no_service_but_is_stopped_by_a_live_one(database: Database, tmp_path: Path) -> None:
    """upgrade is for a database that no service uses: silence is expected, a live process is not."""
    with schema.volumes(tmp_path / "project", database, contract=DROP, services="api") as project:
        project.apply_expand()
        with live(database), pytest.raises(GateClosed):
            command.upgrade(project.site())
        command.upgrade(project.site())
        assert announced(database) == {"c2": "contracted"}


def test_installation_of_older_engine(project: Project, database: Database) -> None:
    """Its contract revisions become known to services by the first command that writes; stamp keeps them."""
    assert command.contract(project.site()).revisions == ("c2",)
    schema.run_all(
        database,
        "DROP TABLE online_migrate_service",
        "DROP TABLE online_migrate_contracted",
        "DROP TABLE online_migrate_sync",
        "DROP TABLE online_migrate_verification",
        "DROP TABLE online_migrate_soak",
        "UPDATE online_migrate_version SET version_num = 'expand_0003' WHERE version_num LIKE 'expand%'",
    )
    assert gate(project) == []
    assert not command.services(project.site()).checked
    with pytest.raises(ServiceRegistryMissing):
        services.heartbeat(database.url, "api", survives=["c2"])
    project.apply_expand()
    assert announced(database) == {"c2": "contracted"}
    with pytest.raises(ServiceRefused, match="c2, which were applied"):
        services.heartbeat(database.url, "api", survives=[])
    command.stamp(project.site(), ["base"])
    assert announced(database) == {"c2": "withdrawn"}
    command.stamp(project.site(), ["heads"])
    assert announced(database) == {"c2": "contracted"}


def test_project_with_another_version_table_keeps_announcements(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Two projects share the database. A command of one does not withdraw the revisions of the other."""
    assert command.contract(project.site()).revisions == ("c2",)
    with Project.create(tmp_path / "other", database.url) as other:
        other.expand('op.create_table("z", sa.Column("id", sa.Integer, primary_key=True))', "z1")
        env = other.config_file.parent / "migrations" / "env.py"
        ours = "run_environment(target_metadata"
        env.write_text(env.read_text().replace(ours, f"{ours}, version_table='other_version'"))
        other.apply_expand()
        command.stamp(other.site(), ["heads"])
    assert announced(database) == {"c2": "contracted"}


def test_code_of_before_a_squash_survives_the_squashed_revision(database: Database, tmp_path: Path) -> None:
    """c1 and c2 were contracted, then folded into c3: code that names both starts, and one is not enough."""
    with Project.create(tmp_path / "before", database.url) as project:
        project.expand("pass", "e1")
        project.contract("pass", "c1")
        project.contract("pass", "c2")
        project.apply_expand()
        command.contract(project.site())
    with (
        Project.create(tmp_path / "after", database.url, squashed="c1:c3, c2:c3") as project,
        live(database, "c1", "c2") as old,
    ):
        project.expand("pass", "e1")
        project.contract("pass", "c3")
        schema.run_all(database, "UPDATE alembic_version SET version_num = 'c3' WHERE version_num = 'c2'")
        project.apply_expand()
        assert announced(database) == {"c1": "withdrawn", "c2": "withdrawn", "c3": "contracted"}
        wait_for_beats(database, old.id)
        assert old.refused is None
        with live(database, "c3", process="new"), live(database, "c1", "c2", process="late"):
            assert gate(project) == []
        with pytest.raises(ServiceRefused, match="c3, which were applied"):
            services.heartbeat(database.url, "api", survives=["c1"])


# --- the command line -----------------------------------------------------------------------------


def test_cli_services(project: Project, database: Database) -> None:
    """The list names what each process keeps; prune and force-down; arguments before and after the name."""
    assert "not checked" in schema.run(project, "services").out
    with (
        live(database, "c2", release="2026.2", versions={"volume-rpc": "3.10"}) as new,
        live(database) as old,
    ):
        shown = schema.run(project, "services")
        assert [line.split()[-1] for line in shown.out.splitlines()[1:]].count("c2") == 1, shown.out
        assert all(text in shown.out for text in (old.id[:8], new.id[:8], "2026.2", "live", "nothing"))
        documents = {one["id"]: one for one in schema.run(project, "services", "--json").json["services"]}
        assert (documents[old.id]["keeps"], documents[new.id]["keeps"]) == (["c2"], [])
        assert documents[new.id]["versions"] == {"volume-rpc": "3.10"}
        assert schema.run(project, "services", "prune", "--id", old.id).code == 3
        assert schema.run(project, "services", "force-down", "nothing", "-m", "x").code == 127
        assert schema.run(project, "services", "prune").out == "services: nothing to prune\n"
    assert schema.run(project, "gate").out == "gate: open\n"
    pruned = schema.run(project, "services", "prune", "--json")
    assert sorted(pruned.json["pruned"]) == sorted([old.id, new.id])
