"""Session settings on MySQL and MariaDB under which values are read and written unchanged.

A session with the application's settings may lose values: a TIMESTAMP in a time zone with daylight saving
time, a character that the connection's character set lacks, a value that is too long where ``sql_mode`` is
not strict. Each session of the engine is configured when it is connected, and so also after a reconnect; see
:func:`install`.

The scripts of revisions must have the same meaning as in a session of the application. In a session that
runs them the application's settings are restored, except for those that lose data silently; see
:func:`for_scripts`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

from online_migrate.dialects.facets.sessions import Sessions
from online_migrate.dialects.facets.sync_triggers import DATA_MIGRATION
from online_migrate.sql.lexer import successful_readings
from online_migrate.sql.statement import statements

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

SESSION_TIMEOUT = "online_migrate_session_timeout"
"""Key of ``connection.info``: the ``wait_timeout`` of the session while it holds a table lock, in seconds."""
IDLE_TIMEOUT = 3600
"""Seconds for which a migrator session that holds no table lock may be idle, for example while another
session counts rows."""
_FOUND = "online_migrate_session_found"
_DONE = "online_migrate_session_set_up"
_LENIENT = "online_migrate_session_lenient"
_STRICT = ("STRICT_ALL_TABLES",)
_STRICT_ALREADY = frozenset({"STRICT_ALL_TABLES", "TRADITIONAL"})
_CHANGES_VALUES = frozenset(
    # The first pads a CHAR with blanks that are not stored, the second converts '' to NULL.
    {"PAD_CHAR_TO_FULL_LENGTH", "EMPTY_STRING_IS_NULL"}
)
_UTF8 = "utf8mb4"
_ONLY_OURS = ("charset", "use_unicode")
"""Driver options for the encoding of texts on the connection: the engine sets them itself."""
_FIND = "SELECT @@SESSION.time_zone, @@SESSION.sql_mode, @@SESSION.collation_connection"
_PROGRAMS = frozenset({"TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"})
"""The kinds of objects that keep the ``sql_mode`` of the session that created them."""
_NO_PROGRAMS = frozenset({"TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER", "ROLE", "AS", "SELECT"})


_WORD = re.compile(r"[^\W\d]\w*")


@dataclasses.dataclass(frozen=True)
class Found:
    """The settings with which a session started: from the server, from ``init_connect`` and from the URL."""

    time_zone: str
    sql_mode: str
    collation: str


def url_of(url: sa.URL) -> sa.URL:
    """Returns *url* with the connection character set utf8mb4 (UTF-8 of up to four bytes).

    The character set options of *url* are removed, and its collation if that is not one of utf8mb4.
    """
    unwanted = [name for name in _ONLY_OURS if name in url.query]
    if not str(url.query.get("collation", _UTF8)).startswith(_UTF8):
        unwanted.append("collation")
    url = url.difference_update_query(unwanted)
    return url.update_query_dict({"charset": _UTF8})


def install(engine: Engine, variables: Mapping[str, Any] | None = None) -> None:
    """Configures each session of *engine* when it is connected, after the options of the URL are applied.

    *variables*: the session variables that the application sets.
    """
    connected = functools.partial(_connected, variables=variables or {})
    # The first session is configured before oslo.db checks it: oslo.db would log warnings otherwise.
    event.listen(engine, "first_connect", connected, insert=True)
    event.listen(engine, "connect", connected)


def exact_mode(sql_mode: str) -> str:
    """Returns the ``sql_mode`` for the engine's own reads and writes.

    It is *sql_mode*, strict and without the modes that change a value when it is read or written.
    """
    return strict_mode(",".join(mode for mode in _modes(sql_mode) if mode not in _CHANGES_VALUES))


def strict_mode(sql_mode: str) -> str:
    """Returns *sql_mode* with a strict mode, under which a value that does not fit is an error.

    Without a strict mode the server truncates the value, with a warning.
    """
    modes = _modes(sql_mode)
    return ",".join(modes if _STRICT_ALREADY & set(modes) else (*modes, *_STRICT))


def _modes(sql_mode: str) -> list[str]:
    return [mode for part in sql_mode.split(",") if (mode := part.strip().upper())]


def _connected(
    connection: DBAPIConnection, record: ConnectionPoolEntry, *, variables: Mapping[str, Any]
) -> None:
    if record.info.get(_DONE) is connection:
        return
    cursor = connection.cursor()
    try:
        for name, value in variables.items():
            cursor.execute(f"SET SESSION {name} = %s", [value])
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
        # A limit on the result of a SELECT would hide rows.
        "sql_select_limit": "18446744073709551615",
        # The server does not refuse a query that reads many rows.
        "sql_big_selects": "1",
        # IS NULL finds NULL, and not the row that was inserted last.
        "sql_auto_is_null": "0",
        # With the default timeout a plain SELECT waits for a year for LOCK TABLES of another session.
        "lock_wait_timeout": "5",
    }
    listed = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
    return f"SET NAMES {_UTF8}{collate}, {listed}"


def for_scripts(connection: Connection) -> None:
    """Restores the application's settings on which the statements of a revision depend.

    These are the time zone and ``sql_mode``, with one difference: ``sql_mode`` is made strict, because an
    ALTER TABLE that shortens a column would truncate values otherwise.
    """
    found = _found(connection)
    _assign(connection, found.time_zone, strict_mode(found.sql_mode))


def _found(connection: Connection) -> Found:
    """Returns the application's settings; the current ones, if the application passed the connection."""
    found: Found | None = connection.info.get(_FOUND)
    return found or _now(connection)


def _now(connection: Connection) -> Found:
    return Found(*(_text(value) for value in connection.exec_driver_sql(_FIND).one()))


@contextlib.contextmanager
def exact(connection: Connection) -> Iterator[None]:
    """Inside the block a session for scripts has the settings of all other sessions of the engine."""
    before = _now(connection)
    _assign(connection, "+00:00", exact_mode(_found(connection).sql_mode))
    try:
        yield
    finally:
        if not connection.invalidated:
            _assign(connection, before.time_zone, before.sql_mode)


def before_script_statement(connection: Connection, statement: str, server: str) -> None:
    """Sets the ``sql_mode`` under which *statement*, of a script, is executed.

    A trigger or a routine keeps the ``sql_mode`` of the session that creates it, and runs under it for the
    application. It is therefore created under the application's ``sql_mode``, unless the script has set
    another one.
    """
    found: Found | None = connection.info.get(_FOUND)
    if found is None:
        return
    if connection.info.pop(_LENIENT, False):
        _exchange(connection, found.sql_mode, strict_mode(found.sql_mode))
    if not creates_program(statement, server):
        return
    if _exchange(connection, strict_mode(found.sql_mode), found.sql_mode):
        connection.info[_LENIENT] = True


def creates_program(text: str, server: str) -> bool:
    """Returns True if *text* creates or alters a trigger, a routine or an event, in one of its readings.

    *server*: the name of the dialect, ``mysql`` or ``mariadb``.
    """
    found = [[token.word for token in tokens] for tokens in statements(text, server)]
    if not successful_readings(text, server):
        # Only the server can read it: it may have a comment inside an executable comment.
        found = [_WORD.findall(text.upper())]
    return any(_creates_program(words) for words in found)


def _creates_program(words: Sequence[str]) -> bool:
    if not words or words[0] not in ("CREATE", "ALTER"):
        return False
    kind = next((word for word in words if word in _PROGRAMS | _NO_PROGRAMS), None)
    return kind in _PROGRAMS


def _exchange(connection: Connection, expected: str, wanted: str) -> bool:
    """Sets ``sql_mode`` to *wanted* if it is *expected*, in any order of the modes; returns True if set."""
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


class MySQLSessions(Sessions):
    """Prepares sessions by SET SESSION; MariaDB has another statement timeout."""

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        return exact(connection)

    def lock_wait(self, seconds: float) -> float:
        return max(1, math.ceil(seconds))

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        for_scripts(connection)
        seconds = self.lock_wait(lock_timeout)
        for setting, value in (
            ("lock_wait_timeout", seconds),
            ("innodb_lock_wait_timeout", seconds),
            ("wait_timeout", IDLE_TIMEOUT),
        ):
            connection.execute(sa.text(f"SET SESSION {setting} = {value}"))
        connection.commit()
        connection.info[SESSION_TIMEOUT] = max(1, math.ceil(session_timeout))

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, durable: bool = True
    ) -> None:
        super().prepare_data_session(connection, idle_timeout=idle_timeout, durable=durable)
        connection.execute(
            sa.text(
                "SET SESSION lock_wait_timeout = 10, innodb_lock_wait_timeout = 10, "
                f"wait_timeout = {max(1, math.ceil(idle_timeout))}, @{DATA_MIGRATION} = 1"
            )
        )
        connection.commit()

    def read_only(self, connection: Connection) -> None:
        connection.execute(sa.text("SET SESSION TRANSACTION READ ONLY"))
        connection.commit()

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        before = connection.scalar(sa.text("SELECT @@SESSION.max_execution_time"))
        connection.execute(sa.text(f"SET SESSION max_execution_time = {math.ceil(seconds * 1000)}"))
        try:
            yield
        finally:
            if not connection.invalidated:
                connection.execute(sa.text(f"SET SESSION max_execution_time = {before}"))
