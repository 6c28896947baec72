"""Alembic's environment: reads what env.py configures."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext

from online_migrate import config as configuration
from online_migrate import exceptions, state
from online_migrate.ddl.session import server_down
from online_migrate.dialects import full_url, parse_url
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.runtime.connection_settings import ConnectionWatch
from online_migrate.runtime.env_logging import loggers_kept
from online_migrate.runtime.env_needs import missing_need, provided
from online_migrate.runtime.probe import PROBE, Probe, observed, refuse_what_old_code_notices
from online_migrate.script.project import GUARD_LINES
from online_migrate.sql.statement import shorten

if TYPE_CHECKING:
    from alembic.config import Config

    from online_migrate.script.project import Project


@dataclasses.dataclass(frozen=True)
class Environment:
    """What a project's env.py configures."""

    options: dict[str, Any]
    """The keyword arguments of its ``context.configure(...)``, without the connection."""
    guarded: bool
    """True if it calls ``guard()`` (or ``run_environment()``)."""
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


def read_environment(project: Project, url: str | None) -> Environment:
    """Runs the project's env.py without any effect on the database, and returns what it configures.

    *url*: the requested database; None: env.py decides which one it is. Raises
    :class:`~online_migrate.exceptions.ServerDown` if the server cannot be reached, and
    :class:`~online_migrate.exceptions.URLMissing` or :class:`~online_migrate.exceptions.ScriptBroken` for
    another error in env.py.
    """
    probe = _probe(project, url, may_write=False)
    unwanted = {"connection", "url", "dialect_name", "dialect_opts", "as_sql", "literal_binds"}
    return Environment(
        options={name: value for name, value in probe.options.items() if name not in unwanted},
        guarded=probe.guarded,
        url=probe.url,
        writes=tuple(probe.writes),
        server=probe.server,
    )


def refuse_unguarded(project: Project, environment: Environment) -> None:
    """Refuses a command that writes, if plain Alembic would bypass the gate.

    The setting ``env_unguarded`` accepts that, for an env.py that must not be changed. Raises
    :class:`~online_migrate.exceptions.GuardMissing`.
    """
    if environment.guarded or project.settings.env_unguarded == "yes":
        return
    raise exceptions.GuardMissing(
        path=str(_env_py(project)),
        hint=f"add these two lines before its context.configure(...):\n{GUARD_LINES}\n"
        f"or, if the file must not be changed: env_unguarded = yes in [{configuration.SECTION}]",
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

    watch = ConnectionWatch(str(env_py), url, pooler=project.settings.pooler)

    def capture(**keywords: Any) -> None:
        probe.options |= keywords
        watch.configured(keywords.get("connection"))

    config.attributes[PROBE] = probe
    try:
        with (
            EnvironmentContext(config, project.script, fn=lambda heads, context: []) as environment,
            observed(probe, env_py, given=given, may_write=may_write),
            loggers_kept(configured_by_env=config.attributes.get("configure_logger") is not False),
            provided(config, project.settings, _url_of(given)),
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
        del config.attributes[PROBE]
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


def _url_of(given: sa.URL | None) -> str | None:
    return None if given is None else _plain_url(full_url(given))


def _plain_url(url: str) -> str:
    """Returns the URL with a synchronous driver, which every env.py can use; see :mod:`~.probe`."""
    return full_url(parse_url(url))


def _env_py_broken(
    project: Project, url: str | None, probe: Probe, error: BaseException
) -> exceptions.OnlineMigrateError:
    """Returns the error for an exception of env.py: it has no URL, or its code is faulty."""
    env_py = _env_py(project)
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if probe.writes:
        reason = f"{reason} (after this statement, which was not sent: {shorten(probe.writes[-1])})"
    need = missing_need(error, str(project.config_file))
    if need is not None:
        return exceptions.ScriptBroken(path=str(env_py), reason=reason, hint=need)
    if url is None and configuration.url_in(project.config) is None:
        return exceptions.URLMissing(
            hint=f"{exceptions.URLMissing.default_hint}\n     {env_py} sets no URL: {reason}"
        )
    return exceptions.ScriptBroken(path=str(env_py), reason=reason)
