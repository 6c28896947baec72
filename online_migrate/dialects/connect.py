"""From a URL to an engine and to the dialect that knows its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from online_migrate import exceptions
from online_migrate.dialects import mariadb, mysql, postgresql, sqlite  # noqa: F401 - they register themselves
from online_migrate.dialects.async_drivers import synchronous
from online_migrate.dialects.base import Dialect, registry

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
    """The URL as SQLAlchemy reads it, ``mariadb://`` spelled as ``mysql://``.

    The driver is a synchronous one, whichever of the two kinds was given.
    Raises :class:`~online_migrate.exceptions.BadURL`, or
    :class:`~online_migrate.exceptions.UnsupportedServer`; neither shows the text, which may hold a
    password.
    """
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise exceptions.BadURL(reason="it has not the form dialect+driver://...") from None
    backend, _, driver = parsed.drivername.partition("+")
    if backend == "postgres":
        backend = "postgresql"
    if backend == "mariadb":
        backend = "mysql"
    if backend not in registry:
        raise exceptions.UnsupportedServer(dialect=backend)
    if backend == "mysql" and not driver:
        driver = "pymysql"
    if backend == "postgresql" and not driver:
        driver = "psycopg2"
    return synchronous(parsed.set(drivername=f"{backend}+{driver}" if driver else backend))


def safe_url(url: str | sa.URL) -> str:
    """The URL for a person to read: without its password, and without the query, which may hold one."""
    try:
        parsed = sa.make_url(url)
        return parsed.set(query={}).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):
        return "(a URL that cannot be parsed)"


def create_engine(url: str) -> Engine:
    """An engine for *url*; connects to nothing.

    Raises the :class:`~online_migrate.exceptions.UsageError` that says what is wrong with the URL or
    which driver to install.
    """
    parsed = parse_url(url)
    dialect = registry[parsed.get_backend_name()]()
    try:
        return dialect.create_engine(parsed)
    except ModuleNotFoundError as error:
        module = error.name or "?"
        raise exceptions.DriverMissing(
            module=module, extra=_PACKAGES.get(module, dialect.extra or "postgresql")
        ) from None
    except exc.NoSuchModuleError:
        raise exceptions.BadURL(reason=f"SQLAlchemy knows no driver {parsed.drivername!r}") from None
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise exceptions.BadURL(reason=str(error)) from None


def dialect_of(bind: Engine | Connection) -> Dialect:
    """The dialect of the server behind *bind*; an engine must have connected once to tell MariaDB."""
    name = bind.dialect.name
    if getattr(bind.dialect, "is_mariadb", False):
        name = "mariadb"
    return registry[name]()
