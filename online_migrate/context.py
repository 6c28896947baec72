"""The context of a command: the project, the database, the listener and the stop signal."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from online_migrate import config as configuration
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of, full_url
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.expand import bootstrap
from online_migrate.migrate import progress
from online_migrate.named_database import Bind, DatabaseSource, NamedDatabase
from online_migrate.runtime.environment import (
    Environment,
    applied_revisions,
    read_environment,
    refuse_unguarded,
    run_writes,
)
from online_migrate.script.project import Project
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from oslo_config import cfg
    from sqlalchemy.engine import Connection, Engine


T = TypeVar("T")
logger = logging.getLogger(__name__)
_READS = 3


def _say_nothing(line: str) -> None:
    """The default of ``echo``: discards the line."""


@dataclasses.dataclass(frozen=True)
class CommandContext:
    """The context of a command: the project, the database, the listener and the stop signal.

    *bind*, *given_url*, *configuration*, *oslo_config_files*: the database, as an engine or a connection of
    the application, a URL, a configuration of oslo.config that was read, or files of it. Without any of them,
    env.py decides. *database_group*: the group of oslo.config that names it. *host_logging*: the logging
    belongs to the program that calls the command, and env.py does not configure it.

    Half of its methods are cached properties: what a command reads of the project, each read once.
    """

    config_file: Path = Path("alembic.ini")
    given_url: str | None = None
    oslo_config_files: tuple[str, ...] = ()
    x_arguments: tuple[str, ...] = ()
    clock: Clock = dataclasses.field(default_factory=Clock)
    stop: Stop = dataclasses.field(default_factory=Stop)
    echo: Callable[[str], None] = _say_nothing
    listener: progress.Listener = dataclasses.field(default_factory=progress.NullListener)
    oslo_config_dirs: tuple[str, ...] = ()
    database_group: str = configuration.DATABASE_GROUP
    configuration: cfg.ConfigOpts | None = None
    bind: Bind | None = None
    host_logging: bool = False

    @functools.cached_property
    def project(self) -> Project:
        """The project of ``config_file``."""
        return Project.load(
            self.config_file,
            x_arguments=self.x_arguments,
            overrides=self.database_source.settings,
            configure_logger=not self.host_logging,
        )

    @functools.cached_property
    def database_source(self) -> DatabaseSource:
        """How the database was given."""
        return DatabaseSource(
            bind=self.bind,
            url=self.given_url,
            configuration=self.configuration,
            files=self.oslo_config_files,
            directories=self.oslo_config_dirs,
            group=self.database_group,
        )

    @functools.cached_property
    def url(self) -> str:
        """The database URL with the password; it must not be printed.

        If the command has no URL, this is the URL that env.py connects to. So plain Alembic and
        online-migrate always use the same database.
        """
        url = self._explicit_url
        if url is not None:
            return url
        from_ini = self._environment_without_url.url or configuration.url_in(self.project.config)
        return configuration.find_url(given=None, from_ini=from_ini)

    @property
    def _explicit_url(self) -> str | None:
        return None if self.database_source.database is None else self.database_source.database.url

    @functools.cached_property
    def _environment_without_url(self) -> Environment:
        self.project.load_graph()  # its errors are raised before env.py connects
        return read_environment(self.project, None)

    @functools.cached_property
    def engine(self) -> Engine:
        """An engine that has connected once, so that the server version is known."""
        self.project.load_graph()  # its errors are raised before the first connection
        named = self.database_source.database or NamedDatabase(self.url)
        pooler = self.project.settings.pooler
        return named.open(pooler=pooler, clock=self.clock, stop=self.stop, echo=self.echo)

    def close(self) -> None:
        """Closes the connections of the command."""
        if "engine" in vars(self):
            self.engine.dispose()

    @functools.cached_property
    def environment(self) -> Environment:
        """The options that env.py configures."""
        if self._explicit_url is None:
            return self._environment_without_url
        return read_environment(self.project, self._url_for_environment)

    def require_guard(self) -> None:
        """Runs env.py now, if it was not run yet. Is called before a command that writes.

        Raises the errors of env.py, and :class:`~online_migrate.exceptions.GuardMissing`.
        """
        refuse_unguarded(self.project, self.environment)

    def ensure_state_tables(self) -> None:
        """Creates or upgrades the bookkeeping tables. Is called before a command that writes."""
        self.project.load_data_migrations()  # its errors are raised before anything is written
        self.run_environment_writes()
        if bootstrap.ensure(self.engine, self.project.settings, clock=self.clock, stop=self.stop):
            self._say_unguarded()

    def _say_unguarded(self) -> None:
        """Says, once for each database, that an env.py that must not be changed does not check the gate."""
        if not self.environment.guarded:
            self.echo(
                f"{self.project.migrations_dir / 'env.py'} does not call guard(): plain Alembic, and a "
                "command that is built on it, bypass the gate; only online-migrate's own commands check it"
            )

    def run_environment_writes(self) -> None:
        """Lets env.py create what it needs, such as the schema of the version table."""
        self.require_guard()
        run_writes(self.project, self._url_for_environment, self.environment)

    @property
    def _url_for_environment(self) -> str | None:
        """The URL that is passed to env.py. None: env.py selects the database."""
        return None if self._explicit_url is None else full_url(self.engine.url)

    def applied(self) -> frozenset[str]:
        """Returns the applied revisions.

        Raises :class:`~online_migrate.exceptions.NewerState` if a newer version of online-migrate upgraded
        the bookkeeping tables, before anything is read from them.
        """
        with connect(self.engine) as connection:
            bootstrap.is_current(connection)
            return applied_revisions(connection, self.project, self.environment)

    def read(self, function: Callable[[Connection], T]) -> T:
        """Calls *function* with a connection as of :meth:`read_connection`, and returns its result.

        It is called again, with a new transaction, if another session created or altered a table meanwhile:
        MySQL and MariaDB refuse to read that table in a transaction that began before (error 1412).
        """
        for left in range(_READS - 1, -1, -1):
            with self.read_connection() as connection:
                try:
                    return function(connection)
                except DATABASE_ERRORS as error:
                    if not left or not dialect_of(connection).is_transient(error):
                        raise
                    logger.info("the database is read again: %s", error_message(error))
        raise AssertionError("the last attempt returns or raises")

    @contextlib.contextmanager
    def read_connection(self) -> Iterator[Connection]:
        """Yields a connection with a read-only transaction."""
        with connect(self.engine) as connection:
            bootstrap.is_current(connection)
            connection.rollback()
            dialect_of(connection).read_only(connection)
            try:
                yield connection
            finally:
                # A read-only connection must not return to the pool.
                connection.invalidate()
