"""Locks of other sessions: every wait for them has a timeout, and the holder is named."""

from __future__ import annotations

import contextlib
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
def table_locked(database: Database) -> Iterator[None]:
    """Another session holds a table lock that blocks even reads."""
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
def test_gate_does_not_wait_long_for_a_table_lock(database: Database, project: Project) -> None:
    """The gate stays closed, reports that the table is locked, and does not advise to raise a timeout."""
    with table_locked(database):
        started = time.monotonic()
        [blocker] = command.gate(project.site())
        assert time.monotonic() - started < 60
    assert (blocker.id, blocker.object) == ("not-counted", "fill")
    assert "another session holds a lock" in blocker.reason
    assert "look_timeout" not in blocker.hint
    assert command.gate(project.site()) == []


@pytest.mark.needs("many_writers")
def test_status_and_contract_do_not_wait_long_for_a_table_lock(database: Database, project: Project) -> None:
    """Status shows what it can read; contract refuses, and nothing is changed."""
    with table_locked(database):
        [found] = project.report().migrations
        assert found.pending is None
        assert found.error
        with pytest.raises(exceptions.GateClosed):
            command.contract(project.site())
    assert "gb" in {column["name"] for column in sa.inspect(database.engine).get_columns("items")}
    assert command.contract(project.site()).revisions == ("c1",)
