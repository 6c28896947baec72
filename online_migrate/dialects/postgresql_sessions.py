"""Session settings on PostgreSQL under which values are read and written unchanged.

Settings of the role, of the database, of the client's environment and of the URL change how the server
converts a value to text and how it parses one. Each session of the engine is configured when it is connected,
and so also after a reconnect; see :func:`install`.

The scripts of revisions must have the same meaning as in a session of the application. In a session that
runs them the application's settings are restored; see :func:`for_scripts`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate.dialects.facets.sessions import Sessions
from online_migrate.dialects.facets.sync_triggers import DATA_MIGRATION_SETTING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

_FOUND = "online_migrate_session_found"
_UTF8 = "UTF8"
_EXACT = {
    # The drivers parse only this form of dates and intervals. The order of day and month is not changed.
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    # All digits of a float.
    "extra_float_digits": "1",
    # An unquoted NULL in an array is the value NULL, and not the text.
    "array_nulls": "on",
}

_FOR_SCRIPTS = ("IntervalStyle", "TimeZone", "extra_float_digits", "array_nulls")
"""The settings that are restored for scripts. DateStyle is not among them, because the engine reads dates in
these sessions as well."""
_FIND = "SELECT " + ", ".join(f"current_setting('{name}')" for name in _FOR_SCRIPTS)
_ENCODINGS = {
    # A database in SQL_ASCII accepts any bytes.
    **dict.fromkeys(("UTF8", "SQL_ASCII"), "utf-8"),
    **{f"LATIN{n}": f"latin{n}" for n in range(1, 11)},
    **{f"ISO_8859_{n}": f"iso8859_{n}" for n in range(5, 9)},
    **{f"WIN{n}": f"cp{n}" for n in (866, 874, *range(1250, 1259))},
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
}


def url_of(url: sa.URL) -> sa.URL:
    """Returns *url* with the client encoding UTF-8, whatever encoding it names."""
    return url.update_query_dict({"client_encoding": "utf8"})


def install(engine: Engine) -> None:
    """Configures each session of *engine* when it is connected, after the options of the URL are applied."""
    event.listen(engine, "connect", _connected)


def _connected(connection: Any, record: ConnectionPoolEntry) -> None:
    # A setting persists only if the transaction that made it commits.
    connection.autocommit = True
    set_encoding = getattr(connection, "set_client_encoding", None)
    if set_encoding is not None:
        # psycopg2 needs this call: it does not read the encoding that the server reports later.
        set_encoding(_UTF8)
    cursor = connection.cursor()
    try:
        cursor.execute(_FIND)
        found = dict(zip(_FOR_SCRIPTS, cursor.fetchone(), strict=True))
        # No statement waits for a lock without a limit; a DDL session has a shorter one.
        # A query that a row-level policy would restrict fails, instead of returning some of the rows.
        own = {"lock_timeout": "5s", "row_security": "off"}
        settings = {"client_encoding": _UTF8, **own, **_EXACT}
        cursor.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
    finally:
        cursor.close()
    connection.autocommit = False
    record.info[_FOUND] = found


def for_scripts(connection: Connection) -> None:
    """Restores the application's settings on which the statements of a revision depend."""
    # A connection that the application passed has none to restore.
    found: Mapping[str, str] = connection.info.get(_FOUND, {})
    _assign(connection, found)


@contextlib.contextmanager
def exact(connection: Connection) -> Iterator[None]:
    """Inside the block a session for scripts has the settings of all other sessions of the engine."""
    before = dict(zip(_FOR_SCRIPTS, connection.execute(sa.text(_FIND)).one(), strict=True))
    _assign(connection, _EXACT)
    yield
    # Not in a ``finally``: after an error the transaction accepts no statement, and its rollback resets this.
    _assign(connection, before)


def _assign(connection: Connection, settings: Mapping[str, str]) -> None:
    if settings:
        calls = ", ".join(f"set_config('{name}', :{name}, false)" for name in settings)
        connection.execute(sa.text(f"SELECT {calls}"), dict(settings))


def python_encoding(server_encoding: str) -> str:
    """Returns Python's name of the encoding of a database.

    *server_encoding*: PostgreSQL's name. For an encoding that is not listed here it is ASCII, a subset of all
    of them.
    """
    return _ENCODINGS.get(server_encoding, "ascii")


class PostgreSQLSessions(Sessions):
    """Prepares sessions by SET. A setting that ends with the transaction is not reset after an error."""

    # Under REPEATABLE READ the verification after LOCK TABLE would read a snapshot from before the lock.
    ddl_isolation: ClassVar[IsolationLevel | None] = "READ COMMITTED"

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        return exact(connection)

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        # A setting persists only if the transaction that made it commits.
        for_scripts(connection)
        connection.execute(sa.text(f"SET lock_timeout = {milliseconds(lock_timeout)}"))
        connection.execute(
            sa.text(f"SET idle_in_transaction_session_timeout = {milliseconds(session_timeout)}")
        )
        connection.commit()

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, durable: bool = True
    ) -> None:
        super().prepare_data_session(connection, idle_timeout=idle_timeout, durable=durable)
        connection.execute(sa.text("SET lock_timeout = '10s'"))
        connection.execute(sa.text(f"SET {DATA_MIGRATION_SETTING} = 'on'"))
        if not durable:
            connection.execute(sa.text("SET synchronous_commit = off"))
        connection.execute(sa.text(f"SET idle_in_transaction_session_timeout = {milliseconds(idle_timeout)}"))
        connection.commit()

    def read_only(self, connection: Connection) -> None:
        # BEGIN READ ONLY for each transaction: behind PgBouncer the next client would get a session setting.
        connection.execution_options(postgresql_readonly=True)

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        before = connection.scalar(sa.text("SELECT current_setting('statement_timeout')"))
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {milliseconds(seconds)}"))
        yield
        # Not in a ``finally``: after an error the transaction accepts no statement, and its rollback resets
        # this.
        connection.execute(sa.text(f"SET LOCAL statement_timeout = '{before}'"))


def milliseconds(seconds: float) -> int:
    """Returns the duration in the unit of the settings; 0 would mean no limit."""
    return max(1, round(seconds * 1000))
