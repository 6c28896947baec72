"""Settings: frozen, read once from alembic.ini, pyproject.toml, the environment and oslo.config."""

from __future__ import annotations

import configparser
import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from online_migrate import exceptions

SECTION = "online_migrate"
URL_VARIABLE = "ONLINE_MIGRATE_URL"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the engine behaves; every field can be set in ``[online_migrate]`` of alembic.ini.

    Durations are in seconds. Raises :class:`~online_migrate.exceptions.ConfigBroken` for a value
    that is not of the field's type or out of its range.
    """

    lock_timeout: float = 0.5
    """How long a DDL statement may wait for a lock. Whoever comes after it waits as long."""
    lock_attempts: int = 20
    """How often a revision is tried when it does not get its locks."""
    look_timeout: float = 10.0
    """How long the last look at the rows may take, under the lock, before contract is refused."""
    session_timeout: float = 60.0
    """After how long the server frees our locks if this host vanishes."""
    gate_timeout: float = 600.0
    """How long the gate's first look, which locks nothing, may take for each data migration."""
    batch_size: int = 0
    """Rows in a chunk; 0: as many as take *chunk_time*."""
    pace: str = "default"
    """How much of the server's time is taken: gentle, default, full."""
    chunk_time: float = 0.0
    """How long a chunk should take, locks and all; 0: as long as the pace says."""
    nice: float = -1.0
    """At least so many seconds of rest for each second of work; below 0: as the pace says."""
    max_lag: float = -1.0
    """Seconds that a replica may be behind before no chunk is begun; 0: replicas are not watched;
    below 0: 10 s, where this user may see it."""
    replicas: str = ""
    """URLs of replicas to watch, with spaces between; those that stream from PostgreSQL are found without."""
    lag_ignore: str = ""
    """Application names, with commas, of streaming replicas that are late on purpose."""
    max_history: float = -1.0
    """Old transactions that InnoDB may keep before no chunk is begun; 0: not watched; below 0: 1,000,000,
    where this user may see it."""
    if_unreadable: str = "wait"
    """wait or go: what a throttler counts for that cannot be read."""
    max_load: str = ""
    """Counters of the server above which no chunk is begun: ``Threads_running=50,Threads_connected=500``."""
    critical_load: str = ""
    """The same; above them the run is ended."""
    throttle_file: str = ""
    """No chunk is begun while this file is there."""
    throttle_query: str = ""
    """No chunk is begun while the first value that this query gives is above 0."""
    throttle_with: str = ""
    """``module:function``: no chunk is begun while it gives True, or a text that says why."""
    workers: int = 1
    """How many chunks are moved at the same time, each on a connection of its own."""
    lease: float = 30.0
    """After how long without a sign of life others take over the rows that a worker holds."""
    max_failures: int = 100
    """How many rows may fail before a data migration is ended."""
    data_location: str = ""
    """Folder of the data migrations; default: ``data`` beside ``env.py``."""

    def __post_init__(self) -> None:
        for name in (
            "lock_timeout",
            "look_timeout",
            "session_timeout",
            "gate_timeout",
            "lease",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise exceptions.ConfigBroken(
                    path=f"[{SECTION}]", reason=f"{name} must be above 0, and finite: every wait has an end"
                )
        if not 0 <= self.chunk_time < math.inf or self.pace not in ("gentle", "default", "full"):
            raise exceptions.ConfigBroken(
                path=f"[{SECTION}]", reason="pace is gentle, default or full, and chunk_time at least 0"
            )
        if self.if_unreadable not in ("wait", "go") or not all(
            map(math.isfinite, (self.max_lag, self.max_history))
        ):
            raise exceptions.ConfigBroken(
                path=f"[{SECTION}]",
                reason="if_unreadable is wait or go, and max_lag and max_history are finite numbers",
            )
        for name, least in (("lock_attempts", 1), ("workers", 1), ("batch_size", 0), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise exceptions.ConfigBroken(path=f"[{SECTION}]", reason=f"{name} must be at least {least}")

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, origin: str) -> Settings:
        """Settings from strings (or TOML values); unknown names are errors, as typing errors are."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in fields:
                known = ", ".join(sorted(fields))
                raise exceptions.ConfigBroken(
                    path=origin, reason=f"[{SECTION}] has no setting {name!r}; it has {known}"
                )
            parsed[name] = _convert(fields[name], value, origin)
        return cls(**parsed)


def _convert(field: dataclasses.Field[Any], value: Any, origin: str) -> Any:
    convert = {"float": float, "int": int, "str": str}[str(field.type)]
    try:
        return convert(value)
    except (TypeError, ValueError):
        raise exceptions.ConfigBroken(
            path=origin, reason=f"[{SECTION}] {field.name} = {value!r} is not a number"
        ) from None


def read_settings(config_file: Path) -> Settings:
    """Settings of the project whose alembic.ini (or pyproject.toml) is *config_file*.

    ``[tool.online_migrate]`` of a pyproject.toml beside it comes first, ``[online_migrate]`` of
    alembic.ini overrides it.
    """
    values: dict[str, Any] = {}
    pyproject = config_file.parent / "pyproject.toml"
    if pyproject.is_file():
        try:
            tool = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
        except tomllib.TOMLDecodeError as error:
            raise exceptions.ConfigBroken(path=str(pyproject), reason=str(error)) from None
        values |= {name.replace("-", "_"): value for name, value in tool.get(SECTION, {}).items()}
    if config_file.suffix != ".toml":
        parser = read_ini(config_file)
        if parser.has_section(SECTION):
            defaults = parser.defaults()
            values |= {
                name: value
                for name, value in parser.items(SECTION)
                if not (name in defaults and defaults[name] == value)
            }
    return Settings.parse(values, origin=str(config_file))


def read_ini(path: Path) -> configparser.ConfigParser:
    """An alembic.ini, with ``%(here)s`` filled in as Alembic does.

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


def find_url(*, given: str | None, config_files: Sequence[str], from_ini: str | None) -> str:
    """The database URL: ``--url``, then ``ONLINE_MIGRATE_URL``, then oslo.config, then alembic.ini.

    Raises :class:`~online_migrate.exceptions.URLMissing` when none of them says it.
    """
    url = given or os.environ.get(URL_VARIABLE) or _oslo_url(config_files) or from_ini
    if not url or url == "driver://user:pass@localhost/dbname":
        raise exceptions.URLMissing()
    return url


def _oslo_url(config_files: Sequence[str]) -> str | None:
    if not config_files:
        return None
    from oslo_config import cfg
    from oslo_db import options

    conf = cfg.ConfigOpts()
    conf.register_opts(options.database_opts, "database")
    try:
        conf(args=[], project="online-migrate", default_config_files=list(config_files))
        url: str | None = conf.database.connection
        parameters: str | None = conf.database.connection_parameters
    except (cfg.Error, OSError) as error:
        raise exceptions.ConfigBroken(path=", ".join(config_files), reason=str(error)) from None
    if not url:
        raise exceptions.ConfigBroken(
            path=", ".join(config_files), reason="it has no connection in [database]"
        )
    return _with_parameters(url, parameters) if parameters else url


def _with_parameters(url: str, parameters: str) -> str:
    """*url* with oslo.db's ``connection_parameters``, as oslo.db itself appends them."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        # It is refused where it is used, without being shown.
        return url
    return parsed.update_query_string(parameters, append=True).render_as_string(hide_password=False)
