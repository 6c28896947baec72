"""Log lines of the command line: their level, their format, and the effect of env.py on them."""

from __future__ import annotations

import json
import logging
import logging.config
from pathlib import Path

import pytest

from online_migrate.cli import logs
from online_migrate.runtime.environment import _loggers_kept

pytestmark = pytest.mark.usefixtures("restore_logger")
logger = logging.getLogger("online_migrate.migrate.worker.heartbeat")

FILE_CONFIG = """
[loggers]
keys = root
[handlers]
keys =
[formatters]
keys =
[logger_root]
level = WARNING
handlers =
"""


@pytest.mark.parametrize(
    ("level", "shown"), [(None, ["bad"]), ("warning", ["bad"]), ("info", ["fine", "bad"]), ("error", [])]
)
def test_log_lines_below_the_level_are_not_written(
    level: str | None, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings by default, on stderr; stdout is for results."""
    logs.configure(level, "json")
    logger.info("fine")
    logger.warning("bad")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["message"] for line in captured.err.splitlines()] == shown


def test_json_log_line_has_the_fields_of_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    """One document per line, with the traceback of an exception inside it."""
    logs.configure(None, "json")
    try:
        raise OSError("gone")
    except OSError:
        logger.exception("lost %s", "it")
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["logger"]) == ("log", "error", logger.name)
    assert found["message"] == "lost it"
    assert "OSError: gone" in found["exception"]


def test_configure_twice_writes_every_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A process that runs several commands does not multiply its lines."""
    logs.configure(None, None)
    logs.configure(None, None)
    logger.warning("bad")
    assert capsys.readouterr().err.count("bad") == 1


def test_file_config_in_env_py_does_not_disable_the_engine_loggers(tmp_path: Path) -> None:
    """Alembic's template calls fileConfig, which disables every existing logger."""
    ini = tmp_path / "alembic.ini"
    ini.write_text(FILE_CONFIG)
    with _loggers_kept():
        logging.config.fileConfig(ini)
        assert logger.disabled
    assert not logger.disabled
