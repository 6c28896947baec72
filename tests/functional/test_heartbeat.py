"""The heartbeat of a service: its statements, lost connections, forks, asyncio, and changes by others."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command, exceptions, services, state
from online_migrate.services.errors import ServiceBroken, ServiceRefused, ServiceRegistryMissing
from online_migrate.services.shipped import contract_revisions
from tests.servers import Database
from tests.support import schema
from tests.support.chaos import patient_engine, wait_until
from tests.support.project import ROOT, Project
from tests.support.services import SERVICE, age, beats, live, rows, wait_for_beats

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project with one expand and one contract revision, which needs no data migration."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand('op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))', "e1")
        project.contract('op.create_table("u", sa.Column("id", sa.Integer, primary_key=True))', "c1")
        project.apply_expand()
        yield project


# --- what it sends, and where it runs -------------------------------------------------------------


def test_heartbeat_is_one_statement_of_the_applications_engine(project: Project, database: Database) -> None:
    """One round trip: no BEGIN, no COMMIT, no second statement; a clean stop is recorded."""
    engine = patient_engine(database)
    sent: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: sent.append(event[2]))
    sa.event.listen(engine, "commit", lambda *_: sent.append("COMMIT"))
    with services.heartbeat(engine, "api", survives=[], interval=0.05) as beat:
        wait_for_beats(database, beat.id, 3)
        beat_sent = beats(database, beat.id)
    started = next(i for i, statement in enumerate(sent) if statement.startswith("UPDATE"))
    of_beats = [text for text in sent[started:] if "server_time" not in text]
    assert {text.split()[0] for text in of_beats} == {"UPDATE"}, sent
    assert len(of_beats) >= beat_sent + 1
    assert [stopped is not None for *_, stopped in rows(database)] == [True]
    beat.stop()
    engine.dispose()


def test_asyncio(project: Project, database: Database) -> None:
    """The event loop is not blocked, and on_refused is called in it."""

    async def serve() -> tuple[str, str]:
        refused: asyncio.Queue[exceptions.Refused] = asyncio.Queue()
        url = sa.make_url(database.url)
        async with services.async_heartbeat(
            url, "api", survives=[], interval=0.05, on_refused=refused.put_nowait
        ) as beat:
            await asyncio.to_thread(schema.run_all, database, *CONTRACTED)
            error = await asyncio.wait_for(refused.get(), 60)
            assert beat.refused is not None
            return beat.id, str(error)

    id, error = asyncio.run(serve())
    assert "does not survive contract revision(s) c9" in error
    assert [(row[0], row[3] is None) for row in rows(database)] == [(id, False)]


def test_asyncio_cancelled_while_it_registers(project: Project, database: Database) -> None:
    """No heartbeat is left that nothing stops: a second start would share its identity."""
    engine, inserting, cancelled = patient_engine(database), threading.Event(), threading.Event()

    def wait(*event: Any) -> None:
        if event[2].startswith("INSERT INTO online_migrate_service"):
            inserting.set()
            cancelled.wait(60)

    sa.event.listen(engine, "before_cursor_execute", wait)

    async def serve() -> None:
        async with services.async_heartbeat(engine, "api", survives=[], interval=0.05):
            raise AssertionError

    async def cancel() -> None:
        task = asyncio.create_task(serve())
        await asyncio.to_thread(inserting.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()

    asyncio.run(cancel())  # waits for the thread
    assert [stopped is not None for *_, stopped in rows(database)] == [True]
    engine.dispose()


CONTRACTED = (
    "INSERT INTO online_migrate_contracted (revision, state, number, runner, operator, changed_at, "
    "folded) VALUES ('c9', 'contracted', 7, 'host:1', 'ann', '2026-11-27 01:02:03', '[]')",
)

_FORKING = """
import os, sys, time
from online_migrate import services
beat = services.heartbeat(sys.argv[1], "api", survives=[], interval=0.05)
time.sleep(0.2)
if os.fork():
    _, status = os.wait()
    time.sleep(0.3)  # the connection of the parent is not used by the child
    sys.exit(os.waitstatus_to_exitcode(status))
time.sleep(0.5)
print(beat.id, flush=True)
"""


def test_forked_process_has_its_own_row(project: Project, database: Database) -> None:
    """Parent and child report under two ids, and both record their clean end at the exit of Python."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKING, database.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found = rows(database)
    assert len({(id, process) for id, process, *_ in found}) == 2
    assert ran.stdout.strip() in {id for id, *_ in found}
    assert all(stopped is not None and sent > 1 for _, _, sent, stopped in found), found


# --- lost connections, and rows that others change ------------------------------------------------


@pytest.mark.needs("kill_session")
def test_lost_connection_is_logged_and_replaced(
    project: Project, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The row stays the same, and the host's process is not stopped."""
    engine = patient_engine(database)
    sessions: list[Any] = []
    sa.event.listen(engine, "connect", lambda connection, _record: sessions.append(connection))
    kill = schema._KILL[database.server.product]
    with caplog.at_level(logging.INFO), services.heartbeat(engine, "api", survives=[], interval=0.05) as beat:
        wait_for_beats(database, beat.id)
        schema.run_all(database, kill(sessions[-1]))
        wait_until(lambda: "reconnecting in" in caplog.text, "the lost connection is logged")
        wait_for_beats(database, beat.id)
    assert len(rows(database)) == 1
    assert "another process reports" not in caplog.text
    engine.dispose()


def test_row_changed_by_others(
    project: Project, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Forced down, deleted, shared: it goes on, logs the reason, and the gate sees that it is live."""
    with caplog.at_level(logging.INFO), live(database) as beat:
        wait_for_beats(database, beat.id)
        age(database)
        wait_for_beats(database, beat.id)
        assert command.gate(project.site())[0].id == "service-behind"
        schema.run_all(database, f"UPDATE {SERVICE} SET forced_down = heartbeat - 50, forced_by = 'ann'")
        wait_for_beats(database, beat.id)
        [blocker] = command.gate(project.site())
        assert "reports again after it was forced down" in blocker.reason
        schema.run_all(database, f"DELETE FROM {SERVICE}")
        wait_until(lambda: rows(database), "it registers again")
        wait_for_beats(database, beat.id)
        first = beat.id
        schema.run_all(database, f"UPDATE {SERVICE} SET beats = beats + 100")
        wait_until(lambda: beat.id != first and beat.id in str(rows(database)), "it takes another id")
        wait_for_beats(database, beat.id)
    for text in ("was forced down while it runs", "was deleted while it runs", "another process reports as"):
        assert text in caplog.text
    assert caplog.text.count("was forced down while it runs") == 1


def test_row_deleted_between_its_read_and_its_heartbeat(
    project: Project, database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`services prune` deletes the row of a process that was forced down, while it reports again."""
    read, deleted = state.service_row, list[str]()

    def read_and_delete(connection: sa.Connection, id: str) -> Any:
        row = read(connection, id)
        if row is not None and not deleted:
            deleted.append(id)
            schema.run_all(database, f"DELETE FROM {SERVICE}")
        return row

    with caplog.at_level(logging.INFO), live(database, interval=10.0) as beat:
        wait_until(lambda: beats(database, beat.id) > 0, "the first heartbeat of the thread")
        monkeypatch.setattr(state, "service_row", read_and_delete)
        schema.run_all(database, f"UPDATE {SERVICE} SET forced_down = heartbeat, forced_by = 'ann'")
        autocommit = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with autocommit as connection, beat._sending:  # the next one of the thread comes in ten seconds
            beat._registration.beat(connection, state.Beat(connection))
        assert deleted == [beat.id]
        assert [id for id, *_ in rows(database)] == [beat.id]
    assert "was deleted while it runs" in caplog.text


def test_registry_that_is_dropped_does_not_stop_the_process(
    project: Project, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither does an error of on_refused; a stop that cannot be recorded is logged."""

    def fail(error: exceptions.Refused) -> None:
        raise RuntimeError(f"told: {error.revisions}")

    with live(database, on_refused=fail) as beat:
        schema.run_all(database, *CONTRACTED)
        wait_until(lambda: "told: c9" in caplog.text, "on_refused is called")
        wait_for_beats(database, beat.id)
        assert isinstance(beat.refused, ServiceRefused)
        schema.run_all(database, f"DROP TABLE {SERVICE}")
        wait_until(lambda: "reconnecting in" in caplog.text, "the error is logged")
    assert "could not be recorded" in caplog.text


def test_answer_to_insert_is_lost(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The insert was committed: the process reports with this row, and leaves no second one behind."""
    insert, calls = state.insert_service, []

    def insert_and_lose(connection: sa.Connection, new: state.NewService) -> None:
        insert(connection, new)
        calls.append(new.id)
        raise sa.exc.OperationalError("INSERT", {}, Exception("gone"), connection_invalidated=True)

    with live(database) as beat:
        wait_for_beats(database, beat.id)
        monkeypatch.setattr(state, "insert_service", insert_and_lose)
        schema.run_all(database, f"DELETE FROM {SERVICE}")
        wait_until(lambda: calls, "it registers again")
        wait_for_beats(database, calls[0])
        assert calls == [beat.id]
    assert [id for id, *_ in rows(database)] == calls


def test_deleted_and_contracted(project: Project, database: Database) -> None:
    """A process whose row was pruned knows that it is refused, and writes its row again for the gate."""
    told: list[exceptions.Refused] = []
    with live(database, on_refused=told.append) as beat:
        schema.run_all(database, *CONTRACTED, f"DELETE FROM {SERVICE}")
        wait_until(lambda: told, "on_refused is called")
        assert beat.refused is told[0]
        assert [row[0] for row in rows(database)] == [beat.id]


@pytest.mark.parametrize("column", ["forced_down", "stopped"])
def test_runs_again_after_the_clock_was_set_back(project: Project, database: Database, column: str) -> None:
    """The heartbeat is before the time at which the row says that the process has ended. It is live."""
    with live(database) as beat:
        schema.run_all(database, f"UPDATE {SERVICE} SET {column} = heartbeat + 3600")
        wait_for_beats(database, beat.id)
        assert [blocker.id for blocker in command.gate(project.site())] == ["service-behind"]


def test_engine_that_sends_begin(project: Project, database: Database) -> None:
    """SQLAlchemy's recipe for SQLite: the row is committed, and no transaction stays open."""
    if not database.server.has("many_writers"):
        engine = sa.create_engine(database.url)

        @sa.event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: object) -> None:
            connection.isolation_level = None

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        with services.heartbeat(engine, "api", survives=[], interval=0.05) as beat:
            wait_for_beats(database, beat.id)
            assert [blocker.id for blocker in command.gate(project.site())] == ["service-behind"]
        assert [stopped is not None for *_, stopped in rows(database)] == [True]
        engine.dispose()


# --- bad input ------------------------------------------------------------------------------------


def test_bad_arguments(database: Database) -> None:
    """Refused before anything is sent; a database without registry, and one that cannot be reached."""
    for wrong in ({"dead_after": 0}, {"interval": 40}, {"interval": 0}, {"versions": {"rpc": "x"}}):
        with pytest.raises(ServiceBroken):
            services.heartbeat(database.url, "api", **{"survives": [], **wrong})
    with pytest.raises(ServiceRegistryMissing) as missing:
        services.heartbeat(database.url, "api", survives=[])
    assert (missing.value.exit_code, missing.value.hint.split("  ")[0]) == (3, "online-migrate expand")
    nowhere = sa.make_url(database.url).set(database="/nowhere/nothing")
    with pytest.raises(exceptions.ServerDown):
        services.heartbeat(nowhere, "api", survives=[])


def test_contract_revisions_are_those_of_the_first_call(tmp_path: Path) -> None:
    """A package that is upgraded on disk under a running process does not count."""
    with Project.create(tmp_path / "project", "sqlite://", squashed="c0:c1, x:nothing") as project:
        project.expand("", "e1")
        project.contract("", "c1")
        assert contract_revisions(project.config_file) == {"c1", "c0"}
        project.contract("", "c2")
        assert services.contract_revisions(str(project.config_file)) == {"c1", "c0"}
        script = (
            "import json, sys; from online_migrate import services\n"
            "print(json.dumps(sorted(services.contract_revisions(sys.argv[1]))))"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, str(project.config_file)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(ran.stdout) == ["c0", "c1", "c2"]
