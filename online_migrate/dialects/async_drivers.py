"""The asynchronous drivers of an application, and the synchronous ones that take their place.

online-migrate connects synchronously. A URL of an asynchronous driver is rewritten for the synchronous
driver that is installed. Arguments of the URL are translated by allow-lists: what both drivers know is
kept, what only tunes the asynchronous driver is left out, and anything else is refused by its name.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping

import sqlalchemy as sa

from online_migrate import exceptions

_LIBPQ = frozenset(
    {"host", "hostaddr", "port", "dbname", "user", "password", "passfile", "channel_binding", "options"}
    | {"connect_timeout", "client_encoding", "application_name", "fallback_application_name", "gsslib"}
    | {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    | {"sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir", "sslsni"}
    | {"sslcompression", "ssl_min_protocol_version", "ssl_max_protocol_version", "requirepeer"}
    | {"gssencmode", "krbsrvname", "service", "target_session_attrs", "load_balance_hosts"}
)
_MYSQL = frozenset(
    {"charset", "use_unicode", "connect_timeout", "read_timeout", "write_timeout", "unix_socket"}
    | {"init_command", "sql_mode", "read_default_file", "read_default_group", "local_infile", "client_flag"}
    | {"ssl_ca", "ssl_cert", "ssl_key", "ssl_capath", "ssl_cipher", "ssl_check_hostname", "program_name"}
)
_SQLITE = frozenset(
    {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements", "uri"}
    | {"mode", "cache", "immutable", "nolock", "vfs", "psow", "modeof"}
)


@dataclasses.dataclass(frozen=True)
class AsyncDriver:
    """What is known of one asynchronous driver."""

    module: str
    """What is imported to use it."""
    shared: frozenset[str]
    """Arguments that the synchronous driver understands as well."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Arguments that the synchronous driver calls otherwise."""
    tuning: frozenset[str] = frozenset()
    """Arguments about caches, logs and time-outs of the application, without a meaning for us."""


_DRIVERS: dict[str, dict[str, AsyncDriver]] = {
    "postgresql": {
        "asyncpg": AsyncDriver(
            "asyncpg",
            _LIBPQ,
            {"ssl": "sslmode", "timeout": "connect_timeout"},
            frozenset(
                {"prepared_statement_cache_size", "statement_cache_size", "max_cached_statement_lifetime"}
                | {"max_cacheable_statement_size", "command_timeout", "async_fallback"}
            ),
        ),
        "psycopg_async": AsyncDriver("psycopg", _LIBPQ),
    },
    "mysql": {
        "asyncmy": AsyncDriver("asyncmy", _MYSQL, tuning=frozenset({"echo", "async_fallback"})),
        "aiomysql": AsyncDriver("aiomysql", _MYSQL, tuning=frozenset({"echo", "async_fallback"})),
    },
    "sqlite": {
        "aiosqlite": AsyncDriver(
            "aiosqlite", _SQLITE, tuning=frozenset({"iter_chunk_size", "async_fallback"})
        ),
    },
}
_SYNCHRONOUS: dict[str, tuple[tuple[str, str], ...]] = {
    "postgresql": (("psycopg2", "psycopg2"), ("psycopg", "psycopg")),
    "mysql": (("pymysql", "pymysql"), ("mysqldb", "MySQLdb")),
    "sqlite": (("", "sqlite3"),),
}
_PSYCOPG = "psycopg"
"""The driver that is both: SQLAlchemy takes its asynchronous half where an asynchronous engine is made."""


def is_async(url: sa.URL) -> bool:
    """True if SQLAlchemy knows the driver of *url* as an asynchronous one."""
    backend, _, driver = url.drivername.partition("+")
    return driver in _DRIVERS.get(backend, {})


def synchronous(url: sa.URL) -> sa.URL:
    """*url* for the synchronous driver that is installed; a URL of a synchronous driver stays as it is.

    Raises :class:`~online_migrate.exceptions.BadURL` for an argument that has no synchronous equivalent,
    and :class:`~online_migrate.exceptions.DriverMissing` if no synchronous driver is installed.
    """
    if not is_async(url):
        return url
    backend, _, driver = url.drivername.partition("+")
    known = _DRIVERS[backend][driver]
    replacement = _installed(backend, prefer=_PSYCOPG if known.module == _PSYCOPG else "")
    query = {}
    for name, value in url.query.items():
        if name in known.tuning:
            continue
        if name not in known.renamed and name not in known.shared:
            raise exceptions.BadURL(
                reason=f"argument {name!r} is for {driver} only; online-migrate connects by "
                f"{replacement or 'sqlite3'} instead, which has no such argument",
                hint=f"leave {name} out of the URL for online-migrate: --url, or ONLINE_MIGRATE_URL",
            )
        query[known.renamed.get(name, name)] = value
    return url.set(drivername=f"{backend}+{replacement}" if replacement else backend, query=query)


def _installed(backend: str, *, prefer: str) -> str:
    choices = sorted(_SYNCHRONOUS[backend], key=lambda choice: choice[0] != prefer)
    for driver, module in choices:
        if importlib.util.find_spec(module) is not None:
            return driver
    raise exceptions.DriverMissing(module=choices[0][1], extra=backend)


def _is_installed(url: sa.URL) -> bool:
    backend, _, driver = url.drivername.partition("+")
    return importlib.util.find_spec(_DRIVERS[backend][driver].module) is not None


def asynchronous(url: sa.URL, given: sa.URL | None) -> sa.URL:
    """*url* for an asynchronous engine: that of *given*, if it is asynchronous, or one that is installed.

    It is what env.py gets to see of a database, so arguments that the driver does not know are left out.
    """
    backend, _, driver = url.drivername.partition("+")
    if is_async(url) or driver == _PSYCOPG or backend not in _DRIVERS:
        return url
    if given is not None and is_async(given) and _is_installed(given):
        return given
    for name, known in _DRIVERS[backend].items():
        if importlib.util.find_spec(known.module) is not None:
            return url.set(drivername=f"{backend}+{name}", query=_translated(url, name, known))
    return url


def _translated(url: sa.URL, driver: str, known: AsyncDriver) -> dict[str, str | tuple[str, ...]]:
    if driver != "asyncpg":
        return {name: value for name, value in url.query.items() if name in known.shared}
    asyncpg = {"sslmode": "ssl", "host": "host", "port": "port", "passfile": "passfile"}
    return {asyncpg[name]: value for name, value in url.query.items() if name in asyncpg}
