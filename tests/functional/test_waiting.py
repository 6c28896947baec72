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
from tests.support.lock_project import ready_to_contract
from tests.support.project import Project

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    yield from ready_to_contract(tmp_path / "project", database)


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
