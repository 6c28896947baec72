"""Where Alembic's own settings are: alembic.ini, ``[tool.alembic]`` of pyproject.toml, or both."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import util
from alembic.config import Config

from online_migrate import config as configuration
from online_migrate import exceptions

PYPROJECT = "pyproject.toml"
_SECTION = re.compile(r"(?m)^\[tool\.alembic\][^\n]*\n")
_NEXT_SECTION = re.compile(r"(?m)^\[")
_LOCATIONS = re.compile(r"(?ms)^version_locations\s*=\s*\[.*?\][^\n]*\n")


def load_config(path: Path) -> Config:
    """Alembic's configuration of the project whose alembic.ini or pyproject.toml is *path*.

    The other file of the two is read as well if it is in the same folder, as Alembic does. Raises
    :class:`~online_migrate.exceptions.ConfigMissing` or :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    ini, toml = _files(path)
    if ini is not None:
        configuration.read_ini(ini)
    config = Config(None if ini is None else str(ini), toml_file=None if toml is None else str(toml))
    try:
        location = config.get_alembic_option("script_location")
    except (util.CommandError, configparser.Error, KeyError, TypeError, ValueError) as error:
        reason = " ".join(f"script_location: {error}".split())
        raise exceptions.ConfigBroken(path=str(ini or path), reason=reason) from None
    if location is None:
        _take_own_folder(config, ini or path)
    return config


def _files(path: Path) -> tuple[Path | None, Path | None]:
    """(alembic.ini, pyproject.toml), where they are and say something of Alembic."""
    if path.suffix == ".toml":
        ini, toml = path.with_name("alembic.ini"), path
        if not alembic_settings(toml):
            raise exceptions.ConfigBroken(path=str(toml), reason="it has no section [tool.alembic]")
        return (ini if ini.is_file() else None), toml
    toml = path.with_name(PYPROJECT)
    found = toml if toml.is_file() and alembic_settings(toml) else None
    if not path.is_file() and found is None:
        raise exceptions.ConfigMissing(path=str(path))
    return (path if path.is_file() else None), found


def alembic_settings(pyproject: Path) -> dict[str, Any]:
    """``[tool.alembic]`` of a pyproject.toml."""
    try:
        text = pyproject.read_text(encoding="utf-8")
        settings: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("alembic", {})
    except FileNotFoundError:
        raise exceptions.ConfigMissing(path=str(pyproject)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise exceptions.ConfigBroken(path=str(pyproject), reason=str(error)) from None
    return settings


def _take_own_folder(config: Config, path: Path) -> None:
    """Flask-Migrate's alembic.ini names no script_location: the scripts are beside it."""
    folder = path.absolute().parent
    if not (folder / "env.py").is_file():
        raise exceptions.ConfigBroken(
            path=str(path), reason="it has no script_location in a section [alembic]"
        )
    config.set_main_option("script_location", str(folder).replace("%", "%%"))


def with_toml_locations(text: str, locations: Sequence[str]) -> str:
    """The text of a pyproject.toml with *locations* as version_locations, everything else as it was.

    Raises :class:`~online_migrate.exceptions.ConfigBroken`, with the lines to write, if the text is laid
    out in a way that is not understood.
    """
    listed = "".join(f'    "{location}",\n' for location in locations)
    lines = f"version_locations = [\n{listed}]\n"
    before = tomllib.loads(text)
    wanted = dict(before["tool"]["alembic"], version_locations=list(locations))
    header = _SECTION.search(text)
    if header is not None:
        end = _NEXT_SECTION.search(text, header.end())
        stop = len(text) if end is None else end.start()
        section = text[header.end() : stop]
        if "version_locations" in before["tool"]["alembic"]:
            section = _LOCATIONS.sub(lambda match: lines, section, count=1)
        else:
            section = lines + section
        changed = text[: header.end()] + section + text[stop:]
        if _parsed(changed) == dict(before, tool=dict(before["tool"], alembic=wanted)):
            return changed
    raise exceptions.ConfigBroken(
        path=PYPROJECT, reason="version_locations cannot be added to it", hint=f"write there:\n{lines}"
    )


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
