"""Arguments and exit codes, without a server."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate import exceptions
from online_migrate.cli import main
from online_migrate.cli.options import Duration, TimeOfDay, limits_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("0.5h", 1800), (" 1M ", 60)]
)
def test_duration_with_unit_or_in_seconds(text: str, seconds: float) -> None:
    """In the usual notations."""
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "x", "m", "-5", "0", "nan", "inf", "1d", "5 minutes", "1e400", "1h30m"])
def test_invalid_duration(text: str) -> None:
    """The message shows the accepted forms."""
    with pytest.raises(click.BadParameter, match="write 90, 90s, 15m or 2h"):
        Duration().convert(text, None, None)


@given(st.times())
def test_time_of_day_is_within_a_day(time: datetime.time) -> None:
    """Today if it is still to come, else tomorrow."""
    seconds = TimeOfDay().convert(time.strftime("%H:%M"), None, None)
    assert 0 < seconds <= 24 * 3600


@pytest.mark.parametrize("text", ["", "6", "25:00", "06:60", "6 pm", "06:00:00"])
def test_invalid_time_of_day(text: str) -> None:
    """The message shows the accepted form."""
    with pytest.raises(click.BadParameter, match="write HH:MM"):
        TimeOfDay().convert(text, None, None)


def test_earlier_of_two_time_limits_applies() -> None:
    """--max-time and --until together; without both there is no limit."""
    assert limits_of(until=50.0, max_time=100.0).max_time == 50.0
    assert limits_of(until=None, max_time=100.0).max_time == 100.0
    assert limits_of(until=None, max_time=None).max_time is None


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a project, and no URL in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONLINE_MIGRATE_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["status", "--no-such-option"],
        ["migrate", "--max-count", "abc"],
        ["migrate", "--max-count", "0"],
        ["migrate", "--pace", "quick"],
        ["migrate", "--nice", "-1"],
        ["migrate", "--workers", "0"],
        ["db", "online_data_migrations", "--max_count", "abc"],
        ["pause"],
        ["stamp"],
        ["-c", "missing.ini", "status"],
        ["status"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_exit_with_127(
    arguments: list[str], empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """127 where click exits with 2; a message on stderr, nothing on stdout, no traceback."""
    assert main.run(arguments) == 127
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err
    assert "Traceback" not in captured.err


def test_help_and_version_exit_with_0(empty_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For every command, also under ``db``."""
    assert main.run(["--version"]) == 0
    for name in ["", *main.cli.commands]:
        assert main.run([*name.split(), "--help"]) == 0
        assert "Usage: online-migrate" in capsys.readouterr().out
    for name in main.cli.commands["db"].commands:  # type: ignore[attr-defined]
        assert main.run(["db", name, "--help"]) == 0


def _raises(error: BaseException) -> Any:
    def command(**_keywords: Any) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (exceptions.Refused(reason="the moon is full"), 3, "Refused: the moon is full"),
        (exceptions.ServerDown(url="x://", reason="refused"), 2, "refused"),
        (exceptions.LockGivenUp(what="c1", attempts=2, timeout=1.0, blockers=""), 1, "No lock on c1"),
        (KeyboardInterrupt(), 1, "run the same command again"),
        (ValueError("an unexpected error"), 2, "this is a bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_error_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    words: str,
    empty_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Never a traceback, whatever is raised."""
    monkeypatch.delenv("ONLINE_MIGRATE_DEBUG", raising=False)
    monkeypatch.setattr(main.cli.commands["heads"], "callback", _raises(error))
    assert main.run(["heads"]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_online_data_migrations_never_exits_with_3(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal is 2 for ``online_data_migrations``, and 3 for the next command again."""

    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise exceptions.Refused(reason="not yet")

    monkeypatch.setattr("online_migrate.command.migrate", refuse)
    assert main.run(["online_data_migrations"]) == 2
    assert main.run(["migrate"]) == 3
    assert os.getcwd() == str(empty_directory)
