"""Writes a new project, or adopts an existing linear one."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from alembic.script import ScriptDirectory

from online_migrate import exceptions
from online_migrate.config import SECTION
from online_migrate.script.configuration import PYPROJECT, alembic_settings, with_toml_locations
from online_migrate.script.graph import Phase
from online_migrate.script.project import GUARD_LINES, Project

TEMPLATES = resources.files("online_migrate.script") / "templates"
FOLDERS = ("expand", "contract", "data")


@dataclasses.dataclass(frozen=True)
class Written:
    """The paths that were written, and the remaining steps for the user."""

    paths: tuple[Path, ...]
    to_do: tuple[str, ...] = ()


def init(config_file: Path, folder: str = "migrations") -> Written:
    """Writes alembic.ini and, in the same folder, the folder of the scripts. Overwrites nothing.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` if one of them already exists.
    """
    root = config_file.absolute().parent / folder
    pyproject = config_file.with_name(PYPROJECT)
    if config_file.exists() or (pyproject.is_file() and alembic_settings(pyproject)):
        raise exceptions.ConfigBroken(
            path=str(config_file if config_file.exists() else pyproject),
            reason="it already exists" if config_file.exists() else "it has a section [tool.alembic]",
            hint="online-migrate init --adopt   (adopts an existing Alembic project)",
        )
    if root.exists() and any(root.iterdir()):
        raise exceptions.ConfigBroken(
            path=str(root),
            reason="the folder is not empty",
            hint="choose another folder: online-migrate init DIR",
        )
    paths = []
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
        paths.append(root / name)
    for name in ("env.py", "script.py.mako"):
        (root / name).write_text(_template(name), encoding="utf-8")
        paths.append(root / name)
    config_file.write_text(_template("alembic.ini").replace("{folder}", folder), encoding="utf-8")
    return Written(
        paths=(config_file, *paths),
        to_do=(
            "set sqlalchemy.url in alembic.ini, or ONLINE_MIGRATE_URL",
            'online-migrate revision -m "what changes"',
        ),
    )


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def adopt(config_file: Path) -> Written:
    """Adopts an Alembic project: its linear history becomes the base of the two branches.

    Its folder and env.py are not changed. ``expand/`` and ``contract/`` are added to version_locations;
    comments and everything else in alembic.ini are kept. Raises
    :class:`~online_migrate.exceptions.GraphBroken` if the history is not linear, and
    :class:`~online_migrate.exceptions.ConfigBroken` if the project already has the branches.
    """
    project = Project.load(config_file)
    graph = project.graph
    heads = [head for phase, head in graph.heads.items() if phase is Phase.BASE]
    if any(phase is not Phase.BASE for phase in graph.heads):
        raise exceptions.ConfigBroken(
            path=str(config_file),
            reason="the project already has expand or contract revisions",
            hint='online-migrate revision -m "what changes"',
        )
    _refuse_other_layouts(project)
    config_file = _add_locations(project)
    paths = [config_file]
    for name in FOLDERS:
        (project.migrations_dir / name).mkdir(exist_ok=True)
        paths.append(project.migrations_dir / name)
    to_do = [
        f"add these two lines to {_relative(project.migrations_dir / 'env.py')}, "
        f"before its context.configure(...):\n{GUARD_LINES}"
    ]
    if heads:
        to_do.append(f"a database must be at {heads[0]} before expand: alembic upgrade {heads[0]}")
    to_do.append('online-migrate revision -m "what changes"')
    return Written(paths=tuple(paths), to_do=tuple(to_do))


def _refuse_other_layouts(project: Project) -> None:
    """Refuses a tree to which no folders can be added: in a package, or with folders inside of folders."""
    location = str(project.config.get_alembic_option("script_location"))
    reason = None
    if not Path(location).is_absolute() and ":" in location:
        reason = f"its scripts are in a package, {location}, which init would have to change"
    elif "site-packages" in project.migrations_dir.absolute().parts:
        reason = f"its scripts are in an installed package, {project.migrations_dir}"
    elif project.script.recursive_version_locations:
        reason = "its scripts are in folders below version_locations (recursive_version_locations)"
    if reason is not None:
        raise exceptions.ConfigBroken(
            path=str(project.config_file),
            reason=reason,
            hint="adopt it by settings in [online_migrate]: env_unguarded, history, requires.REVISION",
        )


def _add_locations(project: Project) -> Path:
    """Adds the two folders to version_locations in the file with Alembic's settings; returns that file."""
    toml = project.config.toml_file_name
    if toml is None or project.config.file_config.has_option("alembic", "version_locations"):
        config_file = project.config_file
        text = config_file.read_text(encoding="utf-8")
        config_file.write_text(_with_locations(text, project.script, config_file), encoding="utf-8")
        return config_file
    pyproject = Path(toml)
    text = pyproject.read_text(encoding="utf-8")
    locations = _locations(project.script, pyproject)
    pyproject.write_text(with_toml_locations(text, locations), encoding="utf-8")
    return pyproject


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _with_locations(text: str, script: ScriptDirectory, config_file: Path) -> str:
    """Returns the text of alembic.ini with the two folders added to version_locations."""
    locations = ";".join(_locations(script, config_file))
    text = _set_option(text, "version_locations", locations)
    text = _set_option(text, "path_separator", ";")
    text = re.sub(r"(?m)^version_path_separator\s*=.*\n", "", text)
    text = _respell_sys_path(text)
    if f"[{SECTION}]" not in text:
        text = text.rstrip("\n") + f"\n\n[{SECTION}]\n"
    return text


def _locations(script: ScriptDirectory, config_file: Path) -> list[str]:
    """Returns the folders of the scripts and the two new ones, as paths relative to *config_file*."""
    here = config_file.absolute().parent
    folder = Path(script.dir).absolute()
    present = [Path(location) for location in script._version_locations]
    wanted = [*present, *(folder / name for name in FOLDERS[:2] if folder / name not in present)]
    return [_from_here(path, here) for path in wanted]


def _respell_sys_path(text: str) -> str:
    """Rewrites prepend_sys_path with ``;``: once path_separator is set, it splits this option, too."""

    def respell(match: re.Match[str]) -> str:
        parts = [part for part in re.split(r"[\s,:;]+", match.group(2)) if part]
        return f"{match.group(1)}{';'.join(parts)}"

    return re.sub(r"(?m)^(prepend_sys_path[ \t]*=[ \t]*)(.*)$", respell, text)


def _from_here(path: Path, here: Path) -> str:
    relative = os.path.relpath(path, here)
    return str(path) if relative.startswith("..") else f"%(here)s/{Path(relative).as_posix()}"


def _set_option(text: str, name: str, value: str) -> str:
    """Returns *text* with an option of [alembic] replaced in place, or added at the top of the section."""
    pattern = re.compile(rf"(?m)^{name}[ \t]*=.*(?:\n[ \t]+\S.*)*$")
    line = f"{name} = {value}"
    if pattern.search(text):
        return pattern.sub(lambda match: line, text, count=1)
    return re.sub(r"(?m)^(\[alembic\][^\n]*\n)", lambda match: f"{match.group(1)}{line}\n", text, count=1)


def describe(paths: Sequence[Path]) -> list[str]:
    """Returns the paths as a user would type them: relative to the current folder where possible."""
    return [_relative(path) + ("/" if path.is_dir() else "") for path in paths]
