"""Where a command works, and how: a project, a database, who listens and who can stop it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from online_migrate import config as configuration
from online_migrate.ddl.session import connect, migrator
from online_migrate.dialects import create_engine, dialect_of
from online_migrate.expand import bootstrap
from online_migrate.migrate import progress
from online_migrate.revision.environment import Environment, read_environment, run_writes
from online_migrate.revision.project import Project
from online_migrate.revision.recording import refuse_long_ids
from online_migrate.revision.stepping import Stepper, applied_revisions
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


def _say_nothing(line: str) -> None:
    """Where nobody listens."""


@dataclasses.dataclass(frozen=True)
class Site:
    """Where a command works, and how: a project, a database, who listens and who can stop it."""

    config_file: Path = Path("alembic.ini")
    given_url: str | None = None
    oslo_config_files: tuple[str, ...] = ()
    x_arguments: tuple[str, ...] = ()
    clock: Clock = dataclasses.field(default_factory=Clock)
    stop: Stop = dataclasses.field(default_factory=Stop)
    say: Callable[[str], None] = _say_nothing
    listener: progress.Listener = dataclasses.field(default_factory=progress.Silent)

    @functools.cached_property
    def project(self) -> Project:
        """The project of *config_file*."""
        return Project.load(self.config_file, x_arguments=self.x_arguments)

    @functools.cached_property
    def url(self) -> str:
        """The database, password included: never to be shown.

        Where no URL is given for the command, it is the one that env.py connects to: plain Alembic and
        online-migrate never work on two databases.
        """
        url = self._explicit_url
        if url is not None:
            return url
        from_ini = self._environment_without_url.url or configuration.url_in(self.project.config)
        return configuration.find_url(given=None, config_files=(), from_ini=from_ini)

    @functools.cached_property
    def _explicit_url(self) -> str | None:
        return configuration.explicit_url(given=self.given_url, config_files=self.oslo_config_files)

    @functools.cached_property
    def _environment_without_url(self) -> Environment:
        self.project.graph  # noqa: B018 - what is wrong with the project is said before env.py connects
        return read_environment(self.project, None)

    @functools.cached_property
    def engine(self) -> Engine:
        """An engine that has connected once, so that it knows its server."""
        self.project.graph  # noqa: B018 - what is wrong with the project is said before a server is asked
        engine = create_engine(self.url)
        connect(engine).close()
        return engine

    @functools.cached_property
    def environment(self) -> Environment:
        """What env.py configures."""
        if self._explicit_url is None:
            return self._environment_without_url
        return read_environment(self.project, self._url_for_environment)

    def prepare(self) -> None:
        """Before a command that writes: the bookkeeping tables are there, and ours."""
        self.project.data_migrations  # noqa: B018 - refused before anything is written
        self.run_environment_writes()
        bootstrap.ensure(self.engine, self.project.settings, clock=self.clock, stop=self.stop)

    def run_environment_writes(self) -> None:
        """Lets env.py create what it wants to be there, such as the schema of the version table."""
        run_writes(self.project, self._url_for_environment, self.environment)

    @property
    def _url_for_environment(self) -> str | None:
        """What env.py is told of the database; None: it says itself which one it is."""
        return None if self._explicit_url is None else self.engine.url.render_as_string(hide_password=False)

    def applied(self) -> frozenset[str]:
        """The revisions that the database has.

        Raises :class:`~online_migrate.exceptions.NewerState` before anything is read from tables that a
        newer engine has changed.
        """
        with connect(self.engine) as connection:
            bootstrap.is_current(connection)
            return applied_revisions(connection, self.project, self.environment)

    def refuse_long_ids(self, revisions: Sequence[str]) -> None:
        """Refuses, before anything is done, what the version table has no room for."""
        with connect(self.engine) as connection:
            refuse_long_ids(connection, self.environment, revisions)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose transaction the server keeps from writing."""
        with connect(self.engine) as connection:
            bootstrap.is_current(connection)
            connection.rollback()
            dialect_of(connection).read_only(connection)
            try:
                yield connection
            finally:
                # The switch to reading only must not come back to the pool.
                connection.invalidate()

    @contextlib.contextmanager
    def stepper(self) -> Iterator[Stepper]:
        """The migrator of this database, of which there is one at a time."""
        with migrator(self.engine, self.project.settings, clock=self.clock, stop=self.stop) as session:
            yield Stepper(
                project=self.project,
                environment=self.environment,
                session=session,
                clock=self.clock,
                stop=self.stop,
                say=self.say,
            )
