"""Settings are read once, and a wrong one is said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from online_migrate import exceptions
from online_migrate.config import URL_VARIABLE, Settings, find_url, read_settings

INI = "[alembic]\nscript_location = %(here)s/migrations\n"


def test_settings_come_from_text_and_from_toml() -> None:
    """alembic.ini gives strings, pyproject.toml gives numbers."""
    settings = Settings.parse({"lock_timeout": "0.25", "batch_size": 7}, origin="x")
    assert (settings.lock_timeout, settings.batch_size) == (0.25, 7)
    assert Settings.parse({}, origin="x") == Settings()


def test_no_batch_size_means_that_chunks_find_their_own() -> None:
    """0 is allowed, and the default; no row may fail if somebody says so."""
    assert Settings().batch_size == 0
    settings = Settings.parse({"batch_size": "0", "max_failures": "0", "workers": "4"}, origin="x")
    assert (settings.batch_size, settings.max_failures, settings.workers) == (0, 0, 4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batchsize": "5"}, "no setting 'batchsize'"),
        ({"batch_size": "many"}, "batch_size = 'many' is not a number"),
        ({"batch_size": "1.5"}, "batch_size = '1.5' is not a number"),
        ({"batch_size": "-4"}, "batch_size must be at least 0"),
        ({"workers": "0"}, "workers must be at least 1"),
        ({"workers": "1.5"}, "workers = '1.5' is not a number"),
        ({"max_failures": "-1"}, "max_failures must be at least 0"),
        ({"chunk_time": "-1"}, "chunk_time"),
        ({"chunk_time": "nan"}, "chunk_time"),
        ({"chunk_time": "inf"}, "chunk_time"),
        ({"lease": "0"}, "lease must be above 0"),
        ({"lease": "inf"}, "lease must be above 0"),
        ({"lock_attempts": "0"}, "lock_attempts must be at least 1"),
        ({"lock_timeout": "0"}, "lock_timeout must be above 0"),
        ({"lock_timeout": "-1"}, "lock_timeout must be above 0"),
        ({"look_timeout": ""}, "look_timeout = '' is not a number"),
        ({"session_timeout": "nan"}, "session_timeout"),
        ({"gate_timeout": "inf"}, "gate_timeout"),
        ({"lock_timeout": None}, "lock_timeout"),
    ],
)
def test_a_wrong_setting_is_refused(values: dict[str, Any], words: str) -> None:
    """Exit 127, with the name of the setting; no wait is without an end."""
    with pytest.raises(exceptions.ConfigBroken, match=words):
        Settings.parse(values, origin="alembic.ini")


def test_alembic_ini_overrides_pyproject(tmp_path: Path) -> None:
    """[tool.online_migrate] first, then [online_migrate]; DEFAULT values of the ini are nobody's setting."""
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
def test_a_broken_file_is_said(text: str, words: str, tmp_path: Path) -> None:
    """One line with the file's name."""
    ini = tmp_path / "alembic.ini"
    ini.write_text(text)
    with pytest.raises(exceptions.ConfigBroken, match=words) as caught:
        read_settings(ini)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """With the command that writes one."""
    with pytest.raises(exceptions.ConfigMissing) as caught:
        read_settings(tmp_path / "alembic.ini")
    assert "online-migrate init" in caught.value.hint


def test_a_broken_pyproject_is_said(tmp_path: Path) -> None:
    """It is read too, so what is wrong with it is said too."""
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
def test_the_url_that_is_closest_to_the_person_counts(
    given: str | None, environment: str | None, ini: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--url, then the environment, then alembic.ini."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(URL_VARIABLE, environment)
    assert find_url(given=given, config_files=(), from_ini=ini) == expected


@pytest.mark.parametrize("ini", [None, "", "driver://user:pass@localhost/dbname"])
def test_no_url_is_said(ini: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic's own placeholder is none either."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(exceptions.URLMissing):
        find_url(given=None, config_files=(), from_ini=ini)


def test_the_url_of_oslo_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[database] connection of a service's own file; a file without it is an error."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    conf = tmp_path / "cinder.conf"
    conf.write_text("[database]\nconnection = sqlite:///oslo\n")
    assert find_url(given=None, config_files=(str(conf),), from_ini="sqlite:///c") == "sqlite:///oslo"


def test_the_connection_parameters_of_oslo_config_are_part_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    conf = tmp_path / "nova.conf"
    conf.write_text(
        "[database]\nconnection = mysql+pymysql://u:p%40ss@h/n?charset=utf8\n"
        "connection_parameters = ssl_ca=/ca.pem&read_timeout=9\n"
    )
    found = find_url(given=None, config_files=(str(conf),), from_ini=None)
    assert found == "mysql+pymysql://u:p%40ss@h/n?charset=utf8&read_timeout=9&ssl_ca=%2Fca.pem"
    conf.write_text("[database]\n")
    with pytest.raises(exceptions.ConfigBroken, match="no connection"):
        find_url(given=None, config_files=(str(conf),), from_ini=None)
    with pytest.raises(exceptions.ConfigBroken):
        find_url(given=None, config_files=(str(tmp_path / "none.conf"),), from_ini=None)
