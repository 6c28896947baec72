"""The databases of Nova's cells, each read within a limit of time."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import create_engine, dialect_of, full_url, parse_url
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.service_sources.cell_url import CellUrlBroken, cell_url
from online_migrate.service_sources.table import Row, TableUnreadable, read_table
from online_migrate.service_sources.time_limit import answers_within, no_answer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MAPPINGS = sa.table(
    "cell_mappings",
    sa.column("id", sa.Integer),
    sa.column("uuid", sa.String),
    sa.column("name", sa.String),
    sa.column("database_connection", sa.Text),
)
_CELLS = sa.select(*_MAPPINGS.c).order_by(_MAPPINGS.c.id)
_OWN = "the command's own database"
_SELECTING = ("host", "port", "unix_socket", "service", "options")
"""Parameters in the query of a URL that select another server, database or schema."""

Answer = list[Row] | TableUnreadable


@dataclasses.dataclass(frozen=True)
class TableReader:
    """Reads tables of other databases, on connections of its own."""

    timeout: float
    """Seconds after which a database counts as silent."""
    pooler: str | None

    def read(self, url: sa.URL, query: sa.Select[Any]) -> list[Row]:
        """Returns the rows of *query*. Raises :class:`TableUnreadable`."""
        answer = self.read_each({"API database": url}, query)["API database"]
        if isinstance(answer, TableUnreadable):
            raise answer
        return answer

    def read_each(self, urls: Mapping[str, sa.URL], query: sa.Select[Any]) -> Mapping[str, Answer]:
        """Returns the rows of *query* in each database, or why it cannot be read, by the name of the place.

        All are read at the same time, each in a thread: a driver may wait for ever for a server that has
        accepted the connection and does not answer.
        """
        reads = {name: functools.partial(self._read, url, query) for name, url in urls.items()}
        found = answers_within(self.timeout, reads)
        silent = TableUnreadable(no_answer(self.timeout))
        return {name: found.get(name, silent) for name in urls}

    def _read(self, url: sa.URL, query: sa.Select[Any]) -> Answer:
        try:
            engine = create_engine(full_url(url), pooler=self.pooler)
            with private_connection(engine) as connection:
                dialect_of(connection).read_only(connection)
                return read_table(connection, query, self.timeout)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything for the parameters of a URL
            return TableUnreadable(_reason(error).replace(url.password or "\0", "***"))


def _reason(error: Exception) -> str:
    if isinstance(error, TableUnreadable | exceptions.OnlineMigrateError):
        return str(error)
    if isinstance(error, DATABASE_ERRORS):
        return error_message(error)
    return f"{type(error).__name__}: {error}"


class Cells:
    """All cells of the table ``cell_mappings`` in Nova's API database."""

    def __init__(self, reader: TableReader, *, api_database: str | None, database: str | None) -> None:
        """See :class:`~online_migrate.service_sources.nova.NovaServices`."""
        self._reader = reader
        self._api = None if api_database is None else parse_url(api_database)
        self._database = database

    def read(self, connection: Connection, query: sa.Select[Any]) -> Mapping[str, Answer]:
        """Returns the rows of *query* in the database of each cell, or why it cannot be read, by its name.

        *connection*: to the command's own database. If that is not the API database, it is a cell, and is
        read also if ``cell_mappings`` does not name it. Raises :class:`TableUnreadable` if the cells are not
        known.
        """
        own = _database_of(connection.engine.url)
        if self._api is None or _database_of(self._api) == own:
            mappings, places = read_table(connection, _CELLS, self._reader.timeout), []
        else:
            mappings, places = self._reader.read(self._api, _CELLS), [_OWN]
        urls, answers = self._urls(mappings)
        # A table that the command has locked can be read on its own connection only.
        mine = [name for name, url in urls.items() if _database_of(url) == own]
        others = {name: url for name, url in urls.items() if name not in mine}
        answers |= self._reader.read_each(others, query)
        return answers | {name: self._own(connection, query) for name in mine or places}

    def _urls(self, mappings: Sequence[Row]) -> tuple[dict[str, sa.URL], dict[str, Answer]]:
        """Returns the URLs of the cells, and why there is none, by the name of the cell."""
        urls: dict[str, sa.URL] = {}
        broken: dict[str, Answer] = {}
        for row in mappings:
            try:
                urls[_name(row)] = cell_url(row["database_connection"] or "", self._database)
            except CellUrlBroken as error:
                broken[_name(row)] = TableUnreadable(f"its database_connection cannot be used: {error}")
        same: dict[object, list[str]] = defaultdict(list)
        for name, url in urls.items():
            same[_database_of(url)].append(name)
        for names in same.values():
            if len(names) > 1:
                # Then a database that the templates stand for is not read.
                reason = f"the URLs of {' and '.join(names)} name the same database; is nova_database right?"
                broken |= {name: TableUnreadable(reason) for name in names}
        return {name: url for name, url in urls.items() if name not in broken}, broken

    def _own(self, connection: Connection, query: sa.Select[Any]) -> Answer:
        try:
            return read_table(connection, query, self._reader.timeout)
        except TableUnreadable as error:
            return error


def _name(row: Row) -> str:
    return f"cell {row['name']} ({row['uuid']})" if row["name"] else f"cell {row['uuid']}"


def _database_of(url: sa.URL) -> object:
    """Returns what two URLs of the same database have in common."""
    selecting = tuple(url.query.get(name) for name in _SELECTING)
    return url.get_backend_name(), url.host, url.port, url.database, selecting
