"""The objects of a test: a server, and its own database on it."""

from __future__ import annotations

import contextlib
import functools
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from tests.servers import tls
from tests.servers.catalog import CATALOG, Capability, Kind
from tests.servers.system import ServerError

_DROP_PATIENCE = 20.0

tls.share()


@dataclass(frozen=True)
class Server:
    """A running server: its URL, its version, its capabilities."""

    name: str
    url: str = field(repr=False)
    version: str
    product: str
    origin: str

    @property
    def kind(self) -> Kind:
        return CATALOG[self.name]

    def has(self, capability: Capability) -> bool:
        """Returns whether the server has the capability."""
        return self.kind.has(capability)

    @contextlib.contextmanager
    def fresh_database(self, folder: Path, label: str = "") -> Iterator[Database]:
        """Yields an empty database with a unique name (SQLite: a file in `folder`), dropped at the end."""
        slug = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:30]
        name = "_".join(part for part in ("om", slug, uuid.uuid4().hex[:8]) if part)
        database = Database(self, name, folder)
        database.create()
        try:
            yield database
        finally:
            database.drop()


@dataclass
class Database:
    """A database of one test."""

    server: Server
    name: str
    folder: Path = field(repr=False)

    @property
    def url(self) -> str:
        """The URL, password included."""
        return self._location().render_as_string(hide_password=False)

    @functools.cached_property
    def engine(self) -> Engine:
        """A plain SQLAlchemy engine, created at the first access and disposed of when the test ends."""
        return create_engine(self.url)

    def _location(self) -> URL:
        if self.server.product == "sqlite":
            return URL.create("sqlite", database=str(self.folder / f"{self.name}.sqlite"))
        return make_url(self.server.url).set(database=self.name)

    def create(self) -> None:
        """Creates the database, empty."""
        if self.server.product == "sqlite":
            return  # the first connection creates the file
        options = {"postgresql": "TEMPLATE template0", "mysql": "", "mariadb": ""}[self.server.product]
        with administration(self.server.url) as connection:
            connection.execute(text(f"CREATE DATABASE {self.name} {options}"))

    def drop(self) -> None:
        """Drops the database and ends its sessions."""
        if "engine" in self.__dict__:
            self.engine.dispose()
        if self.server.product == "sqlite":
            return  # the file is removed with its folder
        with administration(self.server.url) as connection:
            if self.server.product == "postgresql":
                connection.execute(text(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)"))
            else:
                _drop_by_force(connection, self.name)

    def clear(self) -> None:
        """Drops it, and creates it again, empty."""
        self.drop()
        if self.server.product == "sqlite":
            for file in self.folder.glob(f"{self.name}.sqlite*"):
                file.unlink()
        self.create()


@contextlib.contextmanager
def administration(url: str) -> Iterator[Connection]:
    """Yields a connection to the maintenance database that commits every statement."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def _drop_by_force(connection: Connection, name: str) -> None:
    """Drops a database of MySQL or MariaDB; its sessions are ended until no session uses it any more."""
    connection.execute(text("SET SESSION lock_wait_timeout = 1"))
    deadline = time.monotonic() + _DROP_PATIENCE
    while True:
        sessions = [row._mapping for row in connection.execute(text("SHOW FULL PROCESSLIST"))]
        for session in sessions:
            if session["db"] == name:
                with contextlib.suppress(DBAPIError):  # it may have ended by itself
                    connection.execute(text(f"KILL {int(session['Id'])}"))
        try:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        except DBAPIError as error:
            if time.monotonic() > deadline:
                listing = "\n".join(str(dict(session)) for session in sessions)
                raise ServerError(
                    f"database {name} cannot be dropped: {error}; sessions:\n{listing}"
                ) from error
        else:
            return


def examine(name: str, url: str, origin: str) -> Server:
    """Returns the server behind `url`, after a check of its product and version against `name`."""
    kind = CATALOG[name]
    masked = make_url(url).render_as_string(hide_password=True)
    function = "sqlite_version()" if kind.product == "sqlite" else "version()"
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            answer = str(connection.execute(text(f"SELECT {function}")).scalar_one())
    except DBAPIError as error:
        raise ServerError(f"{name} ({origin}) does not answer at {masked}: {error}") from error
    product, version = _identify(answer, sqlite=kind.product == "sqlite")
    if product != kind.product or tuple(map(int, version.split("."))) < kind.minimum:
        wanted = ".".join(map(str, kind.minimum))
        raise ServerError(f"{name} ({origin}) at {masked} must be {kind.product} >= {wanted}, not {answer}")
    return Server(name, url, version, product, origin)


def _identify(answer: str, *, sqlite: bool) -> tuple[str, str]:
    """Returns product and version from the server's version string."""
    numbers = re.search(r"\d+(\.\d+)+", answer)
    version = numbers.group() if numbers else "0"
    if sqlite:
        return "sqlite", version
    if answer.startswith("PostgreSQL"):
        return "postgresql", version
    return ("mariadb" if "mariadb" in answer.lower() else "mysql"), version
