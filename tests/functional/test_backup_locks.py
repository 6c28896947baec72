"""Locks of a backup, which stop the whole server, so each product has a server of its own for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command, exceptions
from tests.servers import Database
from tests.support.lock_project import ready_to_contract
from tests.support.project import Project
from tests.support.throwaway import Throwaway


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def private(request: pytest.FixtureRequest) -> Iterator[Throwaway]:
    """A server that no other test uses."""
    with Throwaway(request.param) as server:
        yield server


@pytest.fixture
def database(private: Throwaway) -> Database:
    """The database of the server, emptied."""
    private.database.drop()
    private.database.create()
    return private.database


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    """A project whose contract drops a column; everything before it is done."""
    yield from ready_to_contract(tmp_path / "project", database)


def columns(database: Database) -> set[str]:
    """Returns the columns of the table."""
    return {column["name"] for column in sa.inspect(database.engine).get_columns("items")}


def test_contract_is_not_blocked_by_a_backup_that_waits_for_its_table_lock(
    database: Database, project: Project
) -> None:
    """FLUSH TABLES WITH READ LOCK waits for the table lock; a write to the records would wait for FLUSH."""
    admin = database.engine.connect()
    flushing = threading.Thread(target=lambda: _flush(admin), daemon=True)

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def on_lock_tables(
        connection: sa.Connection, cursor: object, statement: str, p: object, c: object, m: bool
    ) -> None:
        if statement.startswith("LOCK TABLES") and not flushing.ident:
            flushing.start()
            time.sleep(1.0)

    try:
        started = time.monotonic()
        assert command.contract(project.site()).revisions == ("c1",)
        assert time.monotonic() - started < 40
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", on_lock_tables)
        flushing.join(60)
        admin.close()
    assert flushing.ident
    assert not flushing.is_alive()


def _flush(admin: sa.Connection) -> None:
    admin.execute(sa.text("FLUSH TABLES WITH READ LOCK"))
    admin.execute(sa.text("UNLOCK TABLES"))


def test_backup_that_stops_the_server_refuses_contract(database: Database, project: Project) -> None:
    """Nothing is changed. MySQL shows the session that holds the lock, and the refusal names it."""
    backups = {"FLUSH TABLES WITH READ LOCK": "UNLOCK TABLES"}
    if database.server.product == "mysql":
        backups["LOCK INSTANCE FOR BACKUP"] = "UNLOCK INSTANCE"
    for lock, unlock in backups.items():
        with database.engine.connect() as holder:
            number = holder.scalar(sa.text("SELECT CONNECTION_ID()"))
            holder.execute(sa.text(lock))
            try:
                with pytest.raises(exceptions.LockGivenUp) as refusal:
                    command.contract(project.site())
            finally:
                holder.execute(sa.text(unlock))
        if database.server.product == "mysql":
            assert f"held by connection {number} (" in str(refusal.value), lock
            assert "with a lock on every table" in str(refusal.value), lock
        assert "gb" in columns(database)
    assert command.contract(project.site()).revisions == ("c1",)
    assert "gb" not in columns(database)
