"""Alembic's environment: the functions for env.py, and reading what env.py configures."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import context as alembic_context
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import event

from online_migrate import config as configuration
from online_migrate import exceptions, state
from online_migrate.ddl.session import private_connection, server_down
from online_migrate.dialects import Dialect, create_engine, dialect_of, parse_url
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.runtime.connection_settings import ConnectionWatch
from online_migrate.runtime.env_logging import loggers_kept
from online_migrate.runtime.probe import Probe, observed, refuse_what_old_code_notices
from online_migrate.runtime.veto import StepsFunction, as_command_error, refuse_contract_steps
from online_migrate.script.project import GUARD_LINES
from online_migrate.sql.statement import shorten

if TYPE_CHECKING:
    from alembic.config import Config

    from online_migrate.script.project import Project

_PROBE = "online_migrate_probe"


@dataclasses.dataclass(frozen=True)
class Environment:
    """What a project's env.py configures."""

    options: dict[str, Any]
    """The keyword arguments of its ``context.configure(...)``, without the connection."""
    guarded: bool
    """True if it calls :func:`guard` (or :func:`run_environment`)."""
    url: str | None = None
    """The URL of the database that it connects to, with the password; None: online-migrate decides."""
    writes: tuple[str, ...] = ()
    """The statements by which it would change the database in each run; they were not sent."""
    server: str = ""
    """The server to which it would send them: postgresql, mysql, mariadb or sqlite."""

    @property
    def version_table(self) -> str:
        """The name of Alembic's version table."""
        return str(self.options.get("version_table") or "alembic_version")

    @property
    def version_schema(self) -> str | None:
        """The schema of Alembic's version table."""
        schema: str | None = self.options.get("version_table_schema")
        return schema


# --- functions for env.py ------------------------------------------------------------------------


def guard() -> None:
    """Enforces the gate for plain Alembic commands, and excludes the engine's tables from autogenerate.

    To be called in env.py before ``context.configure(...)``. Raises
    :class:`~online_migrate.exceptions.UsageError` outside of an env.py that Alembic runs.
    """
    environment = _current_environment()
    probe: Probe | None = environment.config.attributes.get(_PROBE)
    if probe is not None:
        probe.guarded = True
        return
    options = environment.context_opts
    function: StepsFunction | None = options.get("fn")
    if function is not None:
        options["fn"] = refuse_contract_steps(function, environment.config, environment.script)
    configure = environment.configure

    def guarded_configure(*arguments: Any, **keywords: Any) -> None:
        keywords["include_name"] = _without_our_tables(keywords.get("include_name"))
        configure(*arguments, **keywords)

    environment.configure = guarded_configure  # type: ignore[method-assign]


def run_environment(target_metadata: Any = None, **options: Any) -> None:
    """Does everything that an env.py has to do, in one call.

    *target_metadata*: the application's ``MetaData``, for autogenerate. *options*: further arguments of
    Alembic's ``context.configure``. The URL is taken from the command line, from ``ONLINE_MIGRATE_URL`` or
    from alembic.ini. Lock waits are bounded, and on SQLite foreign keys are off while tables are copied.
    """
    environment = _current_environment()
    guard()
    options = {"target_metadata": target_metadata, **options}
    if _PROBE in environment.config.attributes:
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
    config = environment.config
    settings = configuration.read_settings(Path(str(config.config_file_name or config.toml_file_name)))
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


# --- reading env.py ------------------------------------------------------------------------------


def read_environment(project: Project, url: str | None) -> Environment:
    """Runs the project's env.py without any effect on the database, and returns what it configures.

    *url*: the requested database; None: env.py decides which one it is. Raises
    :class:`~online_migrate.exceptions.GuardMissing` if plain Alembic would bypass the gate,
    :class:`~online_migrate.exceptions.ServerDown` if the server cannot be reached, and
    :class:`~online_migrate.exceptions.URLMissing` or :class:`~online_migrate.exceptions.ScriptBroken` for
    another error in env.py.
    """
    probe = _probe(project, url, may_write=False)
    if not probe.guarded:
        raise exceptions.GuardMissing(
            path=str(_env_py(project)),
            hint=f"add these two lines before its context.configure(...):\n{GUARD_LINES}",
        )
    unwanted = {"connection", "url", "dialect_name", "dialect_opts", "as_sql", "literal_binds"}
    return Environment(
        options={name: value for name, value in probe.options.items() if name not in unwanted},
        guarded=probe.guarded,
        url=probe.url,
        writes=tuple(probe.writes),
        server=probe.server,
    )


def applied_revisions(
    connection: sa.Connection, project: Project, environment: Environment
) -> frozenset[str]:
    """Returns the revisions that are applied to the database, by ancestry of its version rows."""
    rows = state.version_rows(connection, environment.version_table, environment.version_schema)
    return project.graph.applied(rows)


def run_writes(project: Project, url: str | None, environment: Environment) -> None:
    """Runs env.py again, and sends the statements by which it creates missing objects.

    Raises :class:`~online_migrate.exceptions.EnvironmentWrites`, before anything is sent, if it would do
    more than create objects.
    """
    if environment.writes:
        refuse_what_old_code_notices(_env_py(project), list(environment.writes), environment.server)
        _probe(project, url, may_write=True)


def _env_py(project: Project) -> Path:
    env_py = project.migrations_dir / "env.py"
    if not env_py.is_file():
        raise exceptions.ConfigBroken(
            path=str(env_py), reason="the file does not exist", hint="online-migrate init"
        )
    return env_py


def _probe(project: Project, url: str | None, *, may_write: bool) -> Probe:
    config, probe, env_py = project.config, Probe(), _env_py(project)
    given = _handed_out(config, url)

    watch = ConnectionWatch(str(env_py), url)

    def capture(**keywords: Any) -> None:
        probe.options |= keywords
        watch.configured(keywords.get("connection"))

    config.attributes[_PROBE] = probe
    try:
        with (
            EnvironmentContext(config, project.script, fn=lambda heads, context: []) as environment,
            observed(probe, env_py, given=given, may_write=may_write),
            loggers_kept(configured_by_env=config.attributes.get("configure_logger") is not False),
        ):
            environment.configure = capture  # type: ignore[method-assign, assignment]
            watch.attach(environment)
            environment.begin_transaction = contextlib.nullcontext  # type: ignore[method-assign]
            environment.is_offline_mode = lambda: False  # type: ignore[method-assign]
            project.script.run_env()
    except exceptions.OnlineMigrateError:
        raise
    except (*DATABASE_ERRORS, ConnectionError) as error:
        if given is None:
            raise exceptions.ServerDown(url="the database of env.py", reason=error_message(error)) from error
        raise server_down(given, error) from error
    except (Exception, SystemExit) as error:
        raise _env_py_broken(project, url, probe, error) from error
    finally:
        del config.attributes[_PROBE]
    return probe


def _handed_out(config: Config, url: str | None) -> sa.URL | None:
    """Puts the URL into the configuration, where env.py finds it; returns it as it was given.

    Returns None if there is no URL.
    """
    if url is None:
        url = configuration.url_in(config)
        if url is None:
            return None
    config.set_main_option("sqlalchemy.url", _plain_url(url).replace("%", "%%"))
    return sa.make_url(url)


def _plain_url(url: str) -> str:
    """Returns the URL with a synchronous driver, which every env.py can use; see :mod:`~.probe`."""
    return parse_url(url).render_as_string(hide_password=False)


def _env_py_broken(
    project: Project, url: str | None, probe: Probe, error: BaseException
) -> exceptions.OnlineMigrateError:
    """Returns the error for an exception of env.py: it has no URL, or its code is faulty."""
    env_py = _env_py(project)
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if probe.writes:
        reason = f"{reason} (after this statement, which was not sent: {shorten(probe.writes[-1])})"
    if url is None and configuration.url_in(project.config) is None:
        return exceptions.URLMissing(
            hint=f"{exceptions.URLMissing.default_hint}\n     {env_py} sets no URL: {reason}"
        )
    return exceptions.ScriptBroken(path=str(env_py), reason=reason)
