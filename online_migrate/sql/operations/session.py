"""Reads statements that change the session or the transaction, run code, or maintain the server. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.classification import session_settings as settings
from online_migrate.sql.classification.queries import why_not_read
from online_migrate.sql.classification.verdict import by_commas
from online_migrate.sql.lexer import MYSQL, Sort, Token
from online_migrate.sql.operations.cursor import Cursor, written
from online_migrate.sql.operations.operation import (
    ChangeSession,
    ControlTransaction,
    Maintain,
    Operation,
    Query,
    RunCode,
)
from online_migrate.sql.operations.rows import QUERIES, WRITES, read_query

Found = tuple[Operation, ...]


def control(cursor: Cursor) -> Found:
    """Reads BEGIN, COMMIT, SAVEPOINT, LOCK and so on; *cursor* is at the verb."""
    verb = cursor.token().word
    if verb == "BEGIN" and cursor.next == "NOT":
        cursor.at = len(cursor.tokens)
        return (RunCode(verb="begin not atomic"),)
    if verb == "LOCK":
        verb = "LOCK TABLE" if cursor.any_of("TABLE", "TABLES") or cursor.server == "postgresql" else verb
    elif verb == "UNLOCK":
        cursor.token()
        verb = "UNLOCK TABLES"
    elif verb == "PREPARE":
        cursor.expect("TRANSACTION")
        verb = "PREPARE TRANSACTION"
    elif verb == "START" and cursor.next != "TRANSACTION":
        raise cursor.fail()
    elif verb in ("COMMIT", "ROLLBACK") and cursor.take("PREPARED"):
        verb = f"{verb} PREPARED"
    elif verb == "ROLLBACK" and any(token.word == "TO" for token in cursor.rest):
        verb = "ROLLBACK TO"
    cursor.at = len(cursor.tokens)
    return (ControlTransaction(verb=_TRANSACTIONS.get(verb, verb).lower()),)


_TRANSACTIONS = {"START": "BEGIN", "END": "COMMIT", "ABORT": "ROLLBACK"}
"""Other words for the same statement."""


_SAME_SETTINGS = {
    "authorization": "session_authorization",
    "names": "client_encoding",
    "schema": "search_path",
}
"""PostgreSQL: other words for the same setting."""

# --- settings -------------------------------------------------------------------------------------


def setting(cursor: Cursor) -> Found:
    """Reads SET and RESET of PostgreSQL; *cursor* is at the verb."""
    verb = cursor.token().word
    cursor.any_of("LOCAL", "SESSION")
    if verb == "SET" and cursor.next in ("TRANSACTION", "CHARACTERISTICS"):
        name = "transaction"
    elif cursor.take("TIME", "ZONE"):
        name = "timezone"
    else:
        name = str(cursor.path()).lower()
    name = _SAME_SETTINGS.get(name, name)
    cursor.at = len(cursor.tokens)
    known = name.upper() in settings.HARMLESS["postgresql"]
    return (ChangeSession(setting=name, harmless=known),)


def mysql_setting(cursor: Cursor) -> Found:
    """Reads SET of MySQL and MariaDB; *cursor* is after the verb."""
    if cursor.next in ("PASSWORD", "ROLE") or (cursor.next, cursor.word(1)) == ("DEFAULT", "ROLE"):
        name = "password" if cursor.next == "PASSWORD" else "role"
        cursor.at = len(cursor.tokens)
        return (ChangeSession(setting=name),)
    scope = cursor.next if cursor.next in ("SESSION", "GLOBAL", "LOCAL") else ""
    if cursor.next == "TRANSACTION" or (scope and cursor.word(1) == "TRANSACTION"):
        cursor.at = len(cursor.tokens)
        return (ChangeSession(setting="transaction"),)
    harmless_values = why_not_read(cursor.rest, cursor.server) is None
    return tuple(_assignment(part, harmless_values) for part in cursor.split())


def _assignment(part: Cursor, harmless_values: bool) -> Operation:
    wide = bool(part.any_of("GLOBAL", "PERSIST", "PERSIST_ONLY"))
    part.any_of("SESSION", "LOCAL")
    if part.take("CHARACTER", "SET") or part.take("CHARSET"):
        return ChangeSession(setting="charset", harmless=harmless_values)
    token = part.token()
    name = token.text.lower()
    if token.sort is Sort.VARIABLE:
        if not name.startswith("@@"):
            return ChangeSession(setting=name, harmless=harmless_values)
        scope, _, last = name.removeprefix("@@").rpartition(".")
        wide, name = wide or scope not in ("", "session", "local"), last
    elif token.word == "@":
        return ChangeSession(setting=f"@{part.text().lower()}", harmless=harmless_values)
    elif not token.names:
        raise part.fail()
    known = name.upper() in settings.HARMLESS[part.server] and not wide
    return ChangeSession(setting=f"global {name}" if wide else name, harmless=known and harmless_values)


def statement_settings(cursor: Cursor) -> tuple[Found, Sequence[Token]]:
    """Reads the settings of MariaDB's SET STATEMENT, and returns the tokens of the statement after FOR."""
    words = [token.word for token in cursor.rest]
    if "FOR" not in words:
        raise cursor.fail()
    at = words.index("FOR")
    parts = by_commas(cursor.rest[:at])
    found = tuple(_assignment(Cursor(part, cursor.server), True) for part in parts)
    inner = cursor.rest[at + 1 :]
    cursor.at = len(cursor.tokens)
    return found, inner


def session_verb(cursor: Cursor) -> Found:
    """Reads DISCARD, USE and others that change the session; *cursor* is at the verb."""
    verb = cursor.token().word.lower()
    cursor.at = len(cursor.tokens)
    return (ChangeSession(setting=verb),)


def pragma(cursor: Cursor) -> Found:
    """Reads PRAGMA of SQLite; *cursor* is after the verb."""
    name = cursor.path().name.upper()
    reads = name in settings.READABLE_PRAGMAS and not cursor
    cursor.at = len(cursor.tokens)
    return (ChangeSession(setting=name.lower(), harmless=reads or name in settings.PRAGMAS),)


# --- code -----------------------------------------------------------------------------------------


def code(cursor: Cursor) -> Found:
    """Reads DO, CALL, EXECUTE, PREPARE; *cursor* is at the verb."""
    verb = cursor.token().word.lower()
    cursor.at = len(cursor.tokens)
    return (RunCode(verb=verb),)


def reads(cursor: Cursor) -> Found:
    """Reads SHOW, LISTEN and others that change nothing; *cursor* is after the verb."""
    return read_query(cursor)


def is_executed(options: Sequence[Token]) -> bool:
    """Returns True if EXPLAIN with these options executes the statement."""
    for at, token in enumerate(options):
        if token.names and token.text.upper() in ("ANALYZE", "ANALYSE"):
            value = written(options[at + 1 : at + 2]).strip("'\"").lower()
            if value not in ("false", "off", "0"):
                return True
    return False


EXPLAINED = frozenset(
    {*QUERIES - {"("}, *WRITES, "CALL", "CREATE", "EXECUTE", "DECLARE", "REFRESH", "TRUNCATE"}
)
"""The verbs of statements that EXPLAIN explains."""


# --- maintenance ----------------------------------------------------------------------------------


def maintain(cursor: Cursor) -> Found:
    """Reads ANALYZE, VACUUM, REINDEX, CLUSTER, OPTIMIZE, REFRESH, CHECKPOINT; *cursor* is at the verb."""
    verb = cursor.token().word.lower()
    options = cursor.parts() if cursor.next == "(" else [cursor]
    if verb == "vacuum" and any(_is_full(option) for option in options):
        verb = "vacuum full"
    while cursor.any_of("NO_WRITE_TO_BINLOG", "LOCAL", "FULL", "FREEZE", "VERBOSE", "ANALYZE", "ANALYSE"):
        pass
    if verb == "refresh":
        cursor.expect("MATERIALIZED", "VIEW")
    elif verb in ("reindex", "optimize", "check", "repair") or cursor.server in MYSQL:
        cursor.any_of("TABLE", "TABLES", "INDEX", "SCHEMA", "DATABASE", "SYSTEM")
    concurrently = cursor.server == "postgresql" and cursor.take("CONCURRENTLY")
    if not cursor.names:
        return (Maintain(verb=verb, concurrently=concurrently),)
    found = []
    while True:
        found.append(Maintain(verb=verb, object=cursor.path(), concurrently=concurrently))
        if cursor.next == "(":
            cursor.group()
        if not cursor.take(","):
            break
    _take_rest(cursor)
    return tuple(found)


def _is_full(option: Cursor) -> bool:
    """Returns True for FULL, which PostgreSQL accepts in quotes, too."""
    return option.names and option.tokens[option.at].text.upper() == "FULL"


def _take_rest(cursor: Cursor) -> None:
    """Consumes the options of CHECK and REPAIR, WITH [NO] DATA, and USING of CLUSTER."""
    if cursor.take("WITH"):
        cursor.take("NO")
        cursor.expect("DATA")
    elif cursor.take("USING") or cursor.take("ON"):
        cursor.path()
    elif cursor.server in MYSQL:
        while cursor.any_of("QUICK", "FAST", "MEDIUM", "EXTENDED", "CHANGED", "USE_FRM", "FORCE"):
            pass
        if cursor.take("PERSISTENT", "FOR") or (cursor.take("FOR", "UPGRADE") and not cursor):
            cursor.at = len(cursor.tokens)


def query_without_effect(cursor: Cursor) -> Found:
    """Reads a statement that neither reads rows nor changes anything; consumes everything."""
    cursor.at = len(cursor.tokens)
    return (Query(),)
