"""Somebody else's locks: nobody of us waits for them without an end, and who holds them is named."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command, exceptions
from tests.servers import Database
from tests.support.project import Project, execute

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, lock_timeout=0.5, lock_attempts=2) as project:
        execute(
            database.engine,
            "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER)",
            "INSERT INTO items (id, gb) VALUES (1, 1), (2, 2)",
        )
        project.expand("pass")
        project.data("fill", FILL)
        project.contract('op.drop_column("items", "gb")', requires=("fill",))
        project.apply_expand()
        project.migrate()
        yield project


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Somebody holds the table, so that not even a read gets to it."""
    lock, unlock = {
        "postgresql": ("LOCK TABLE items IN ACCESS EXCLUSIVE MODE", "SELECT 1"),
        "mysql": ("LOCK TABLES items WRITE", "UNLOCK TABLES"),
        "mariadb": ("LOCK TABLES items WRITE", "UNLOCK TABLES"),
    }[database.server.product]
    with database.engine.connect() as holder:
        holder.execute(sa.text(lock))
        try:
            yield
        finally:
            holder.execute(sa.text(unlock))
            holder.rollback()


@pytest.mark.needs("many_writers")
def test_the_gate_does_not_wait_behind_a_lock_for_long(database: Database, project: Project) -> None:
    """It stays closed, says that somebody holds the table, and does not advise to raise a timeout."""
    with locked(database):
        began = time.monotonic()
        [blocker] = command.gate(project.site())
        assert time.monotonic() - began < 60
    assert (blocker.id, blocker.object) == ("not-counted", "fill")
    assert "another session holds a lock" in blocker.reason
    assert "look_timeout" not in blocker.hint
    assert command.gate(project.site()) == []


@pytest.mark.needs("many_writers")
def test_status_and_contract_do_not_wait_behind_a_lock_for_long(database: Database, project: Project) -> None:
    """Status shows what it can; contract refuses, and nothing is changed."""
    with locked(database):
        [found] = project.report().migrations
        assert found.pending is None
        assert found.error
        with pytest.raises(exceptions.GateClosed):
            command.contract(project.site())
    assert "gb" in {column["name"] for column in sa.inspect(database.engine).get_columns("items")}
    assert command.contract(project.site()).revisions == ("c1",)


@pytest.mark.needs("lock_tables")
def test_a_backup_that_queues_behind_our_table_lock_does_not_keep_us(
    database: Database, project: Project
) -> None:
    """FLUSH TABLES WITH READ LOCK waits for our lock, and our records would wait for it, in a circle."""
    admin = database.engine.connect()
    flushing = threading.Thread(target=lambda: _flush(admin), daemon=True)

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def locked_now(
        connection: sa.Connection, cursor: object, statement: str, p: object, c: object, m: bool
    ) -> None:
        if statement.startswith("LOCK TABLES") and not flushing.ident:
            flushing.start()
            time.sleep(1.0)

    try:
        began = time.monotonic()
        assert command.contract(project.site()).revisions == ("c1",)
        assert time.monotonic() - began < 40
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", locked_now)
        flushing.join(60)
        admin.close()
    assert flushing.ident
    assert not flushing.is_alive()


def _flush(admin: sa.Connection) -> None:
    admin.execute(sa.text("FLUSH TABLES WITH READ LOCK"))
    admin.execute(sa.text("UNLOCK TABLES"))
