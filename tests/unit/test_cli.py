"""Arguments and exit codes; no server."""

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
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    """As people write them."""
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "x", "m", "-5", "0", "nan", "inf", "1d", "5 minutes", "1e400", "1h30m"])
def test_what_is_no_duration_is_said(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(click.BadParameter, match="write 90, 90s, 15m or 2h"):
        Duration().convert(text, None, None)


@given(st.times())
def test_a_time_of_day_is_within_a_day(time: datetime.time) -> None:
    """Today if it is still to come, else tomorrow."""
    seconds = TimeOfDay().convert(time.strftime("%H:%M"), None, None)
    assert 0 < seconds <= 24 * 3600


@pytest.mark.parametrize("text", ["", "6", "25:00", "06:60", "6 pm", "06:00:00"])
def test_what_is_no_time_of_day_is_said(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(click.BadParameter, match="write HH:MM"):
        TimeOfDay().convert(text, None, None)


def test_of_two_ends_the_earlier_counts() -> None:
    """--max-time and --until together; neither is no end."""
    assert limits_of(until=50.0, max_time=100.0).max_time == 50.0
    assert limits_of(until=None, max_time=100.0).max_time == 100.0
    assert limits_of(until=None, max_time=None).max_time is None


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a project, and no URL in the environment."""
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
def test_wrong_arguments_are_127(
    arguments: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What click calls 2 is 127; said on stderr, nothing on stdout, no traceback."""
    assert main.run(arguments) == 127
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error" in said.err
    assert "Traceback" not in said.err


def test_help_and_version_are_0(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of every command, also behind ``db``."""
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
        (ValueError("what nobody thought of"), 2, "this is a bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_a_line_and_a_code(
    error: BaseException,
    code: int,
    words: str,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Never a traceback, whatever is raised."""
    monkeypatch.delenv("ONLINE_MIGRATE_DEBUG", raising=False)
    monkeypatch.setattr(main.cli.commands["heads"], "callback", _raises(error))
    assert main.run(["heads"]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err


def test_cinders_dialect_has_no_3(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal is 2 for ``online_data_migrations``, and 3 again for the next command."""

    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise exceptions.Refused(reason="not yet")

    monkeypatch.setattr("online_migrate.command.migrate", refuse)
    assert main.run(["online_data_migrations"]) == 2
    assert main.run(["migrate"]) == 3
    assert os.getcwd() == str(nowhere)
