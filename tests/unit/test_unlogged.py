"""What other libraries do not log while the engine runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from online_migrate.dialects.connect import create_engine
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.observe.unlogged import no_context_logged


@pytest.fixture(autouse=True)
def enabled_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The env.py of another test may have disabled the loggers of libraries with ``fileConfig``."""
    for name in ("oslo_db.sqlalchemy.exc_filters", "alembic.runtime.migration"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return create_engine(f"sqlite:///{tmp_path / 'database.sqlite'}")


def of_oslo(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("oslo_db")]


def send(module: str, connection: sa.Connection) -> None:
    """Sends a statement that oslo.db has no class of error for, from a function of *module*."""
    names: dict[str, Any] = {"__name__": module, "sa": sa}
    exec('def send(connection):\n    connection.execute(sa.text("SELECT :a"), {"a": object()})\n', names)
    with pytest.raises(DATABASE_ERRORS):
        names["send"](connection)


@pytest.mark.parametrize(
    ("module", "logged"),
    [
        ("online_migrate.command.schema", False),
        ("online_migrate.migrate.run.runner", False),
        ("online_migrate.orm.moved", True),
        ("application.models", True),
    ],
)
def test_error_of_a_command_is_not_logged(
    module: str, logged: bool, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The command reports it. The application's errors are logged, on each engine."""
    with engine.connect() as connection:
        send(module, connection)
    assert bool(of_oslo(caplog)) is logged


def test_context_of_the_engine_is_not_logged(engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """The contexts of other threads, and those after the block, are."""

    def configure() -> None:
        with engine.connect() as connection:
            MigrationContext.configure(connection)

    caplog.set_level(logging.INFO, "alembic")
    with no_context_logged():
        configure()
        assert caplog.messages == []
        other = threading.Thread(target=configure)
        other.start()
        other.join()
        assert "Context impl SQLiteImpl." in caplog.messages
    caplog.clear()
    configure()
    assert "Context impl SQLiteImpl." in caplog.messages
