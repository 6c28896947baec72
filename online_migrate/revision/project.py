"""A user's project: its alembic.ini, its scripts, its data migrations."""

from __future__ import annotations

import configparser
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from alembic import util
from alembic.config import Config
from alembic.script import ScriptDirectory

from online_migrate import config as configuration
from online_migrate import exceptions
from online_migrate.revision.configuration import load_config
from online_migrate.revision.data_migration import DataMigration
from online_migrate.revision.discovery import discover
from online_migrate.revision.graph import Graph, from_scripts


@dataclasses.dataclass(frozen=True)
class Project:
    """What a command works on. Nothing is read before it is asked for."""

    config: Config
    settings: configuration.Settings

    @classmethod
    def load(cls, config_file: str | Path, *, x_arguments: Sequence[str] = ()) -> Project:
        """The project of an alembic.ini, of a pyproject.toml, or of both.

        Raises :class:`~online_migrate.exceptions.ConfigMissing` or
        :class:`~online_migrate.exceptions.ConfigBroken`.
        """
        config = load_config(Path(config_file))
        config.cmd_opts = _CommandOptions(x=list(x_arguments))  # type: ignore[assignment]
        return cls(config=config, settings=configuration.read_settings(_file_of(config)))

    @property
    def config_file(self) -> Path:
        """Its alembic.ini, or the pyproject.toml where there is no alembic.ini."""
        return _file_of(self.config)

    @functools.cached_property
    def script(self) -> ScriptDirectory:
        """Alembic's view of the scripts, every one of them imported."""
        try:
            script = ScriptDirectory.from_config(self.config)
            script.get_heads()
        except (util.CommandError, configparser.Error) as error:
            raise exceptions.ConfigBroken(path=str(self.config_file), reason=_on_one_line(error)) from None
        except (Exception, SystemExit) as error:
            raise exceptions.ScriptBroken(path=_culprit(error), reason=_one_line(error)) from error
        return script

    @functools.cached_property
    def graph(self) -> Graph:
        """The phases of all revisions."""
        try:
            scripts = list(self.script.walk_revisions())
        except util.CommandError as error:
            raise exceptions.GraphBroken(reason=str(error)) from None
        return from_scripts(scripts)

    @functools.cached_property
    def migrations_dir(self) -> Path:
        """The folder that holds env.py."""
        return Path(self.script.dir)

    @property
    def data_dir(self) -> Path:
        """The folder of the data migrations."""
        location = self.settings.data_location
        return Path(location) if location else self.migrations_dir / "data"

    @functools.cached_property
    def data_migrations(self) -> Mapping[str, DataMigration]:
        """All data migrations by name, in an order in which they can be run."""
        return discover(self.data_dir, self.graph)

    def data_migration(self, name: str) -> DataMigration:
        """The data migration *name*, or :class:`~online_migrate.exceptions.UnknownDataMigration`."""
        try:
            return self.data_migrations[name]
        except KeyError:
            known = ", ".join(self.data_migrations) or f"none: there is no data migration in {self.data_dir}"
            raise exceptions.UnknownDataMigration(name=name, known=known) from None


@dataclasses.dataclass
class _CommandOptions:
    """What Alembic reads of its own command line: ``context.get_x_argument()``."""

    x: list[str]


def _file_of(config: Config) -> Path:
    return Path(str(config.config_file_name or config.toml_file_name))


def _on_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {_on_one_line(error)}"


def _culprit(error: BaseException) -> str:
    """The file in which the error arose."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    trace = error.__traceback__
    place = sys.executable
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not filename.startswith("<"):
            place = f"{filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
