"""Events as log records: their message, their level, and their fields in a JSON log."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import get_type_hints

import pytest

from online_migrate.cli import logs
from online_migrate.observe import events

pytestmark = pytest.mark.usefixtures("restore_logger")
logger = logging.getLogger("online_migrate.migrate.worker.session")
SAMPLES = {"str": "text", "float": 1.5, "int": 7}


@pytest.mark.parametrize("kind", events.Event.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_field_is_in_the_message(kind: type[events.Event]) -> None:
    """A field that the template does not show is not in a text log."""
    hints = {name: hint.__name__ for name, hint in get_type_hints(kind).items() if name != "level"}
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    message = str(kind(**{name: SAMPLES[hints[name]] for name in names}))
    assert message == " ".join(message.split())
    assert "{" not in message
    assert all(f"{{{name}" in (kind.__doc__ or "") for name in names)


def test_json_log_has_the_name_and_the_fields_of_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    events.emit(logger, events.TransactionRetried(0.25, "deadlock detected"))
    found = json.loads(capsys.readouterr().err)
    assert found["name"] == "transaction_retried"
    assert found["fields"] == {"seconds": 0.25, "error": "deadlock detected"}
    assert found["message"] == "retrying the transaction in 0.25 s: deadlock detected"
    assert (found["event"], found["level"]) == ("log", "info")


def test_event_below_the_log_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """A retry is information; a lost background connection is a warning."""
    logs.configure(None, "text")
    events.emit(logger, events.TransactionRetried(0.25, "deadlock detected"))
    events.emit(logger, events.BackgroundReconnecting("heartbeat", 0.5, "gone away"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("heartbeat: gone away; reconnecting in 0.5 s")
