"""The command ``lint``: checks scripts and SQL files, with ``--url`` also for one database.

It needs no database, and does not run env.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from online_migrate import config as configuration
from online_migrate import exceptions
from online_migrate.context import CommandContext
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import create_engine, dialect_of, parse_url
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.lint import registry
from online_migrate.lint.catalog import Catalog
from online_migrate.lint.ignores import Ignores, ignores_in_settings
from online_migrate.lint.paths import sources_of
from online_migrate.lint.rule import Rule
from online_migrate.lint.runner import run
from online_migrate.lint.violation import Report
from online_migrate.phases.known import Server

PRODUCTS = ("postgresql", "mysql", "mariadb", "sqlite")


def lint(
    context: CommandContext,
    paths: Sequence[Path] = (),
    *,
    dialects: Sequence[str] = (),
    since: str | None = None,
    only: Collection[str] = (),
    enable: Collection[str] = (),
    processes: int = 1,
) -> Report:
    """Checks *paths*, or without them the project of the context.

    *paths*: SQL files, folders, other projects, or scripts of the project. *dialects*: the servers; default:
    that of the URL if one is set, else all. *since*: reports only the revisions that are not ancestors of
    this one. *only*: the ids of the rules to run; *enable*: ids of rules to run beside those that are on by
    default. *processes*: the number of processes that check the servers; more than one only if the caller has
    no other threads. With a URL in the context the database is read, and the findings on scripts that are not
    applied to it have its facts. Raises a :class:`~online_migrate.exceptions.UsageError` for a bad path, an
    unknown rule, and a project that cannot be loaded.
    """
    settings = _settings(context)
    rules = registry.selected(only=only, enable=[*enable, *_names(settings.lint_enable)])
    known = registry.all_rules()
    ignores = Ignores(
        ignores_in_settings(settings.lint_ignore, context.config_file),
        known=known,
        ran=[rule.id for rule in rules],
    )
    sources = sources_of(paths, context.config_file, since=since)
    with _catalog(context, settings) as catalog:
        servers = [Server(product) for product in dialects or _default_dialects(context, catalog)]
        return run(sources, servers, rules, ignores, catalog, processes=processes)


def lint_rules() -> Mapping[str, Rule]:
    """Returns every rule by its id."""
    return registry.all_rules()


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").replace(",", " ").split() if name]


def _settings(context: CommandContext) -> configuration.Settings:
    """Returns the settings of the project; those without a project, if SQL files are checked."""
    try:
        return configuration.read_settings(context.config_file)
    except exceptions.ConfigMissing:
        return configuration.Settings()


@contextlib.contextmanager
def _catalog(context: CommandContext, settings: configuration.Settings) -> Iterator[Catalog | None]:
    """Yields the catalog of the database of ``--url``; None without the option.

    None, and a line for the user, also if the database cannot be read: the scripts are checked without it.
    """
    if context.given_url is None:
        yield None
        return
    parse_url(context.given_url)  # an error in the URL is raised
    with contextlib.ExitStack() as stack:
        try:
            engine = create_engine(context.given_url, pooler=settings.pooler)
            stack.callback(engine.dispose)
            connection = stack.enter_context(private_connection(engine))
            dialect_of(connection).read_only(connection)
            catalog = Catalog(connection)
        except (exceptions.OnlineMigrateError, *DATABASE_ERRORS) as error:
            context.echo(f"lint: the database was not read: {error_message(error)}")
            stack.close()
            yield None
            return
        yield catalog


def _default_dialects(context: CommandContext, catalog: Catalog | None) -> Sequence[str]:
    """Returns the server of the URL that is set, by option, environment or alembic.ini; without one, all."""
    if catalog is not None:
        return (catalog.server.product,)
    named = context.database_source.database
    url = None if named is None else named.url
    if url is None and context.config_file.is_file():
        url = configuration.url_in(context.project.config)
    if url is None:
        return PRODUCTS
    name = parse_url(url).get_backend_name()
    return (name,) if name in PRODUCTS else PRODUCTS
