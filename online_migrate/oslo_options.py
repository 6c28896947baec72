"""oslo.config: the options of a database group, and the engine's settings under ``[online_migrate]``.

Each option of oslo.db has an entry in one of three tables: it is used, it is refused if it is set, or it does
not concern the engine and is named if it is set. A configuration of an application is only read: no option is
registered in it unless the application calls :func:`register_opts`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import options as oslo_db
from sqlalchemy import exc

from online_migrate import exceptions
from online_migrate.config import DATABASE_GROUP, SECTION, Settings
from online_migrate.declared import Option, options_of
from online_migrate.engine_options import EngineOptions, OsloDatabase

_POOL = ("connection_recycle_time", "max_overflow", "max_pool_size", "pool_timeout")
_USED = frozenset(
    {
        "connection",
        "connection_debug",
        "connection_parameters",
        "max_retries",
        "mysql_sql_mode",
        "mysql_wsrep_sync_wait",
        "retry_interval",
        "sqlite_synchronous",
        *_POOL,
    }
)
_REFUSED: Mapping[str, tuple[Any, str]] = {
    "backend": ("sqlalchemy", "online-migrate connects by SQLAlchemy"),
    "connection_trace": (
        False,
        "it would change the text of each statement, by which a half-applied revision is continued",
    ),
}
"""The options of which only one value is accepted: that value, and why another one is refused."""
_CALLS = "it repeats calls of the application's database API; online-migrate repeats transactions by itself"
_UNUSED: Mapping[str, str] = {
    "slave_connection": "every row is read and written by connection; to wait for a replica: --replica URL",
    "synchronous_reader": "it selects between connection and slave_connection",
    "asyncio_connection": "online-migrate connects by connection",
    "asyncio_slave_connection": "online-migrate connects by connection",
    "use_db_reconnect": _CALLS,
    "db_retry_interval": _CALLS,
    "db_inc_retry_interval": _CALLS,
    "db_max_retry_interval": _CALLS,
    "db_max_retries": _CALLS,
}
"""The options without any effect on the engine, with the reason that is shown if one is set."""
KNOWN = _USED | set(_REFUSED) | set(_UNUSED)
"""Every option of oslo.db that has an entry in one of the three tables."""


def read_files(files: Sequence[str], directories: Sequence[str] = ()) -> cfg.ConfigOpts:
    """Returns the configuration in *files* and in the ``*.conf`` of *directories*, as oslo.config reads it.

    Raises :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    conf = cfg.ConfigOpts()
    try:
        # A directory that is an argument must exist, unlike a default one.
        arguments = [part for directory in directories for part in ("--config-dir", directory)]
        conf(args=arguments, project="online-migrate", default_config_files=list(files))
    except (cfg.Error, OSError) as error:
        raise exceptions.ConfigBroken(path=", ".join([*files, *directories]), reason=str(error)) from None
    return conf


def read_database(conf: cfg.ConfigOpts, group: str = DATABASE_GROUP) -> OsloDatabase:
    """Returns the database that *group* of *conf* names.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` if it names none, or for an option whose value
    cannot be used.
    """
    values = _GroupValues.of(conf, group, oslo_db.database_opts, key="connection")
    url = values["connection"]
    if not url:
        raise exceptions.ConfigBroken(path=values.path, reason=f"section [{group}] has no connection")
    for name, (accepted, reason) in _REFUSED.items():
        if values[name] not in (None, accepted):
            raise exceptions.ConfigBroken(
                path=values.path,
                reason=f"[{group}] {name} = {values[name]} is not supported: {reason}",
                hint=f"set it to {accepted}, for this command by a further --config-file",
            )
    parameters = values["connection_parameters"]
    return OsloDatabase(
        url=_with_parameters(url, parameters) if parameters else url,
        options=_engine_options(values),
        unused=tuple(
            f"[{group}] {name} has no effect: {reason}"
            for name, reason in _UNUSED.items()
            if values.is_set(name)
        ),
    )


def _engine_options(values: _GroupValues) -> EngineOptions:
    debug = values["connection_debug"] or 0
    return EngineOptions(
        # oslo.db's default repeats for 100 s, for a service that starts before its database.
        retries=values["max_retries"] if values.is_set("max_retries") else 0,
        retry_interval=values["retry_interval"] or 0.0,
        mysql_sql_mode=values["mysql_sql_mode"],
        mysql_wsrep_sync_wait=values["mysql_wsrep_sync_wait"],
        pool={name: values[name] for name in _POOL if values[name] is not None},
        sqlite_synchronous=values["sqlite_synchronous"] is not False,
        # The levels of oslo.db.
        statements_logged=debug >= 50,
        results_logged=debug == 100,
    )


def _with_parameters(url: str, parameters: str) -> str:
    """Returns *url* with ``connection_parameters`` appended, as in oslo.db."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        # The caller that parses the URL refuses it, without printing it.
        return url
    return parsed.update_query_string(parameters, append=True).render_as_string(hide_password=False)


# --- the engine's own settings -------------------------------------------------------------------


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Returns the engine's settings for ``oslo-config-generator`` (entry point ``oslo.config.opts``)."""
    group = cfg.OptGroup(SECTION, title="online-migrate", help="Online schema migrations.")
    return [(group, [_opt(name, one) for name, one in _declared().items()])]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Registers the engine's settings under ``[online_migrate]`` in an application's configuration."""
    for group, opts in list_opts():
        conf.register_group(group)
        conf.register_opts(opts, group)


def read_settings(conf: cfg.ConfigOpts) -> dict[str, Any]:
    """Returns the settings in ``[online_migrate]`` of *conf*, without those that are not set.

    Raises :class:`~online_migrate.exceptions.ConfigBroken`, also for a name in its files that is no setting.
    """
    for file in _files(conf):
        _check_names(file)
    [(_, opts)] = list_opts()
    values = _GroupValues.of(conf, SECTION, opts, key=opts[0].dest)
    return {opt.dest: values[opt.dest] for opt in opts if values.is_set(opt.dest)}


def _declared() -> Mapping[str, Option]:
    """Returns the settings that oslo.config can have: each has one name."""
    return {name: one for name, one in options_of(Settings).items() if not one.keyed}


def _check_names(file: str) -> None:
    """Refuses a name under ``[online_migrate]`` that is no option: oslo.config ignores it."""
    sections: dict[str, dict[str, Any]] = {}
    try:
        cfg.ConfigParser(file, sections).parse()
    except OSError:
        return  # the program has read it, and it may be gone since
    except cfg.ParseError as error:
        raise exceptions.ConfigBroken(path=file, reason=str(error)) from None
    names = [name for group, values in sections.items() if group.lower() == SECTION for name in values]
    declared = options_of(Settings)
    for name in names:
        family = declared.get(name.partition(".")[0])
        if family is not None and family.keyed:
            reason = (
                f"[{SECTION}] {name}: it is written once for each revision, which oslo.config cannot read"
            )
            hint = "write it into alembic.ini or pyproject.toml"
            raise exceptions.ConfigBroken(path=file, reason=reason, hint=hint)
        if name not in declared:
            known = ", ".join(sorted(_declared()))
            reason = f"[{SECTION}] has no setting {name!r}; its settings are {known}"
            raise exceptions.ConfigBroken(path=file, reason=reason)


def _opt(name: str, declared: Option) -> cfg.Opt:
    more: dict[str, Any] = {}
    kind: type[cfg.Opt] = cfg.StrOpt
    if declared.type in (int, float):
        kind = cfg.IntOpt if declared.type is int else cfg.FloatOpt
        more["min"] = declared.least if declared.least is not None else declared.above
        if declared.type is int and more["min"] is not None:
            more["min"] = int(more["min"])
    elif declared.choices:
        more["choices"] = list(declared.choices)
    text = declared.help if not declared.unset else f"{declared.help} While it is not set: {declared.unset}."
    return kind(name, default=declared.default, help=text, secret=declared.secret, **more)


# --- reading -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _GroupValues:
    """The values of the options of one group."""

    conf: cfg.ConfigOpts
    group: str
    path: str
    """The files, for error messages."""

    @classmethod
    def of(cls, conf: cfg.ConfigOpts, group: str, opts: Sequence[cfg.Opt], *, key: str) -> _GroupValues:
        """Returns the values of *opts* in *group* of *conf*.

        If *conf* has not registered the option *key*, its files are read again, into another configuration.
        """
        files, directories = _sources(conf)
        path = ", ".join([*files, *directories]) or "the configuration"
        if group not in conf or key not in conf[group]:
            conf = read_files(files, directories)
            conf.register_opts(opts, group)
        return cls(conf, group, path)

    def __getitem__(self, name: str) -> Any:
        """Returns the value; None if the application has not registered the option."""
        try:
            return self.conf[self.group][name]
        except cfg.NoSuchOptError:
            return None
        except (cfg.Error, ValueError) as error:
            raise self._broken(error) from None

    def is_set(self, name: str) -> bool:
        """True if the value is not the option's default."""
        try:
            location = self.conf.get_location(name, self.group)
        except cfg.NoSuchOptError:
            return False
        except (cfg.Error, ValueError) as error:
            raise self._broken(error) from None
        return location is not None and location.location is not cfg.Locations.opt_default

    def _broken(self, error: Exception) -> exceptions.ConfigBroken:
        return exceptions.ConfigBroken(path=self.path, reason=" ".join(str(error).split()))


def _sources(conf: cfg.ConfigOpts) -> tuple[list[str], list[str]]:
    """Returns the files and the directories that *conf* has read; both are empty before it is called."""
    return list(getattr(conf, "config_file", None) or ()), list(getattr(conf, "config_dir", None) or ())


def _files(conf: cfg.ConfigOpts) -> list[str]:
    """Returns every file that *conf* has read."""
    files, directories = _sources(conf)
    found = [Path(file).expanduser() for file in files]
    for directory in directories:
        found += sorted(Path(directory).expanduser().glob("*.conf"))
    return [str(path) for path in found]
