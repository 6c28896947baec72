"""The settings, read once from alembic.ini, pyproject.toml and the environment."""

from __future__ import annotations

import configparser
import dataclasses
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from online_migrate import exceptions
from online_migrate.declared import option, options_of

if TYPE_CHECKING:
    from alembic.config import Config

SECTION = "online_migrate"
DATABASE_GROUP = "database"
"""The group of oslo.config that names the database, unless another one is given."""
URL_VARIABLE = "ONLINE_MIGRATE_URL"
_PLACEHOLDER = "driver://user:pass@localhost/dbname"
"""The URL in the templates of Alembic."""
POOLERS = ("session",)
"""The pool modes of a pooler that can be declared."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a project. Each field is a setting in ``[online_migrate]`` of alembic.ini; a field with
    a flag is also an option of a command: of ``migrate``, and then a keyword of
    :class:`~online_migrate.migrate.options.MigrateOptions`, or of the commands that change the schema.

    Durations are in seconds. A field that is None was not set. Raises
    :class:`~online_migrate.exceptions.ConfigBroken` for a value out of its range.
    """

    lock_timeout: float = option(
        0.5,
        "Longest wait of a DDL statement in the lock queue. Statements queued behind it wait as long.",
        above=0,
    )
    lock_attempts: int = option(20, "Attempts of a revision to acquire its locks.", least=1)
    kill_blockers: float | None = option(
        None,
        "End sessions that have held a lock, for which a schema change waits, for longer than this. Spared: "
        "replication, dumps, administrators.",
        above=0,
        flag="--kill-blockers",
        commands="schema",
        metavar="AFTER",
        duration=True,
        unset="never",
    )
    ddl_tool: str | None = option(
        None,
        "Tool that executes, on a copy of the table, an ALTER TABLE of MySQL or MariaDB that would block "
        "writers.",
        choices=("pt-online-schema-change", "gh-ost"),
        flag="--ddl-tool",
        commands="schema",
        metavar="TOOL",
        unset="such a statement is refused",
    )
    look_timeout: float = option(
        10.0, "Seconds that the verification under the lock may take before contract is refused.", above=0
    )
    soak_time: float = option(
        86400.0,
        "Seconds that columns and tables stay, renamed, after contract --soak, before contract drops them.",
        least=0,
    )
    session_timeout: float = option(
        60.0, "Seconds after which the server releases the locks of an unreachable client.", above=0
    )
    gate_timeout: float = option(
        600.0,
        "Seconds that the gate may take to count the rows of one data migration, without a lock.",
        above=0,
    )
    lease: float = option(
        30.0, "Seconds without a heartbeat after which another worker takes over a worker's rows.", above=0
    )
    pooler: str | None = option(
        None,
        "Pool mode of a pooler in front of PostgreSQL. session: one server session for each client.",
        choices=POOLERS,
    )
    data_location: str | None = option(None, "Folder of the data migrations.", unset="data, next to env.py")
    env_unguarded: str = option(
        "no",
        "yes: env.py must not be changed, so it need not call guard().",
        choices=("yes", "no"),
    )
    env_setup: str | None = option(
        None,
        "Functions that are called once before scripts are read, each as MODULE:FUNCTION, separated by "
        "commas: what the application does before it runs Alembic.",
    )
    env_attributes: str | None = option(
        None,
        "Attributes of Alembic's configuration that env.py reads, separated by commas: NAME=MODULE:OBJECT; "
        "connection: a connection to the database.",
    )
    oslo_option: str | None = option(
        None,
        "Option of oslo.config, as GROUP.OPTION, that has the database URL while env.py and scripts run.",
    )
    history: str | None = option(
        None,
        "Last revisions of the history, separated by commas. They and their ancestors are the base, on both "
        "branches.",
    )
    requires: tuple[tuple[str, str], ...] | None = option(
        None,
        "requires.REVISION: data migrations that this contract script requires, separated by commas, or "
        "none. requires.*: those of every other contract script without requires.",
        unset="written in the script",
    )
    additive: tuple[tuple[str, str], ...] | None = option(
        None,
        "additive.REVISION: what this expand script may execute although it is not additive, each on a line "
        "with its reason: operation: reason.",
        unset="written in the script",
    )
    lag_ignore: str | None = option(
        None, "Application names of streaming replicas whose lag is ignored, separated by commas."
    )
    max_history: float | None = option(
        None,
        "Pause while the InnoDB history list is longer than this. 0: no limit.",
        least=0,
        unset="1,000,000, if this user may read it",
    )
    throttle_with: str | None = option(
        None,
        "Pause while this function returns True or a text, which is the reason.",
        metavar="MODULE:FUNCTION",
    )
    services: str | None = option(
        None,
        "Services of which a live process must report before contract, separated by commas. *: none has to, "
        "but the services count as checked.",
        unset="services that report are checked, and none has to",
    )
    ignore_stale_after: float | None = option(
        None,
        "Seconds of silence after which a service that has not stopped cleanly no longer keeps a revision "
        "from being contracted.",
        above=0,
        unset="never; online-migrate services prune --stale",
    )
    squashed: str | None = option(
        None,
        "Contract revisions that were folded into another revision, each as OLD:NEW, separated by commas.",
    )
    services_from: str | None = option(
        None,
        "Where services report beside the registry: cinder or nova (their tables services), or a function.",
        metavar="MODULE:FUNCTION",
        unset="only the registry",
    )
    survived_by: str | None = option(
        None,
        "Least version of a service that survives a contract revision, each as REVISION:SERVICE=VERSION or "
        "REVISION:SERVICE:NAME=VERSION, separated by commas.",
    )
    nova_api_database: str | None = option(
        None,
        "URL of Nova's API database, which names the cells, for services_from = nova.",
        unset="the database of the command",
        secret=True,
    )
    nova_database: str | None = option(
        None,
        "URL that Nova has as [database] connection, for templates in the URLs of cells.",
        secret=True,
    )
    lint_ignore: str | None = option(
        None, "Rules that lint ignores, each on a line with its reason: rule-id: reason."
    )
    lint_enable: str | None = option(
        None, "Rules that lint runs beside those that are on by default, separated by commas."
    )
    workers: int = option(
        1, "Number of parallel workers, each on its own connection.", least=1, flag="--workers"
    )
    nice: float | None = option(
        None, "Seconds of sleep for each second of work.", least=0, flag="--nice", unset="set by --pace"
    )
    max_lag: float | None = option(
        None,
        "Pause while a replica is more than this many seconds behind. 0: no limit.",
        least=0,
        flag="--max-lag",
        unset="10, if this user may read it",
    )
    replicas: str | None = option(
        None,
        "URL of a replica to monitor. Streaming replicas of PostgreSQL are found without it. In a settings "
        "file: several URLs, separated by spaces.",
        flag="--replica",
        metavar="URL",
        multiple=True,
        secret=True,
    )
    max_load: str | None = option(
        None,
        "Pause while a status counter is above its limit, such as Threads_running=50 or active_backends=20.",
        flag="--max-load",
        metavar="NAME=LIMIT,...",
    )
    critical_load: str | None = option(
        None,
        "Stop when a status counter is above its limit.",
        flag="--critical-load",
        metavar="NAME=LIMIT,...",
    )
    throttle_file: str | None = option(
        None, "Pause while this file exists.", flag="--throttle-file", metavar="PATH", path=True
    )
    throttle_query: str | None = option(
        None, "Pause while the first value of this query is above 0.", flag="--throttle-query", metavar="SQL"
    )
    if_unreadable: str = option(
        "wait",
        "Action while a throttler cannot be read: wait, or go (continue).",
        choices=("wait", "go"),
        flag="--if-unreadable",
    )
    pace: str = option(
        "default",
        "Share of the time in which the workers run.",
        choices=("gentle", "default", "full"),
        flag="--pace",
    )
    batch_size: int | None = option(
        None,
        "Fixed number of rows in each chunk.",
        least=1,
        flag="--batch-size",
        unset="adapted to the chunk time",
    )
    chunk_time: float | None = option(
        None,
        "Target duration of a chunk.",
        above=0,
        flag="--chunk-time",
        duration=True,
        unset="set by --pace",
    )
    max_failures: int = option(
        100, "Number of rows that may fail before a data migration stops.", least=0, flag="--max-failures"
    )

    def __post_init__(self) -> None:
        for name, declared in options_of(Settings).items():
            problem = declared.problem_with(getattr(self, name))
            if problem is not None:
                raise settings_broken(f"{name} {problem}")

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, origin: str) -> Settings:
        """Returns the settings in *values*, which are strings or TOML values.

        *origin*: the file, for error messages. Raises :class:`~online_migrate.exceptions.ConfigBroken` for an
        unknown name or a value that is not a number.
        """
        declared = options_of(cls)
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            family, dot, key = name.partition(".")
            if dot and family in declared and declared[family].keyed:
                parsed[family] = (*(parsed.get(family) or ()), (key, str(value)))
                continue
            if name not in declared or declared[name].keyed:
                known = ", ".join(sorted(declared))
                raise exceptions.ConfigBroken(
                    path=origin, reason=f"[{SECTION}] has no setting {name!r}; its settings are {known}"
                )
            try:
                parsed[name] = declared[name].type(value)
            except (TypeError, ValueError):
                raise exceptions.ConfigBroken(
                    path=origin, reason=f"[{SECTION}] {name} = {value!r} is not a number"
                ) from None
        return cls(**parsed)


def settings_broken(reason: str, hint: str | None = None) -> exceptions.ConfigBroken:
    """Returns the error for a setting with a value that cannot be used, whichever file it is from."""
    return exceptions.ConfigBroken(path=f"[{SECTION}]", reason=reason, hint=hint)


def read_settings(config_file: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Returns the settings of the project whose alembic.ini or pyproject.toml is *config_file*.

    ``[online_migrate]`` of alembic.ini overrides ``[tool.online_migrate]`` of the pyproject.toml in the same
    folder; *overrides* override both.
    """
    values: dict[str, Any] = {}
    pyproject = config_file.parent / "pyproject.toml"
    if pyproject.is_file():
        try:
            tool = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
        except tomllib.TOMLDecodeError as error:
            raise exceptions.ConfigBroken(path=str(pyproject), reason=str(error)) from None
        values |= dict(_flat(tool.get(SECTION, {})))
    if config_file.suffix != ".toml":
        parser = read_ini(config_file)
        if parser.has_section(SECTION):
            defaults = parser.defaults()
            try:
                values |= {
                    name: parser.get(SECTION, name)
                    for name, value in parser.items(SECTION, raw=True)
                    if not (name in defaults and defaults[name] == value)
                }
            except configparser.InterpolationError as error:
                raise exceptions.ConfigBroken(path=str(config_file), reason=str(error)) from None
    return Settings.parse(values | dict(overrides or {}), origin=str(config_file))


def _flat(section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the settings of a TOML section; a table ``[requires]`` has a setting for each of its keys."""
    for name, value in section.items():
        family = name.partition(".")[0].replace("-", "_")
        if isinstance(value, Mapping):
            yield from ((f"{family}.{key}", one) for key, one in value.items())
        else:
            yield f"{family}{name[len(family) :]}", value


def read_ini(path: Path) -> configparser.ConfigParser:
    """Reads an alembic.ini; ``%(here)s`` is replaced as in Alembic.

    Raises :class:`~online_migrate.exceptions.ConfigMissing` or
    :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    if not path.is_file():
        raise exceptions.ConfigMissing(path=str(path))
    parser = configparser.ConfigParser({"here": str(path.absolute().parent)})
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise exceptions.ConfigBroken(path=str(path), reason=str(error).replace("\n", " ")) from None
    return parser


def find_url(*, given: str | None, from_ini: str | None) -> str:
    """Returns the database URL: the one *given*, then ``ONLINE_MIGRATE_URL``, then that of alembic.ini.

    Raises :class:`~online_migrate.exceptions.URLMissing` if none of them is set.
    """
    url = given or os.environ.get(URL_VARIABLE) or from_ini
    if not url or url == _PLACEHOLDER:
        raise exceptions.URLMissing()
    return url


def url_in(config: Config) -> str | None:
    """Returns sqlalchemy.url of alembic.ini; None if it is missing, or if env.py must fill in parts of it."""
    try:
        url = config.get_main_option("sqlalchemy.url")
    except configparser.InterpolationError:
        return None
    return None if not url or url == _PLACEHOLDER else url
