"""What a session on PostgreSQL must be set to, so that a value survives being read and written.

Roles, databases, the environment of the client and the URL change how the server writes a value as text and
how it reads one. Each session of the engine is set up when it is connected, and so when it is connected
again; see :func:`install`.

Scripts of revisions mean what they mean in the application's session. A session that runs them is given the
application's settings back; see :func:`for_scripts`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

_FOUND = "online_migrate_session_found"
_UTF8 = "UTF8"
_EXACT = {
    # The drivers read no other form of dates and intervals. The order of day and month stays as it is.
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    # All digits of a float.
    "extra_float_digits": "1",
    # NULL inside of an array is NULL, and not the text.
    "array_nulls": "on",
}

_FOR_SCRIPTS = ("IntervalStyle", "TimeZone", "extra_float_digits", "array_nulls")
"""What the application's settings are taken for; not the form of dates, which the engine reads as well."""
_FIND = "SELECT " + ", ".join(f"current_setting('{name}')" for name in _FOR_SCRIPTS)
_ENCODINGS = {
    # A database in SQL_ASCII takes any bytes.
    **dict.fromkeys(("UTF8", "SQL_ASCII"), "utf-8"),
    **{f"LATIN{n}": f"latin{n}" for n in range(1, 11)},
    **{f"ISO_8859_{n}": f"iso8859_{n}" for n in range(5, 9)},
    **{f"WIN{n}": f"cp{n}" for n in (866, 874, *range(1250, 1259))},
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
}


def url_of(url: sa.URL) -> sa.URL:
    """*url*, whatever it says of the encoding: a text reaches the driver as UTF-8."""
    return url.update_query_dict({"client_encoding": "utf8"})


def install(engine: Engine) -> None:
    """Sets up each session of *engine* when it is connected, after whatever the URL says."""
    event.listen(engine, "connect", _connected)


def _connected(connection: Any, record: ConnectionPoolEntry) -> None:
    # A setting lasts only if the transaction that made it commits.
    connection.autocommit = True
    set_encoding = getattr(connection, "set_client_encoding", None)
    if set_encoding is not None:
        # psycopg2 must be told: it does not look at what the server says later on.
        set_encoding(_UTF8)
    cursor = connection.cursor()
    try:
        cursor.execute(_FIND)
        found = dict(zip(_FOR_SCRIPTS, cursor.fetchone(), strict=True))
        # Nothing waits for a lock without an end; a session for DDL waits for less.
        settings = {"client_encoding": _UTF8, "lock_timeout": "5s", **_EXACT}
        cursor.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
    finally:
        cursor.close()
    connection.autocommit = False
    record.info[_FOUND] = found


def for_scripts(connection: Connection) -> None:
    """Gives a session back what the statements of a revision depend on."""
    # Nothing where the connection is the application's own.
    found: Mapping[str, str] = connection.info.get(_FOUND, {})
    _assign(connection, found)


@contextlib.contextmanager
def exact(connection: Connection) -> Iterator[None]:
    """Inside the block a session for scripts reads as all other sessions of the engine do."""
    before = dict(zip(_FOR_SCRIPTS, connection.execute(sa.text(_FIND)).one(), strict=True))
    _assign(connection, _EXACT)
    yield
    # Not in a ``finally``: after an error the transaction takes no statement, and its end resets this.
    _assign(connection, before)


def _assign(connection: Connection, settings: Mapping[str, str]) -> None:
    if settings:
        calls = ", ".join(f"set_config('{name}', :{name}, false)" for name in settings)
        connection.execute(sa.text(f"SELECT {calls}"), dict(settings))


def python_encoding(server_encoding: str) -> str:
    """The encoding of a database, by its name in Python; ASCII, which all have in common, for all others."""
    return _ENCODINGS.get(server_encoding, "ascii")
