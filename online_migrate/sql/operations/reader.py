"""Reads the operations of a SQL text, for each server. Pure.

A text is read as the server reads it (:mod:`online_migrate.sql.lexer`), token by token, and every token must
be known: what is left over makes a statement, or an action of an ALTER TABLE, :class:`.Unrecognized`. The
syntax tree of sqlglot is not used: sqlglot drops comments that MySQL and MariaDB execute, fails on the
placeholders of drivers, and skips some clauses without a word.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from online_migrate.sql.classification.queries import unknown_calls
from online_migrate.sql.lexer import MYSQL, Token, readings, split
from online_migrate.sql.operations import session
from online_migrate.sql.operations.alter_objects import alter, comment, privileges
from online_migrate.sql.operations.alter_table import rename_table
from online_migrate.sql.operations.cursor import Cursor, Unknown, unrecognized
from online_migrate.sql.operations.drop import drop
from online_migrate.sql.operations.objects import create
from online_migrate.sql.operations.operation import Operation, Query, RunCode, Unrecognized
from online_migrate.sql.operations.rows import (
    QUERIES,
    WRITES,
    read_copy,
    read_load,
    read_query,
    read_truncate,
)

Found = tuple[Operation, ...]
AMBIGUOUS = "its meaning depends on sql_mode or on the version of the server"


@functools.lru_cache(maxsize=2048)
def read_operations(text: str, server: str) -> tuple[Operation, ...]:
    """Returns the operations of every statement in *text*, in order.

    *server*: postgresql, mysql, mariadb or sqlite. Raises :class:`~online_migrate.sql.parse.Unreadable` if
    the text cannot be split into statements.
    """
    found = {_of_text(tokens, server) for tokens in readings(text, server)}
    return found.pop() if len(found) == 1 else (Unrecognized(what=AMBIGUOUS),)


def _of_text(tokens: Sequence[Token], server: str) -> Found:
    found: list[Operation] = []
    for statement in split(tokens):
        operations = _of_statement(statement, server)
        found += operations
        if operations == (RunCode(verb="begin not atomic"),):
            break  # what follows are the statements of the block
    return tuple(found)


def _of_statement(tokens: Sequence[Token], server: str) -> Found:
    words = frozenset(token.text.casefold() for token in tokens if token.names)
    return tuple(dataclasses.replace(operation, words=words) for operation in _read(tokens, server))


def _read(tokens: Sequence[Token], server: str) -> Found:
    cursor = Cursor(tokens, server)
    reader = _READERS[server].get(cursor.next)
    try:
        if reader is None:
            raise cursor.fail()
        found = reader(cursor)
        cursor.end()
    except Unknown as unknown:
        return (unrecognized(tokens, unknown),)
    except RecursionError:
        return (Unrecognized(what="too many parentheses inside each other"),)
    return found


# --- statements that contain another one ----------------------------------------------------------


def _explain(cursor: Cursor) -> Found:
    start = cursor.at
    if cursor.word(1) == "(" and cursor.word(2) not in ("(", *session.EXPLAINED):
        cursor.token()
        cursor.group()  # options of PostgreSQL
    while cursor and cursor.next not in session.EXPLAINED:
        cursor.token()
    executed = session.is_executed(cursor.tokens[start : cursor.at])
    rest, cursor.at = cursor.rest, len(cursor.tokens)
    if not executed:
        # The optimizer of MySQL and MariaDB may evaluate functions and subqueries.
        calls = unknown_calls(rest, cursor.server) if cursor.server in MYSQL else ()
        return (Query(calls=tuple(dict.fromkeys(name.lower() for name in calls))),)
    if not rest:
        raise cursor.fail()
    return _of_statement(rest, cursor.server)


def _mysql_analyze(cursor: Cursor) -> Found:
    """Reads ANALYZE TABLE, and MariaDB's ANALYZE of a statement, which it executes."""
    if cursor.word(1) in ("TABLE", "TABLES", "NO_WRITE_TO_BINLOG", "LOCAL"):
        return session.maintain(cursor)
    return _explain(cursor)


def _mysql_set(cursor: Cursor) -> Found:
    cursor.expect("SET")
    if not cursor.take("STATEMENT"):
        return session.mysql_setting(cursor)
    settings, inner = session.statement_settings(cursor)
    return (*settings, *_of_statement(inner, cursor.server))


def _rename(cursor: Cursor) -> Found:
    cursor.expect("RENAME")
    if not cursor.any_of("TABLE", "TABLES"):
        raise cursor.fail()
    return rename_table(cursor)


def _prepare(cursor: Cursor) -> Found:
    return session.control(cursor) if cursor.word(1) == "TRANSACTION" else session.code(cursor)


def _after_verb(read: Callable[[Cursor], Found]) -> Callable[[Cursor], Found]:
    def reader(cursor: Cursor) -> Found:
        cursor.token()
        return read(cursor)

    return reader


_Readers = Mapping[str, Callable[[Cursor], Found]]
_SHARED: _Readers = {
    **dict.fromkeys(QUERIES | WRITES, read_query),
    "CREATE": _after_verb(create),
    "DROP": _after_verb(drop),
    "ALTER": _after_verb(alter),
    "EXPLAIN": _explain,
    **dict.fromkeys(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"), session.control),
}
_MYSQL: _Readers = {
    **_SHARED,
    **dict.fromkeys(("START", "LOCK", "UNLOCK", "XA"), session.control),
    **dict.fromkeys(("CALL", "EXECUTE", "PREPARE"), session.code),
    **dict.fromkeys(("DESCRIBE", "DESC"), _explain),
    **dict.fromkeys(("OPTIMIZE", "CHECK", "REPAIR"), session.maintain),
    **dict.fromkeys(("GRANT", "REVOKE"), privileges),
    **dict.fromkeys(("DEALLOCATE", "CHECKSUM", "HELP"), session.query_without_effect),
    "ANALYZE": _mysql_analyze,
    "SET": _mysql_set,
    "USE": session.session_verb,
    "SHOW": _after_verb(session.reads),
    "DO": _after_verb(read_query),
    "RENAME": _rename,
    "LOAD": _after_verb(read_load),
    "TRUNCATE": _after_verb(read_truncate),
}
_READERS: Mapping[str, _Readers] = {
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "postgresql": {
        **_SHARED,
        **dict.fromkeys(("END", "ABORT", "START", "LOCK"), session.control),
        **dict.fromkeys(("SET", "RESET"), session.setting),
        **dict.fromkeys(("CALL", "DO", "EXECUTE"), session.code),
        **dict.fromkeys(
            ("ANALYZE", "ANALYSE", "VACUUM", "REINDEX", "CLUSTER", "REFRESH", "CHECKPOINT"), session.maintain
        ),
        **dict.fromkeys(("GRANT", "REVOKE"), privileges),
        **dict.fromkeys(("SHOW", "LISTEN", "NOTIFY", "UNLISTEN", "DEALLOCATE"), session.query_without_effect),
        "PREPARE": _prepare,
        "DISCARD": session.session_verb,
        "COMMENT": _after_verb(comment),
        "COPY": _after_verb(read_copy),
        "TRUNCATE": _after_verb(read_truncate),
    },
    "sqlite": {
        **_SHARED,
        "END": session.control,
        "PRAGMA": _after_verb(session.pragma),
        **dict.fromkeys(("ANALYZE", "REINDEX", "VACUUM"), session.maintain),
        **dict.fromkeys(("ATTACH", "DETACH"), session.session_verb),
    },
}
