"""Log lines of the command line: their level, their format, and the effect of env.py on them."""

from __future__ import annotations

import json
import logging
import logging.config
from pathlib import Path

import pytest

from online_migrate.cli import logs
from online_migrate.runtime.env_logging import loggers_kept
from tests.support.project import Project

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
    other = logging.getLogger("another")
    with Project.create(tmp_path / "project", f"sqlite:///{tmp_path}/app.db") as project:
        (tmp_path / "log.ini").write_text(FILE_CONFIG)
        env_py = project.scripts / "env.py"
        call = f"import logging.config\nlogging.config.fileConfig({str(tmp_path / 'log.ini')!r})\n"
        env_py.write_text(call + env_py.read_text())
        project.site().require_guard()
    assert other.disabled
    assert not logger.disabled


def test_functions_that_a_module_took_while_env_py_ran_work_afterwards() -> None:
    """A module of the program that env.py imports first keeps what it finds in logging.config."""
    logger = logging.getLogger("program.that.is.hosted")
    configuration = {"version": 1, "incremental": True, "loggers": {logger.name: {"level": "ERROR"}}}
    with loggers_kept(configured_by_env=False):
        with loggers_kept(configured_by_env=False):
            taken = logging.config.dictConfig
            taken(configuration)
        taken(configuration)
        assert logger.level == logging.NOTSET
    taken(configuration)
    assert logger.level == logging.ERROR
