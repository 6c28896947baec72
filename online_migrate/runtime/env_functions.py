"""The functions for env.py: :func:`guard` and :func:`run_environment`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import context as alembic_context
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import event

from online_migrate import config as configuration
from online_migrate import exceptions, state
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import Dialect, create_engine, dialect_of
from online_migrate.runtime import sync_operations  # noqa: F401 - registers the operations of Alembic
from online_migrate.runtime.probe import PROBE, Probe
from online_migrate.runtime.veto import StepsFunction, as_command_error, refuse_contract_steps
from online_migrate.script.graph import Graph
from online_migrate.script.project import graph_of

if TYPE_CHECKING:
    from alembic.config import Config


def guard() -> None:
    """Enforces the gate for plain Alembic commands, and excludes the engine's tables from autogenerate.

    To be called in env.py before ``context.configure(...)``. Raises
    :class:`~online_migrate.exceptions.UsageError` outside of an env.py that Alembic runs.
    """
    environment = _current_environment()
    probe: Probe | None = environment.config.attributes.get(PROBE)
    if probe is not None:
        probe.guarded = True
        return
    options = environment.context_opts
    function: StepsFunction | None = options.get("fn")
    if function is not None:
        options["fn"] = refuse_contract_steps(
            function, environment.config, lambda: _graph_for_alembic(environment)
        )
    configure = environment.configure

    def guarded_configure(*arguments: Any, **keywords: Any) -> None:
        keywords["include_name"] = _without_our_tables(keywords.get("include_name"))
        configure(*arguments, **keywords)

    environment.configure = guarded_configure  # type: ignore[method-assign]


def _graph_for_alembic(environment: EnvironmentContext) -> Graph:
    try:
        return graph_of(environment.script, _settings_of(environment.config))
    except exceptions.UsageError as error:
        raise as_command_error(error) from error


def _settings_of(config: Config) -> configuration.Settings:
    names = (config.config_file_name, config.toml_file_name)
    path = next((Path(str(name)) for name in names if name and Path(str(name)).is_file()), None)
    return configuration.Settings() if path is None else configuration.read_settings(path)


def run_environment(target_metadata: Any = None, **options: Any) -> None:
    """Does everything that an env.py has to do, in one call.

    *target_metadata*: the application's ``MetaData``, for autogenerate. *options*: further arguments of
    Alembic's ``context.configure``. The URL is taken from the command line, from ``ONLINE_MIGRATE_URL`` or
    from alembic.ini. Lock waits are bounded, and on SQLite foreign keys are off while tables are copied.
    """
    environment = _current_environment()
    guard()
    options = {"target_metadata": target_metadata, **options}
    if PROBE in environment.config.attributes:
        environment.configure(**options)
        return
    url = configuration.find_url(given=None, from_ini=configuration.url_in(environment.config))
    if environment.is_offline_mode():
        environment.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"}, **options)
        with environment.begin_transaction():
            environment.run_migrations()
        return
    _run_online(environment, url, options)


def _run_online(environment: EnvironmentContext, url: str, options: dict[str, Any]) -> None:
    given = environment.config.attributes.get("connection")
    if given is not None:
        environment.configure(connection=given, **options)
        with environment.begin_transaction():
            environment.run_migrations()
        return
    settings = _settings_of(environment.config)
    engine = create_engine(url, pooler=settings.pooler)
    with private_connection(engine) as connection:
        dialect = dialect_of(connection)
        dialect.prepare_ddl_session(
            connection, lock_timeout=settings.lock_timeout, session_timeout=settings.session_timeout
        )
        environment.configure(
            connection=connection, **{"transactional_ddl": dialect.transactional_ddl, **options}
        )
        with (
            dialect.write_transaction(connection),
            environment.begin_transaction(),
            _guarded_engine(dialect, connection),
        ):
            environment.run_migrations()


@contextlib.contextmanager
def _guarded_engine(dialect: Dialect, connection: sa.Connection) -> Iterator[None]:
    """Calls the dialect's hooks for revisions and their statements when plain Alembic runs them."""

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        dialect.before_statement(connection, statement)

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        dialect.after_statement(connection, statement)

    event.listen(connection, "before_cursor_execute", before)
    event.listen(connection, "after_cursor_execute", after)
    try:
        with dialect.around_revision(connection):
            yield
    except exceptions.ServerError as error:
        raise as_command_error(error) from error


def _current_environment() -> EnvironmentContext:
    environment: EnvironmentContext | None = getattr(alembic_context, "_proxy", None)
    if environment is None:
        raise exceptions.UsageError(
            message="guard() and run_environment() are called by env.py, which Alembic runs"
        )
    return environment


def _without_our_tables(users: Callable[..., bool] | None) -> Callable[..., bool]:
    def include_name(name: str | None, type_: str, parents: Any) -> bool:
        if type_ == "table" and name in state.TABLES:
            return False
        return users(name, type_, parents) if users is not None else True

    return include_name
