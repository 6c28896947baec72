"""The command ``lint``: checks scripts and SQL files. Needs no database, and does not run env.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from online_migrate import config as configuration
from online_migrate import exceptions
from online_migrate.context import CommandContext
from online_migrate.dialects import parse_url
from online_migrate.lint import registry
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
) -> Report:
    """Checks *paths*, or without them the project of the context.

    *paths*: SQL files, folders, other projects, or scripts of the project. *dialects*: the servers; default:
    that of the URL if one is set, else all. *since*: reports only the revisions that are not ancestors of
    this one. *only*: the ids of the rules to run; *enable*: ids of rules to run beside those that are on by
    default. Raises a :class:`~online_migrate.exceptions.UsageError` for a bad path, an unknown rule, and a
    project that cannot be loaded.
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
    servers = [Server(product) for product in dialects or _default_dialects(context)]
    return run(sources, servers, rules, ignores)


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


def _default_dialects(context: CommandContext) -> Sequence[str]:
    """Returns the server of the URL that is set, by option, environment or alembic.ini; without one, all."""
    url = configuration.explicit_url(given=context.given_url, config_files=context.oslo_config_files)
    if url is None and context.config_file.is_file():
        url = configuration.url_in(context.project.config)
    if url is None:
        return PRODUCTS
    name = parse_url(url).get_backend_name()
    return (name,) if name in PRODUCTS else PRODUCTS
