"""Paths as a user would type them, and what a path on the command line stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from online_migrate import exceptions
from online_migrate.lint.source import ProjectScripts, Source, SqlFiles
from online_migrate.script.project import Project


class BadPath(exceptions.UsageError):
    """{path} cannot be checked: {reason}"""

    default_hint = (
        "give a .sql file, a folder with .sql files, an alembic.ini or its folder, or a script of the project"
    )


def shown(path: str) -> str:
    """Returns a path relative to the working directory, if it is below it."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return path


def sources_of(paths: Sequence[Path], config_file: Path, *, since: str | None = None) -> list[Source]:
    """Returns what *paths* stand for; without paths, the project of *config_file*.

    Raises :class:`BadPath`, or the error of a project that cannot be loaded.
    """
    if not paths:
        return [_of_project(config_file, since)]
    sql: list[Path] = []
    scripts: list[Path] = []
    found: list[Source] = []
    for path in paths:
        config = _config_of(path)
        if config is not None:
            found.append(_of_project(config, since))
        else:
            below = _files_of(path)
            sql += [each for each in below if each.suffix == ".sql"]
            scripts += [each for each in below if each.suffix == ".py"]
    if scripts:
        found.append(_scripts(scripts, config_file, since))
    if sql:
        found.append(SqlFiles(sorted(dict.fromkeys(sql))))
    return found


def _of_project(config_file: Path, since: str | None, only: Sequence[Path] = ()) -> ProjectScripts:
    """Returns the scripts of a project. Its errors are raised before anything is checked."""
    scripts = ProjectScripts(Project.load(config_file), since, tuple(only))
    scripts.load()
    return scripts


def _config_of(path: Path) -> Path | None:
    """Returns the alembic.ini or pyproject.toml that *path* is or has; None: it is neither."""
    if path.is_file() and path.suffix in (".ini", ".toml"):
        return path
    return path / "alembic.ini" if (path / "alembic.ini").is_file() else None


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise BadPath(path=path, reason="it does not exist")
    if path.is_file():
        if path.suffix not in (".sql", ".py"):
            raise BadPath(path=path, reason="it is neither a .sql file nor a .py file")
        return [path]
    sql = sorted(path.rglob("*.sql"))
    found = sql or sorted(path.rglob("*.py"))
    if not found:
        raise BadPath(path=path, reason="the folder has no .sql file and no .py file")
    return found


def _scripts(paths: Sequence[Path], config_file: Path, since: str | None) -> ProjectScripts:
    """Returns the project of *config_file* with only the scripts among *paths*."""
    every = _of_project(config_file, since)
    of_project = {Path(script.path).resolve() for script in every.revisions}
    wanted = [path.resolve() for path in paths if path.resolve() in of_project]
    if not wanted:
        raise BadPath(path=paths[0], reason=f"it is not a script of the project of {config_file}")
    return _of_project(config_file, since, wanted)
