"""Pins of named versions: read from the registry, cached, and never above what a process understands."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from online_migrate import services
from online_migrate.exceptions import ServerError, UsageError
from online_migrate.services.errors import PinUnknown, VersionTooOld
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.services import SERVICE, age, live, rows

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose state tables exist."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("pass", "e1")
        project.apply_expand()
        yield project


def running(database: Database, version: str, **more: Any) -> Any:
    """A live process that reports this version of its RPC API."""
    return live(database, versions={"rpc": version}, process=version, **more)


def test_pin_follows_the_oldest_live_process(project: Project, database: Database) -> None:
    """Cached until it expires; a registration below the pin is refused, and leaves no row that counts."""
    now = [0.0]
    pins = services.Pins(database.url, minimum={"rpc": "1.0"}, expires=60, clock=lambda: now[0])
    assert pins.pin("rpc") == "1.0"
    with running(database, "3.10"):
        assert pins.pin("rpc") == "3.10"  # the minimum is not cached
    with running(database, "3.9"), running(database, "3.10"):
        now[0] += 60
        assert pins.pin("rpc") == "3.9"
        shown = schema.run(project, "services")
        assert "pin: rpc 3.9\n" in shown.out
        json = schema.run(project, "services", "--json").json
        assert json["pins"] == [{"name": "rpc", "pin": "3.9", "reason": None}]
        with running(database, "4.0"):
            pass
    with running(database, "3.10", dead_after=5):
        now[0] += 59
        assert pins.pin("rpc") == "3.9"
        pins.refresh()
        assert pins.pin("rpc") == "3.10"
        before = rows(database, "id")
        with pytest.raises(VersionTooOld, match=r"every process that runs understands 3\.10") as refused:
            running(database, "3.9").__enter__()
        assert refused.value.exit_code == 3
        assert rows(database, "id") == before
        age(database)  # stale: it may still run
        with pytest.raises(VersionTooOld):
            running(database, "3.9").__enter__()
        pins.refresh()
        assert pins.pin("rpc") == "3.10"


def test_pin_that_is_not_known_is_refused(project: Project, database: Database) -> None:
    """Nothing reports it, a process of the service does not, or a row cannot be read; never a guess."""
    pins = services.Pins(database.url, expires=0)
    with pytest.raises(PinUnknown, match="no process that may still run reports it"):
        pins.pin("rpc")
    with running(database, "3.10"), live(database, process="old"):
        with pytest.raises(PinUnknown, match=r"api .*/old .* does not report it"):
            pins.pin("rpc")
        shown = schema.run(project, "services", "--json").json["pins"]
        assert [(one["pin"], "does not report it" in one["reason"]) for one in shown] == [(None, True)]
    with running(database, "3.10") as beat:
        schema.run_all(database, f"UPDATE {SERVICE} SET versions = 'new' WHERE id = '{beat.id}'")
        with pytest.raises(PinUnknown, match="versions is not JSON"):
            pins.pin("rpc")
    with pytest.raises(UsageError, match="is no version"):
        services.Pins(database.url, minimum={"rpc": "latest"})


def test_pin_stays_while_the_registry_cannot_be_read(
    project: Project, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It can only have risen. That is logged; without a cached pin the error is raised."""
    pins = services.Pins(database.url, expires=0)
    with running(database, "3.9"):
        assert pins.pin("rpc") == "3.9"
    schema.run_all(database, f"ALTER TABLE {SERVICE} RENAME TO hidden", f"CREATE TABLE {SERVICE} (x INT)")
    with caplog.at_level(logging.WARNING, logger="online_migrate"):
        assert pins.pin("rpc") == "3.9"
    assert "the pin stays 3.9" in caplog.text
    with pytest.raises(ServerError):
        services.Pins(database.url).pin("rpc")


def test_pin_that_has_become_unknown_is_not_used_again(project: Project, database: Database) -> None:
    """Not even while the registry cannot be read."""
    pins = services.Pins(database.url, expires=0)
    with running(database, "3.10"):
        assert pins.pin("rpc") == "3.10"
        with live(database, process="old"), pytest.raises(PinUnknown):
            pins.pin("rpc")
    schema.run_all(database, f"ALTER TABLE {SERVICE} RENAME TO hidden", f"CREATE TABLE {SERVICE} (x INT)")
    with pytest.raises(ServerError):
        pins.pin("rpc")


def test_signal_refreshes_pins(project: Project, database: Database) -> None:
    """The handler that was installed before is called, too."""
    received: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _frame: received.append(number))
    try:
        pins = services.Pins(database.url, expires=3600)
        pins.refresh_on_signal()
        with running(database, "3.9"):
            assert pins.pin("rpc") == "3.9"
        with running(database, "3.10"):
            assert pins.pin("rpc") == "3.9"
            os.kill(os.getpid(), signal.SIGHUP)
            assert pins.pin("rpc") == "3.10"
        assert received == [signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)
