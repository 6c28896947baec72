"""A user's project: its alembic.ini, its scripts, its data migrations."""

from __future__ import annotations

import configparser
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import util
from alembic.config import Config
from alembic.script import ScriptDirectory

from online_migrate import config as configuration
from online_migrate import exceptions
from online_migrate.kinds.base import DataMigration
from online_migrate.script.configuration import load_config
from online_migrate.script.declarations import ScriptDeclarations
from online_migrate.script.discovery import discover
from online_migrate.script.graph import Graph, Phase
from online_migrate.script.named_objects import set_up
from online_migrate.script.reading import declares_requires, from_scripts

GUARD_LINES = """\
    import online_migrate
    online_migrate.guard()"""
"""The lines that an existing env.py needs before its ``context.configure(...)``."""


@dataclasses.dataclass(frozen=True)
class Project:
    """The project that a command uses. Scripts and data migrations are read on first use."""

    config: Config
    settings: configuration.Settings

    @classmethod
    def load(
        cls,
        config_file: str | Path,
        *,
        x_arguments: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        configure_logger: bool = True,
    ) -> Project:
        """Returns the project of an alembic.ini, of a pyproject.toml, or of both.

        *x_arguments*: the values of ``-x``, for env.py. *overrides*: settings that override those of the
        files. *configure_logger*: False: env.py must not configure logging. Raises
        :class:`~online_migrate.exceptions.ConfigMissing` or
        :class:`~online_migrate.exceptions.ConfigBroken`.
        """
        config = load_config(Path(config_file))
        config.cmd_opts = _CommandOptions(x=list(x_arguments))  # type: ignore[assignment]
        if not configure_logger:
            config.attributes["configure_logger"] = False
        return cls(config=config, settings=configuration.read_settings(_file_of(config), overrides))

    @property
    def config_file(self) -> Path:
        """The alembic.ini, or the pyproject.toml if there is no alembic.ini."""
        return _file_of(self.config)

    @functools.cached_property
    def script(self) -> ScriptDirectory:
        """Alembic's script directory; every script is imported.

        Raises :class:`~online_migrate.exceptions.ConfigBroken` or
        :class:`~online_migrate.exceptions.ScriptBroken`.
        """
        try:
            script = ScriptDirectory.from_config(self.config)  # it applies prepend_sys_path
            set_up(self.settings, self.config_file.parent)
            script.get_heads()
        except exceptions.ConfigBroken:
            raise
        except (util.CommandError, configparser.Error) as error:
            raise exceptions.ConfigBroken(path=str(self.config_file), reason=_on_one_line(error)) from None
        except (Exception, SystemExit) as error:
            raise exceptions.ScriptBroken(path=_failing_file(error), reason=_one_line(error)) from error
        return script

    @functools.cached_property
    def graph(self) -> Graph:
        """The revision graph. Raises :class:`~online_migrate.exceptions.GraphBroken`."""
        return graph_of(self.script, self.settings)

    @functools.cached_property
    def requires_by_default(self) -> Mapping[str, tuple[str, ...]]:
        """What contract revisions require by ``requires.*``, which also holds for scripts written later."""
        scripts = {id: self.script.get_revision(id) for id in self.graph.of(Phase.CONTRACT)}
        undeclared = [id for id, script in scripts.items() if not declares_requires(script)]
        return ScriptDeclarations.of(self.settings).by_default(self.graph, undeclared)

    @functools.cached_property
    def migrations_dir(self) -> Path:
        """The folder that contains env.py."""
        return Path(self.script.dir)

    @property
    def data_dir(self) -> Path:
        """The folder of the data migrations."""
        location = self.settings.data_location
        return Path(location) if location else self.migrations_dir / "data"

    @functools.cached_property
    def data_migrations(self) -> Mapping[str, DataMigration]:
        """All data migrations by name, in an order in which they can run."""
        return discover(self.data_dir, self.graph)

    def load_graph(self) -> None:
        """Loads the scripts now. Raises the errors of :attr:`script` and :attr:`graph`."""
        _ = self.graph

    def load_data_migrations(self) -> None:
        """Loads the scripts and the data migrations now. Raises their errors."""
        _ = self.data_migrations

    def data_migration(self, name: str) -> DataMigration:
        """Returns the data migration *name*.

        Raises :class:`~online_migrate.exceptions.UnknownDataMigration`.
        """
        try:
            return self.data_migrations[name]
        except KeyError:
            known = ", ".join(self.data_migrations) or f"none; there is no data migration in {self.data_dir}"
            raise exceptions.UnknownDataMigration(name=name, known=known) from None


def graph_of(script: ScriptDirectory, settings: configuration.Settings) -> Graph:
    """Returns the graph of the scripts, with what the settings declare about them.

    Raises :class:`~online_migrate.exceptions.GraphBroken` and
    :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    try:
        scripts = list(script.walk_revisions())
    except util.CommandError as error:
        raise exceptions.GraphBroken(reason=str(error)) from None
    return from_scripts(scripts, ScriptDeclarations.of(settings), script._version_locations)


@dataclasses.dataclass
class _CommandOptions:
    """The part of Alembic's command line that ``context.get_x_argument()`` reads."""

    x: list[str]


def _file_of(config: Config) -> Path:
    return Path(str(config.config_file_name or config.toml_file_name))


def _on_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {_on_one_line(error)}"


def _failing_file(error: BaseException) -> str:
    """Returns the file and line in which the error was raised."""
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
