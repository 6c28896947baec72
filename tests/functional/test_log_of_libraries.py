"""What oslo.db and Alembic log while commands succeed.

The logging configuration in Alembic's template prints the warnings of all libraries, with their tracebacks.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute


@pytest.fixture(autouse=True)
def enabled_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The env.py of another test may have disabled the loggers of libraries with ``fileConfig``."""
    for name in ("oslo_db.sqlalchemy.exc_filters", "alembic.runtime.migration"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)


def test_commands_that_succeed_log_no_error_of_a_library(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Contract finds that the data migration cannot be counted any more, which is no error."""
    with schema.volumes(tmp_path / "project", database) as project, caplog.at_level(logging.INFO):
        schema.ready(project, database)
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c2",)
        assert command.status(project.site()).complete
    assert [record for record in caplog.records if record.name.startswith("oslo_db")] == []


def test_wait_for_a_lock_logs_no_error_of_a_library(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each attempt ends with an error of the server, and the sessions that hold the lock are looked up."""
    execute(database.engine, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with Project.create(tmp_path / "project", database.url) as project, database.engine.connect() as holder:
        project.expand('op.add_column("t", sa.Column("a", sa.Integer))', "e1")
        project.site().ensure_state_tables()
        holder.execute(sa.text("SELECT * FROM t")).all()
        release = threading.Timer(2, holder.rollback)
        release.start()
        project.apply_expand()
        release.join()
    assert [record for record in caplog.records if record.name.startswith("oslo_db")] == []


def test_alembic_logs_the_contexts_of_the_project_only(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those in which the scripts run, not those of the engine's own tables, nor of a rendered script."""
    with (
        Project.create(tmp_path / "project", database.url) as project,
        caplog.at_level(logging.INFO, "alembic"),
    ):
        project.expand('op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))', "e1")
        project.apply_expand()
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("alembic")]
    assert "Generating static SQL" not in messages
    assert len([message for message in messages if message.startswith("Context impl")]) == 1
    assert "Running upgrade  -> e1" in " ".join(messages)
