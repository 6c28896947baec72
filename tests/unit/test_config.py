"""Settings are read once, and an invalid setting is reported immediately."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from online_migrate import exceptions
from online_migrate.config import URL_VARIABLE, Settings, find_url, read_settings
from online_migrate.declared import options_of
from online_migrate.migrate.options import FLAGS, MigrateOptions

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
    assert find_url(given=given, config_files=(), from_ini=ini) == expected


@pytest.mark.parametrize("ini", [None, "", "driver://user:pass@localhost/dbname"])
def test_find_url_without_url(ini: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic's own placeholder does not count as a URL."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(exceptions.URLMissing):
        find_url(given=None, config_files=(), from_ini=ini)


def test_find_url_in_oslo_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[database] connection of a service's own file; a file without it is an error."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    conf = tmp_path / "cinder.conf"
    conf.write_text("[database]\nconnection = sqlite:///oslo\n")
    assert find_url(given=None, config_files=(str(conf),), from_ini="sqlite:///c") == "sqlite:///oslo"


def test_find_url_adds_oslo_connection_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def test_documented_settings_match_declared_settings() -> None:
    """docs/operating.md lists every setting with its default, and no other."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", OPERATING.read_text(), flags=re.MULTILINE)
    documented = {name: default.strip() for name, default in rows}
    declared = {
        name: str(one.default if one.default is not None else one.unset).removesuffix(".0")
        for name, one in options_of(Settings).items()
    }
    assert documented == declared


def test_flag_overrides_setting() -> None:
    """The Python API takes the settings that have a flag, by name; None leaves the setting unchanged."""
    settings = Settings(workers=2, pace="full")
    assert MigrateOptions(workers=3, pace=None, replicas=["a", "b"]).apply_to(settings) == Settings(
        workers=3, pace="full", replicas="a b"
    )
    assert Path(MigrateOptions(throttle_file="stop").apply_to(settings).throttle_file or "").is_absolute()


def test_option_without_flag_is_refused() -> None:
    """Settings without a flag belong in the settings file."""
    with pytest.raises(TypeError, match="no option 'lease'"):
        MigrateOptions(lease=3)
    assert "lease" not in FLAGS
