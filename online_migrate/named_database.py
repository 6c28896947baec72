"""The database that a command was given: its URL, its options, and the application's own bind.

The engine opens its own connections, to the URL. What an application hands over instead of a URL, an engine
or a connection, may be one to another database than its URL says, or have other settings (``creator=``,
``connect_args=``, ``SET search_path``). That is compared, and refused if it differs.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from oslo_db import exception as oslo

from online_migrate import exceptions
from online_migrate.config import DATABASE_GROUP, URL_VARIABLE
from online_migrate.ddl.session import connect, private_connection
from online_migrate.dialects import create_engine, dialect_of, full_url
from online_migrate.engine_options import EngineOptions
from online_migrate.runtime.connection_settings import settings_of
from online_migrate.waiting import Clock, Stop

if TYPE_CHECKING:
    from oslo_config import cfg
    from sqlalchemy.engine import Connection, Engine

Bind = sa.Engine | sa.Connection | sa.URL | str
"""What an application hands over instead of a URL on the command line."""


class OtherDatabase(exceptions.Refused):
    """The given engine or connection has another database, or other settings, than its URL: {reason}"""

    default_hint = (
        "online-migrate opens its own connections by the URL: give a URL, or a configuration, that holds "
        "every setting of the connection"
    )


@dataclasses.dataclass(frozen=True)
class NamedDatabase:
    """The database that a command was given."""

    url: str
    """The URL with the password."""
    options: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    bind: Engine | Connection | None = None
    """The application's engine or connection, if it was given instead of a URL."""
    unused: tuple[str, ...] = ()
    """A line for each option of oslo.config that is set and has no effect."""

    def open(self, *, pooler: str | None, clock: Clock, stop: Stop, echo: Callable[[str], None]) -> Engine:
        """Returns an engine of its own that has connected once.

        Raises :class:`OtherDatabase` if :attr:`bind` is a connection to another database, or has other
        settings.
        """
        for line in self.unused:
            echo(line)
        _set_level(self.options)
        engine = create_engine(self.url, pooler=pooler, options=self.options)
        self._connect_first(engine, clock, stop, echo)
        if self.bind is not None:
            _refuse_other(engine, self.bind)
        return engine

    def _connect_first(self, engine: Engine, clock: Clock, stop: Stop, echo: Callable[[str], None]) -> None:
        left, pause = self.options.retries, self.options.retry_interval
        while True:
            try:
                connect(engine).close()
                return
            except exceptions.ServerDown as error:
                lasting = not isinstance(error.__cause__, oslo.DBConnectionError)
                if lasting or not left:
                    raise
                echo(f"{error}; next attempt in {pause:g} s")
                left -= 1
                if clock.wait(pause, stop):
                    raise


@dataclasses.dataclass(frozen=True)
class DatabaseSource:
    """How the database of a command was given.

    *bind*: by the program that calls the command. *url*: on the command line. *configuration*: a
    configuration of oslo.config that the program has read; *files*, *directories*: those of the command line.
    *group*: the group of oslo.config that names the database.
    """

    bind: Bind | None = None
    url: str | None = None
    configuration: cfg.ConfigOpts | None = None
    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    group: str = DATABASE_GROUP

    @functools.cached_property
    def database(self) -> NamedDatabase | None:
        """The database; None: env.py decides which one it is.

        The first that is set counts: the bind, the URL, a configuration of the program,
        ``ONLINE_MIGRATE_URL``, the files.
        """
        if self.bind is not None:
            return _named_by_bind(self.bind)
        url = self.url
        if not url and self.configuration is None:
            url = os.environ.get(URL_VARIABLE)
        if url:
            return NamedDatabase(url)
        if self._oslo is None:
            return None
        from online_migrate import oslo_options  # oslo.config is slow, and rarely needed

        found = oslo_options.read_database(self._oslo, self.group)
        return NamedDatabase(found.url, found.options, unused=found.unused)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The settings in ``[online_migrate]`` of oslo.config."""
        if self._oslo is None:
            return {}
        from online_migrate import oslo_options

        return oslo_options.read_settings(self._oslo)

    @functools.cached_property
    def _oslo(self) -> cfg.ConfigOpts | None:
        if self.configuration is not None or not (self.files or self.directories):
            return self.configuration
        from online_migrate import oslo_options

        return oslo_options.read_files(self.files, self.directories)


def _named_by_bind(bind: Bind) -> NamedDatabase:
    if isinstance(bind, str):
        return NamedDatabase(bind)
    if isinstance(bind, sa.URL):
        return NamedDatabase(full_url(bind))
    if not isinstance(bind, sa.Engine | sa.Connection):
        raise exceptions.UsageError(
            message=f"the database is {type(bind).__name__}; it must be a URL, an engine or a connection"
        )
    url = bind.engine.url
    in_memory = url.database in (None, "", ":memory:") or "mode=memory" in str(url.database)
    if url.get_backend_name() == "sqlite" and in_memory:
        raise OtherDatabase(reason="a database in memory belongs to one connection")
    return NamedDatabase(full_url(url), bind=bind)


def _set_level(options: EngineOptions) -> None:
    if options.statements_logged:
        level = logging.DEBUG if options.results_logged else logging.INFO
        logging.getLogger("sqlalchemy.engine").setLevel(level)


def _refuse_other(engine: Engine, bind: Engine | Connection) -> None:
    """Refuses a *bind* with another database, or with other settings, than those of *engine*."""
    with private_connection(engine) as connection:
        ours = _where(connection)
    if isinstance(bind, sa.Connection):
        theirs = _where(bind)
    else:
        with connect(bind) as connection:
            theirs = _where(connection)
    changed = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    if changed:
        said = "; ".join(f"{name} is {theirs.get(name)!r}, not {ours.get(name)!r}" for name in changed)
        raise OtherDatabase(reason=said)


def _where(connection: Connection) -> dict[str, object]:
    in_transaction = connection.in_transaction()
    found = {**settings_of(connection), **dialect_of(connection).identity(connection)}
    if not in_transaction:
        connection.rollback()  # the application may begin its own transaction
    return found
