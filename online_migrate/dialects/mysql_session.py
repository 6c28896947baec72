"""What a session on MySQL or MariaDB must be set to, so that a value survives being read and written.

The application's session may lose values on the way: TIMESTAMP in a zone with summer time, characters in a
character set that has fewer of them, whatever is too long where ``sql_mode`` is not strict. Each session of
the engine is set up when it is connected, and so when it is connected again; see :func:`install`.

Scripts of revisions mean what they mean in the application's session. A session that runs them is given the
application's settings back, except for what loses data silently; see :func:`for_scripts`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import event

from online_migrate.dialects.statement import tokens

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

_FOUND = "online_migrate_session_found"
_DONE = "online_migrate_session_set_up"
_LENIENT = "online_migrate_session_lenient"
_STRICT = ("STRICT_ALL_TABLES",)
_STRICT_ALREADY = frozenset({"STRICT_ALL_TABLES", "TRADITIONAL"})
_CHANGES_VALUES = frozenset(
    # A CHAR is read with blanks that it does not have; '' is taken for NULL.
    {"PAD_CHAR_TO_FULL_LENGTH", "EMPTY_STRING_IS_NULL"}
)
_UTF8 = "utf8mb4"
_ONLY_OURS = ("charset", "use_unicode")
"""Options of the drivers for what a text is on its way."""
_FIND = "SELECT @@SESSION.time_zone, @@SESSION.sql_mode, @@SESSION.collation_connection"
_PROGRAMS = frozenset({"TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"})
"""What keeps the sql_mode of the session that created it."""
_NO_PROGRAMS = frozenset({"TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER", "ROLE", "AS", "SELECT"})


@dataclasses.dataclass(frozen=True)
class Found:
    """The settings with which a session began: those of the server, of ``init_connect`` and of the URL."""

    time_zone: str
    sql_mode: str
    collation: str


def url_of(url: sa.URL) -> sa.URL:
    """*url*, whatever it says of character sets: a text reaches the driver as UTF-8, of up to four bytes."""
    unwanted = [name for name in _ONLY_OURS if name in url.query]
    if not str(url.query.get("collation", _UTF8)).startswith(_UTF8):
        unwanted.append("collation")
    url = url.difference_update_query(unwanted)
    return url.update_query_dict({"charset": _UTF8})


def install(engine: Engine) -> None:
    """Sets up each session of *engine* when it is connected, after whatever the URL says."""
    # The first time before oslo.db looks at the session, and complains to the operator.
    event.listen(engine, "first_connect", _connected, insert=True)
    event.listen(engine, "connect", _connected)


def exact_mode(sql_mode: str) -> str:
    """*sql_mode* for our own reading and writing: strict, and without what changes a value on its way."""
    return strict_mode(",".join(mode for mode in _modes(sql_mode) if mode not in _CHANGES_VALUES))


def strict_mode(sql_mode: str) -> str:
    """*sql_mode* under which a value that does not fit is an error: it is cut otherwise, with a warning."""
    modes = _modes(sql_mode)
    return ",".join(modes if _STRICT_ALREADY & set(modes) else (*modes, *_STRICT))


def _modes(sql_mode: str) -> list[str]:
    return [mode for part in sql_mode.split(",") if (mode := part.strip().upper())]


def _connected(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    if record.info.get(_DONE) is connection:
        return
    cursor = connection.cursor()
    try:
        cursor.execute(_FIND)
        row = cursor.fetchone()
        assert row is not None
        found = Found(*(_text(value) for value in row))
        cursor.execute(_set_up(found))
    finally:
        cursor.close()
    record.info[_FOUND], record.info[_DONE] = found, connection


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


def _set_up(found: Found) -> str:
    collate = f" COLLATE {found.collation}" if found.collation.startswith(_UTF8) else ""
    settings = {
        "time_zone": "'+00:00'",
        "sql_mode": f"'{exact_mode(found.sql_mode)}'",
        # A result that is cut is a table of which rows are missing.
        "sql_select_limit": "18446744073709551615",
        # IS NULL finds NULL, and not the row that was inserted last.
        "sql_auto_is_null": "0",
        # Without a bound of its own a plain SELECT waits for a year behind LOCK TABLES.
        "lock_wait_timeout": "5",
    }
    listed = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
    return f"SET NAMES {_UTF8}{collate}, {listed}"


def for_scripts(connection: Connection) -> None:
    """Gives a session back what the statements of a revision depend on: time zone and ``sql_mode``.

    With one difference: it is strict, because an ALTER TABLE that shortens a column cuts values otherwise.
    """
    found = _found(connection)
    _assign(connection, found.time_zone, strict_mode(found.sql_mode))


def _found(connection: Connection) -> Found:
    """The application's settings; what is set now, where the connection is the application's own."""
    found: Found | None = connection.info.get(_FOUND)
    return found or _now(connection)


def _now(connection: Connection) -> Found:
    return Found(*(_text(value) for value in connection.exec_driver_sql(_FIND).one()))


@contextlib.contextmanager
def exact(connection: Connection) -> Iterator[None]:
    """Inside the block a session for scripts reads as all other sessions of the engine do."""
    before = _now(connection)
    _assign(connection, "+00:00", exact_mode(_found(connection).sql_mode))
    try:
        yield
    finally:
        if not connection.invalidated:
            _assign(connection, before.time_zone, before.sql_mode)


def before_script_statement(connection: Connection, statement: str) -> None:
    """A trigger or a routine keeps the ``sql_mode`` of the session that creates it, and the application meets
    it: so it is created under the server's own, unless the script has set another."""
    found: Found | None = connection.info.get(_FOUND)
    if found is None:
        return
    if connection.info.pop(_LENIENT, False):
        _exchange(connection, found.sql_mode, strict_mode(found.sql_mode))
    if not creates_program(statement):
        return
    if _exchange(connection, strict_mode(found.sql_mode), found.sql_mode):
        connection.info[_LENIENT] = True


def creates_program(statement: str) -> bool:
    """Whether *statement* makes a trigger, a routine or an event."""
    words = [token.word for token in tokens(statement)]
    if not words or words[0] not in ("CREATE", "ALTER"):
        return False
    kind = next((word for word in words if word in _PROGRAMS | _NO_PROGRAMS), None)
    return kind in _PROGRAMS


def _exchange(connection: Connection, expected: str, wanted: str) -> bool:
    """Sets ``sql_mode`` to *wanted* where it is *expected*, in whatever order; True if it did."""
    if set(_modes(expected)) == set(_modes(wanted)):
        return False
    current = str(connection.exec_driver_sql("SELECT @@SESSION.sql_mode").scalar())
    if set(_modes(current)) != set(_modes(expected)):
        return False
    connection.exec_driver_sql(f"SET SESSION sql_mode = '{wanted}'")
    return True


def _assign(connection: Connection, time_zone: str, sql_mode: str) -> None:
    statement = sa.text("SET SESSION time_zone = :zone, SESSION sql_mode = :mode")
    connection.execute(statement, {"zone": time_zone, "mode": sql_mode})
