"""Alembic's environment: what env.py calls, what it says, and the veto that plain Alembic meets.

The veto sits below the gate. Whoever runs steps, Alembic's own commands included, gets them from the
function that is wrapped here, and a contract step comes out of it only with a permit, which the contract
runner puts into the configuration after the gate has looked.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import context as alembic_context
from alembic import util
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import event

from online_migrate import config as configuration
from online_migrate import exceptions, state
from online_migrate.ddl.session import private_connection, server_down
from online_migrate.dialects import Dialect, create_engine, dialect_of, parse_url
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.dialects.statement import shorten
from online_migrate.revision.connection_settings import ConnectionWatch
from online_migrate.revision.graph import Graph, Phase, from_scripts
from online_migrate.revision.probe import Probe, observed, refuse_what_old_code_notices

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from online_migrate.revision.project import Project

_PROBE = "online_migrate_probe"
_PERMIT = "online_migrate_permit"

StepsFunction = Callable[[Any, Any], Iterable[Any]]

PATCH = """\
    import online_migrate
    online_migrate.guard()"""
"""The two lines that an existing env.py needs, anywhere before its ``context.configure(...)``."""


@dataclasses.dataclass(frozen=True)
class Environment:
    """What a project's env.py says to Alembic."""

    options: dict[str, Any]
    """The keyword arguments of its ``context.configure(...)``, but for the connection."""
    guarded: bool
    """True if it calls :func:`guard` (or :func:`run_environment`)."""
    url: str | None = None
    """The database that it connects to, password included; None: it leaves that to online-migrate."""
    writes: tuple[str, ...] = ()
    """The statements by which it changes the database whenever it is run; they were not sent."""

    @property
    def version_table(self) -> str:
        """The name of Alembic's version table."""
        return str(self.options.get("version_table") or "alembic_version")

    @property
    def version_schema(self) -> str | None:
        """The schema of Alembic's version table."""
        schema: str | None = self.options.get("version_table_schema")
        return schema


# --- what a user's env.py calls ------------------------------------------------------------------


def guard() -> None:
    """Makes plain Alembic commands meet the gate, and keeps our tables out of autogenerate.

    To be called in env.py before ``context.configure(...)``.
    """
    environment = _current_environment()
    probe: Probe | None = environment.config.attributes.get(_PROBE)
    if probe is not None:
        probe.guarded = True
        return
    options = environment.context_opts
    function: StepsFunction | None = options.get("fn")
    if function is not None:
        options["fn"] = vetoed(function, environment.config, environment.script)
    configure = environment.configure

    def guarded_configure(*arguments: Any, **keywords: Any) -> None:
        keywords["include_name"] = _without_our_tables(keywords.get("include_name"))
        configure(*arguments, **keywords)

    environment.configure = guarded_configure  # type: ignore[method-assign]


def run_environment(target_metadata: Any = None, **options: Any) -> None:
    """All that an env.py has to do, in one call.

    *target_metadata*: the application's ``MetaData``, for autogenerate. *options*: further arguments of
    Alembic's ``context.configure``. The URL is that of the command line, of ``ONLINE_MIGRATE_URL`` or of
    alembic.ini. Lock waits are bounded, and on SQLite foreign keys are off while tables are copied.
    """
    environment = _current_environment()
    guard()
    options = {"target_metadata": target_metadata, **options}
    if _PROBE in environment.config.attributes:
        environment.configure(**options)
        return
    url = configuration.find_url(
        given=None, config_files=(), from_ini=configuration.url_in(environment.config)
    )
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
    engine = create_engine(url)
    with private_connection(engine) as connection:
        dialect = dialect_of(connection)
        dialect.prepare_ddl_session(
            connection, lock_timeout=settings.lock_timeout, session_timeout=settings.session_timeout
        )
        environment.configure(
            connection=connection, **{"transactional_ddl": dialect.transactional_ddl, **options}
        )
        with dialect.writing(connection), environment.begin_transaction(), _watched(dialect, connection):
            environment.run_migrations()


@contextlib.contextmanager
def _watched(dialect: Dialect, connection: sa.Connection) -> Iterator[None]:
    """What a dialect does around revisions and their statements, where Alembic alone runs them."""

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
        raise _told_by_alembic(error) from error


def _told_by_alembic(error: exceptions.OnlineMigrateError) -> util.CommandError:
    """The error as Alembic's own command line shows it: one line without a traceback."""
    return util.CommandError(f"{error} {error.hint}".rstrip())


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


# --- the veto ------------------------------------------------------------------------------------


def vetoed(function: StepsFunction, config: Config, script: ScriptDirectory) -> StepsFunction:
    """*function*, with every step looked at before the first is run."""

    def checked(heads: Any, context: Any) -> Sequence[Any]:
        steps = list(function(heads, context))
        if steps:
            _refuse(steps, _graph_of(script), permitted(config), fresh=not heads and not context.as_sql)
        return steps

    return checked


def _graph_of(script: ScriptDirectory) -> Graph:
    try:
        return from_scripts(list(script.walk_revisions()))
    except exceptions.UsageError as error:
        raise _told_by_alembic(error) from error


def _refuse(steps: Sequence[Any], graph: Graph, permit: frozenset[str], *, fresh: bool) -> None:
    touched = {revision for step in steps for revision in _revisions_of(step) if revision in graph}
    contracts = [r for r in graph.order(touched) if graph.phase(r) is Phase.CONTRACT and r not in permit]
    if not contracts:
        return
    hint = "online-migrate contract"
    if any(step.is_downgrade for step in steps):
        hint = "a contract is not undone by a downgrade: write a new expand revision, or restore a backup"
    elif any(step.info.is_stamp for step in steps):
        hint = f"online-migrate stamp {' '.join(contracts[-1:])}"
    elif fresh:
        hint = "online-migrate upgrade   (takes a fresh database the whole way)"
    elif len(contracts) < len(touched):
        hint = "online-migrate expand, then migrate, then contract"
    raise VetoError(contracts, hint)


def _revisions_of(step: Any) -> Iterable[str]:
    info = step.info
    return info.up_revision_ids if not info.is_stamp else (*info.up_revision_ids, *info.down_revision_ids)


class VetoError(util.CommandError, exceptions.ContractNotPermitted):
    """Not without the gate, because it is destructive: contract revision {revisions}."""

    # Also a CommandError, which Alembic's own command line shows as one line without a traceback.

    def __init__(self, revisions: Sequence[str], hint: str) -> None:
        exceptions.ContractNotPermitted.__init__(self, revisions=", ".join(revisions), hint=hint)
        self.args = (f"{self.args[0]} Use: {hint}",)


def permitted(config: Config) -> frozenset[str]:
    """The contract revisions for which the gate has given a permit."""
    permit: frozenset[str] = config.attributes.get(_PERMIT, frozenset())
    return permit


@contextlib.contextmanager
def permit(config: Config, revisions: Iterable[str]) -> Iterator[None]:
    """Inside the block these contract revisions may be applied: the gate has looked."""
    before = permitted(config)
    config.attributes[_PERMIT] = before | frozenset(revisions)
    try:
        yield
    finally:
        config.attributes[_PERMIT] = before


# --- what env.py says ----------------------------------------------------------------------------


def read_environment(project: Project, url: str | None) -> Environment:
    """Runs the project's env.py without letting it do anything, to learn what it configures.

    *url*: the database that was asked for; None: env.py is to say which one it is.
    Raises :class:`~online_migrate.exceptions.GuardMissing` if plain Alembic would walk around the gate.
    """
    probe = _probe(project, url, may_write=False)
    if not probe.guarded:
        raise exceptions.GuardMissing(
            path=str(_env_py(project)),
            hint=f"add these two lines before its context.configure(...):\n{PATCH}",
        )
    unwanted = {"connection", "url", "dialect_name", "dialect_opts", "as_sql", "literal_binds"}
    return Environment(
        options={name: value for name, value in probe.options.items() if name not in unwanted},
        guarded=probe.guarded,
        url=probe.url,
        writes=tuple(probe.writes),
    )


def run_writes(project: Project, url: str | None, environment: Environment) -> None:
    """Runs env.py once more, and lets it create what it wants to be there.

    Raises :class:`~online_migrate.exceptions.EnvironmentWrites`, before anything is sent, if it would do
    more than that.
    """
    if environment.writes:
        refuse_what_old_code_notices(_env_py(project), list(environment.writes))
        _probe(project, url, may_write=True)


def _env_py(project: Project) -> Path:
    env_py = project.migrations_dir / "env.py"
    if not env_py.is_file():
        raise exceptions.ConfigBroken(
            path=str(env_py), reason="there is no such file", hint="online-migrate init"
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
        ):
            environment.configure = capture  # type: ignore[method-assign, assignment]
            watch.attach(environment)
            environment.begin_transaction = contextlib.nullcontext  # type: ignore[method-assign]
            environment.is_offline_mode = lambda: False  # type: ignore[method-assign]
            project.script.run_env()
    except exceptions.OnlineMigrateError:
        raise
    except (*ServerFault, ConnectionError) as error:
        if given is None:
            raise exceptions.ServerDown(url="the database of env.py", reason=words_of(error)) from error
        raise server_down(given, error) from error
    except (Exception, SystemExit) as error:
        raise _env_py_broken(project, url, probe, error) from error
    finally:
        del config.attributes[_PROBE]
    return probe


def _handed_out(config: Config, url: str | None) -> sa.URL | None:
    """The URL that env.py is going to find in the configuration, as it was given, if it is there."""
    if url is None:
        url = configuration.url_in(config)
        if url is None:
            return None
    config.set_main_option("sqlalchemy.url", _plain_url(url).replace("%", "%%"))
    return sa.make_url(url)


def _plain_url(url: str) -> str:
    """The URL of a synchronous driver, which every env.py can use: see :mod:`~.probe`."""
    return parse_url(url).render_as_string(hide_password=False)


def _env_py_broken(
    project: Project, url: str | None, probe: Probe, error: BaseException
) -> exceptions.OnlineMigrateError:
    """The error for what env.py raised: it finds no database, or it has a fault of its own."""
    env_py = _env_py(project)
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if probe.writes:
        reason = f"{reason} (after this, which was not sent: {shorten(probe.writes[-1])})"
    if url is None and configuration.url_in(project.config) is None:
        return exceptions.URLMissing(
            hint=f"{exceptions.URLMissing.default_hint}\n     {env_py} finds none: {reason}"
        )
    return exceptions.ScriptBroken(path=str(env_py), reason=reason)
