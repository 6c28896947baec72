"""Reads queries and statements that change rows. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from online_migrate.sql.classification.queries import unknown_calls, written_at
from online_migrate.sql.lexer import MYSQL, Sort, Token
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.expressions import takes_number
from online_migrate.sql.operations.operation import ChangeRows, CreateTable, Operation, Query, RunCode
from online_migrate.sql.operations.parts import Name

WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"})
QUERIES = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "("})
_LOCKS = (
    ("FOR", "UPDATE"),
    ("FOR", "SHARE"),
    ("FOR", "NO"),
    ("FOR", "KEY"),
    ("IN", "SHARE"),
)
_MODIFIERS = ("LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "ONLY")
_PARTS_OF_A_WRITE = frozenset({"THEN", "DO", "OR"})
"""The words before a verb that is a part of MERGE, of ON CONFLICT, or of INSERT OR REPLACE."""


def read_query(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a query, and of the writes inside it; consumes everything."""
    tokens = cursor.rest
    cursor.at = len(cursor.tokens)
    positions = [at for at in written_at(tokens) if not _is_part(tokens, at)]
    if positions:
        return _writes(tokens, positions, cursor.server)
    calls = unknown_functions(tokens, cursor.server)
    words = [token.word for token in tokens]
    locks = any(pair in _LOCKS for pair in itertools.pairwise(words))
    if "INTO" in words:
        return _into(tokens, words.index("INTO"), cursor.server, calls)
    return (Query(calls=calls, locks_rows=locks),)


def _is_part(tokens: Sequence[Token], at: int) -> bool:
    return at > 0 and tokens[at - 1].word in _PARTS_OF_A_WRITE


def unknown_functions(tokens: Sequence[Token], server: str) -> tuple[str, ...]:
    """Returns the functions that a query calls and that are not known to be harmless, in lower case."""
    found = [name.lower() for name in unknown_calls(_without_targets(tokens), server)]
    if takes_number(tokens, server):
        found.append("nextval")
    return tuple(dict.fromkeys(found))


_COMMA = Token(Sort.MARK, ",")


def _without_targets(tokens: Sequence[Token]) -> list[Token]:
    """Returns the tokens without words before a list of columns, which would look like a call."""
    found: list[Token] = []
    at, updates = 0, False
    while at < len(tokens):
        word, before = tokens[at].word, tokens[at - 1].word if at else ""
        updates |= word == "UPDATE"
        if word == "INTO" and at + 1 < len(tokens) and tokens[at + 1].names:
            found.append(_COMMA)
            at = _end_of_path(tokens, at + 1)
        elif _is_before_columns(word, before):
            at += 1
        elif word == "SET" and updates:
            updates = False
            found.append(_COMMA)
            at += 1
        else:
            found.append(tokens[at])
            at += 1
    return found


def _end_of_path(tokens: Sequence[Token], at: int) -> int:
    """Returns the position after the name with its qualifiers at *at*."""
    at += 1
    while at + 1 < len(tokens) and tokens[at].word == "." and tokens[at + 1].names:
        at += 2
    return at


def _is_before_columns(word: str, before: str) -> bool:
    return (word == "INSERT" and before in ("", "THEN", "(")) or (before, word) == ("ON", "CONFLICT")


def _into(tokens: Sequence[Token], at: int, server: str, calls: tuple[str, ...]) -> tuple[Operation, ...]:
    """Returns the operations of SELECT INTO: a new table, or variables of MySQL and MariaDB."""
    target = Cursor(tokens[at + 1 :], server)
    if server in MYSQL and target and target.tokens[0].sort is Sort.VARIABLE:
        return (Query(calls=calls),)
    if server != "postgresql":
        raise target.fail()
    temporary = bool(target.any_of("TEMPORARY", "TEMP"))
    target.any_of("UNLOGGED")
    target.take("TABLE")
    created = CreateTable(table=target.path(), selects=True, temporary=temporary)
    return (created, Query(calls=calls)) if calls else (created,)


# --- writes ---------------------------------------------------------------------------------------


def _writes(tokens: Sequence[Token], positions: Sequence[int], server: str) -> tuple[Operation, ...]:
    calls = unknown_functions(tokens, server)
    found = []
    for at in positions:
        cursor = Cursor(tokens[at:], server)
        verb = cursor.token().word.lower()
        if verb == "truncate":
            raise cursor.fail()  # no server has it inside a query; it may be a name there
        # UPDATE and DELETE of MySQL and MariaDB lock the rows that a query in them reads, as INSERT does.
        copies = verb in ("insert", "replace") or server in MYSQL
        selects = copies and _reads(tokens[at:])
        found.append(ChangeRows(verb=verb, table=_target(cursor, verb), calls=calls, selects=selects))
    return tuple(found)


def _reads(tokens: Sequence[Token]) -> bool:
    """Returns True if a query is a part of the statement, which may end before *tokens* do."""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth < 0:
            return False
        if token.word in ("SELECT", "TABLE", "WITH"):
            return True
    return False


def _target(cursor: Cursor, verb: str) -> Name | None:
    """Consumes the head of a write, and returns its table; None if it writes several tables."""
    while cursor.any_of(*_MODIFIERS):
        pass
    if cursor.take("OR"):
        cursor.token()
    if verb in ("insert", "replace", "merge"):
        cursor.take("INTO")
        cursor.take("ONLY")
        return cursor.path()
    if cursor.server in MYSQL and _joins(cursor.rest, verb):
        return None
    if verb == "delete" and not cursor.take("FROM"):
        cursor.path()
        return None  # MySQL: DELETE a, b FROM a JOIN b
    cursor.take("ONLY")
    if cursor.next == "(":
        return cursor.group().path()
    return cursor.path()


_ENDS_OF_TABLES = {
    "update": frozenset({"SET"}),
    "delete": frozenset({"WHERE", "ORDER", "LIMIT", "RETURNING"}),
}


def _joins(tokens: Sequence[Token], verb: str) -> bool:
    """Returns True if UPDATE or DELETE of MySQL and MariaDB names several tables."""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth == 0 and token.word in _ENDS_OF_TABLES[verb]:
            return False
        if depth == 0 and token.word in (",", "JOIN", "STRAIGHT_JOIN", "USING"):
            return True
    return False


def read_truncate(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a TRUNCATE; *cursor* is after the verb."""
    cursor.take("TABLE")
    found = []
    while True:
        cursor.take("ONLY")
        found.append(ChangeRows(verb="truncate", table=cursor.path()))
        cursor.take("*")
        if not cursor.take(","):
            break
    cursor.take("RESTART", "IDENTITY") or cursor.take("CONTINUE", "IDENTITY")
    if cursor.any_of("CASCADE", "RESTRICT", "NOWAIT") == "CASCADE":
        found.append(ChangeRows(verb="truncate", table=None))  # each table that refers to one of these
    if cursor.take("WAIT"):
        cursor.value()
    return tuple(found)


def read_copy(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a COPY: of rows into a table, to the client, or to a file of the server."""
    table, inner = None, None
    if cursor.next == "(":
        inner = cursor.group()
    else:
        table = cursor.path()
        if cursor.next == "(":
            cursor.names_in_group()
    if cursor.any_of("FROM", "TO") == "FROM":
        words = [token.word for token in cursor.rest]
        if words[:1] == ["PROGRAM"]:
            cursor.at = len(cursor.tokens)
            return (RunCode(verb="copy"),)
        condition = cursor.rest[words.index("WHERE") :] if "WHERE" in words else ()
        cursor.at = len(cursor.tokens)
        return (ChangeRows(verb="copy", table=table, calls=unknown_functions(condition, cursor.server)),)
    to_client = bool(cursor.any_of("STDOUT", "STDIN"))
    cursor.at = len(cursor.tokens)
    if not to_client:
        return (RunCode(verb="copy"),)
    return read_query(inner) if inner is not None else (Query(),)


def read_load(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of LOAD DATA and LOAD XML of MySQL and MariaDB."""
    if not cursor.any_of("DATA", "XML"):
        raise cursor.fail()
    while cursor and not cursor.take("INTO", "TABLE"):
        cursor.token()
    table = cursor.path()
    calls = unknown_functions(cursor.rest, cursor.server)
    cursor.at = len(cursor.tokens)
    return (ChangeRows(verb="load", table=table, calls=calls),)
