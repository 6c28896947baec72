"""Creates an engine from a URL, and selects the dialect of its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from online_migrate import exceptions
from online_migrate.dialects.async_drivers import synchronous
from online_migrate.dialects.base import SERVERS, Dialect, dialect_named
from online_migrate.engine_options import EngineOptions
from online_migrate.observe.unlogged import drop_errors_of_engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_PACKAGES = {
    "psycopg2": "postgresql",
    "psycopg": "psycopg",
    "pymysql": "mysql",
    "MySQLdb": "mysqlclient",
    "cryptography": "mysql",
}


def parse_url(url: str) -> sa.URL:
    """Returns the URL as parsed by SQLAlchemy, with ``mariadb://`` changed to ``mysql://``.

    The driver of the result is synchronous, also if *url* names an asynchronous one.

    Raises :class:`~online_migrate.exceptions.BadURL` or
    :class:`~online_migrate.exceptions.UnsupportedServer`; neither message contains the text, which may hold
    a password. Raises :class:`~online_migrate.exceptions.DriverMissing` if *url* names an asynchronous
    driver and no synchronous one is installed.
    """
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise exceptions.BadURL(reason="its form is not dialect+driver://...") from None
    backend, _, driver = parsed.drivername.partition("+")
    if backend == "postgres":
        backend = "postgresql"
    if backend == "mariadb":
        backend = "mysql"
    if backend not in SERVERS:
        raise exceptions.UnsupportedServer(dialect=backend)
    if backend == "mysql" and not driver:
        driver = "pymysql"
    if backend == "postgresql" and not driver:
        driver = "psycopg2"
    return synchronous(parsed.set(drivername=f"{backend}+{driver}" if driver else backend))


def safe_url(url: str | sa.URL) -> str:
    """Returns the URL for output: without its password, and without its query, which may hold one."""
    try:
        parsed = sa.make_url(url)
        return parsed.set(query={}).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):
        return "(a URL that cannot be parsed)"


def full_url(url: str | sa.URL) -> str:
    """Returns the URL as text, with its password."""
    return url if isinstance(url, str) else url.render_as_string(hide_password=False)


def create_engine(url: str, *, pooler: str | None = None, options: EngineOptions | None = None) -> Engine:
    """Returns an engine for *url*; it is not connected.

    *pooler*: ``session`` declares that the pooler in front of the server keeps one session for each client.
    Without it the first connection through a pooler raises
    :class:`~online_migrate.exceptions.SharedSessions`; with it, only if two clients got the same session.
    *options*: what a configuration says about the connections.

    Raises a :class:`~online_migrate.exceptions.UsageError` that names the error in the URL, or the driver to
    install.
    """
    parsed = parse_url(url)
    dialect = dialect_named(parsed.get_backend_name())
    try:
        drop_errors_of_engine()
        engine = dialect.create_engine(parsed, options or EngineOptions())
    except ModuleNotFoundError as error:
        module = error.name or "?"
        raise exceptions.DriverMissing(
            module=module, extra=_PACKAGES.get(module, dialect.extra or "postgresql")
        ) from None
    except exc.NoSuchModuleError:
        raise exceptions.BadURL(reason=f"SQLAlchemy has no driver {parsed.drivername!r}") from None
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise exceptions.BadURL(reason=str(error)) from None
    dialect.refuse_shared_sessions(engine, sessions_declared=pooler == "session")
    return engine


def dialect_of(bind: Engine | Connection) -> Dialect:
    """Returns the dialect of the server of *bind*.

    An engine must have connected once: only then is MariaDB distinguished from MySQL.
    """
    name = bind.dialect.name
    if getattr(bind.dialect, "is_mariadb", False):
        name = "mariadb"
    return dialect_named(name)
