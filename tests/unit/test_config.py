"""Settings are read once, and an invalid setting is reported immediately."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from online_migrate import exceptions
from online_migrate.config import URL_VARIABLE, Settings, find_url, read_settings

INI = "[alembic]\nscript_location = %(here)s/migrations\n"


def test_settings_parse_strings_and_numbers() -> None:
    """alembic.ini gives strings, pyproject.toml gives numbers."""
    settings = Settings.parse({"lock_timeout": "0.25", "batch_size": 7}, origin="x")
    assert (settings.lock_timeout, settings.batch_size) == (0.25, 7)
    assert Settings.parse({}, origin="x") == Settings()


def test_unset_option_is_none() -> None:
    """Unset is None, never a special number; 0 failures is a value."""
    unset = Settings()
    assert (unset.batch_size, unset.chunk_time, unset.nice, unset.max_lag, unset.max_history) == (None,) * 5
    settings = Settings.parse({"max_failures": "0", "workers": "4"}, origin="x")
    assert (settings.max_failures, settings.workers) == (0, 4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batchsize": "5"}, "no setting 'batchsize'"),
        ({"batch_size": "many"}, "batch_size = 'many' is not a number"),
        ({"batch_size": "1.5"}, "batch_size = '1.5' is not a number"),
        ({"batch_size": "0"}, "batch_size must be at least 1"),
        ({"nice": "-1"}, "nice must be at least 0"),
        ({"max_lag": "-1"}, "max_lag must be at least 0"),
        ({"pace": "fast"}, "pace must be one of gentle, default, full"),
        ({"workers": "0"}, "workers must be at least 1"),
        ({"workers": "1.5"}, "workers = '1.5' is not a number"),
        ({"max_failures": "-1"}, "max_failures must be at least 0"),
        ({"chunk_time": "-1"}, "chunk_time"),
        ({"chunk_time": "nan"}, "chunk_time"),
        ({"chunk_time": "inf"}, "chunk_time"),
        ({"lease": "0"}, "lease must be above 0"),
        ({"lease": "inf"}, "lease must be a finite number"),
        ({"lock_attempts": "0"}, "lock_attempts must be at least 1"),
        ({"lock_timeout": "0"}, "lock_timeout must be above 0"),
        ({"lock_timeout": "-1"}, "lock_timeout must be above 0"),
        ({"look_timeout": ""}, "look_timeout = '' is not a number"),
        ({"session_timeout": "nan"}, "session_timeout"),
        ({"gate_timeout": "inf"}, "gate_timeout"),
        ({"lock_timeout": None}, "lock_timeout"),
    ],
)
def test_invalid_setting_is_refused(values: dict[str, Any], words: str) -> None:
    """Exit 127, with the name of the setting; an infinite wait is not accepted."""
    with pytest.raises(exceptions.ConfigBroken, match=words):
        Settings.parse(values, origin="alembic.ini")


def test_alembic_ini_overrides_pyproject(tmp_path: Path) -> None:
    """[tool.online_migrate] first, then [online_migrate]; the ini file's DEFAULT values are not settings."""
    (tmp_path / "pyproject.toml").write_text("[tool.online_migrate]\nbatch-size = 5\nlock_attempts = 3\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[DEFAULT]\nsomething = else\n{INI}[online_migrate]\nbatch_size = 9\n")
    settings = read_settings(ini)
    assert (settings.batch_size, settings.lock_attempts) == (9, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [("batch_size = 5\n", "alembic.ini"), ("[online_migrate]\nbatch_size\n", "alembic.ini")],
    ids=["no section", "no value"],
)
def test_invalid_alembic_ini_is_reported(text: str, words: str, tmp_path: Path) -> None:
    """One line with the file's name."""
    ini = tmp_path / "alembic.ini"
    ini.write_text(text)
    with pytest.raises(exceptions.ConfigBroken, match=words) as caught:
        read_settings(ini)
    assert "\n" not in str(caught.value)


def test_missing_alembic_ini_is_reported(tmp_path: Path) -> None:
    """With the command that creates one."""
    with pytest.raises(exceptions.ConfigMissing) as caught:
        read_settings(tmp_path / "alembic.ini")
    assert "online-migrate init" in caught.value.hint


def test_invalid_pyproject_is_reported(tmp_path: Path) -> None:
    """pyproject.toml is read as well, so its errors are reported as well."""
    (tmp_path / "pyproject.toml").write_text("[tool\n")
    (tmp_path / "alembic.ini").write_text(INI)
    with pytest.raises(exceptions.ConfigBroken, match=r"pyproject\.toml"):
        read_settings(tmp_path / "alembic.ini")


@pytest.mark.parametrize(
    ("given", "environment", "ini", "expected"),
    [
        ("sqlite:///a", "sqlite:///b", "sqlite:///c", "sqlite:///a"),
        (None, "sqlite:///b", "sqlite:///c", "sqlite:///b"),
        (None, None, "sqlite:///c", "sqlite:///c"),
    ],
)
def test_find_url_precedence(
    given: str | None, environment: str | None, ini: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--url, then the environment, then alembic.ini."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(URL_VARIABLE, environment)
    assert find_url(given=given, from_ini=ini) == expected


@pytest.mark.parametrize("ini", [None, "", "driver://user:pass@localhost/dbname"])
def test_find_url_without_url(ini: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic's own placeholder does not count as a URL."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(exceptions.URLMissing):
        find_url(given=None, from_ini=ini)
