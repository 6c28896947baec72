"""Classifies CREATE and DROP statements: which of them only add objects and lose nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.classification.queries import unknown_calls, why_not_read, written
from online_migrate.sql.classification.verdict import (
    ADDITIVE,
    DESTRUCTIVE,
    READ,
    Classification,
    Words,
    refused,
)
from online_migrate.sql.lexer import MYSQL, Sort, Token

_TEMPORARY = frozenset({"TEMPORARY", "TEMP"})
_BEFORE_OBJECT = frozenset(
    {"OR", "REPLACE", "TEMPORARY", "TEMP", "GLOBAL", "LOCAL", "UNLOGGED", "UNIQUE", "FULLTEXT", "SPATIAL"}
    | {"VECTOR", "ALGORITHM", "DEFINER", "SQL", "SECURITY", "INVOKER", "UNDEFINED", "MERGE", "TEMPTABLE", "="}
    | {"AGGREGATE", "RECURSIVE", "MATERIALIZED", "CURRENT_USER", "CURRENT_ROLE", "(", ")", "@"}
)
_SIMPLE = frozenset({"SEQUENCE", "DATABASE", "SCHEMA", "USER", "ROLE", "STATISTICS", "TYPE"})


def create(words: Words, server: str) -> Classification:
    """Returns the classification of a CREATE; *words* begin after the verb."""
    head: list[str] = []
    while words and (words.next in _BEFORE_OBJECT or _names_a_user(words, head)):
        head.append(words.next)
        words.any_()
    what = words.next
    words.any_()
    if not _TEMPORARY.isdisjoint(head):
        return refused(
            "a temporary object hides a permanent one of the same name, which the next count would miss",
            "create a permanent table with a unique name, and drop it at the end of the script",
        )
    judge = _BY_OBJECT.get(what)
    if judge is None or "MATERIALIZED" in head:
        judge = _other
    return judge(words, server, "REPLACE" in head)


def _names_a_user(words: Words, head: Sequence[str]) -> bool:
    """Returns True for a part of a user name, as in ``DEFINER = `root`@`localhost` ``."""
    if "DEFINER" not in head:
        return False
    token = words.rest[0]
    return token.sort in (Sort.NAME, Sort.STRING, Sort.VARIABLE) or head[-1:] == ["="]


def _table(words: Words, server: str, replaces: bool) -> Classification:
    if replaces:
        return DESTRUCTIVE
    return _filled_by(words.rest, server)


def _filled_by(tokens: Sequence[Token], server: str) -> Classification:
    """Classifies CREATE TABLE, including the query that fills the table, if there is one."""
    query = _mysql_query(tokens) if server in MYSQL else _query_after_as(tokens)
    verb = next((f"it contains {verb}" for verb in written(tokens)), None)
    why = verb or (why_not_read(query, server) if query else None)
    if query and query[0].word == "EXECUTE":
        why = "it executes a prepared statement"
    if why is None:
        return ADDITIVE
    return refused(f"{why}, and a table cannot be created under the lock") if server in MYSQL else DESTRUCTIVE


def _query_after_as(tokens: Sequence[Token]) -> Sequence[Token]:
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth == 0 and token.word == "AS":
            return tokens[at + 1 :]
    return ()


def _mysql_query(tokens: Sequence[Token]) -> Sequence[Token]:
    """Returns the tokens from the first SELECT or VALUES ROW on; VALUES IN of a partition is no query."""
    words = [token.word for token in tokens]
    for at, word in enumerate(words):
        if word == "SELECT" or words[at : at + 2] == ["VALUES", "ROW"]:
            return tokens[at:]
    return ()


def _index(words: Words, server: str, replaces: bool) -> Classification:
    if replaces:
        return DESTRUCTIVE
    tokens = words.rest
    on = next((at for at, token in enumerate(tokens) if token.word == "ON"), len(tokens))
    words = Words(tokens[on + 1 :])
    words.take("ONLY")
    words.name()
    called = server not in MYSQL and any(unknown_calls(words.rest, server, index=True))
    return DESTRUCTIVE if called else ADDITIVE


def _view(words: Words, server: str, replaces: bool) -> Classification:
    if not replaces:
        return ADDITIVE
    if server in MYSQL:
        return refused("a view cannot be replaced while tables are locked (error 1192)")
    return DESTRUCTIVE


def _trigger(words: Words, server: str, replaces: bool) -> Classification:
    return DESTRUCTIVE if replaces else ADDITIVE


def _routine(words: Words, server: str, replaces: bool) -> Classification:
    if server not in MYSQL:
        return DESTRUCTIVE if replaces else ADDITIVE
    if replaces or any(token.word == "SONAME" for token in words.rest):
        return refused("a routine cannot be replaced while tables are locked (error 1192)")
    return ADDITIVE


def _event(words: Words, server: str, replaces: bool) -> Classification:
    return refused("the event may change rows immediately, in a session of the server")


def _simple(words: Words, server: str, replaces: bool) -> Classification:
    nested = any(token.word in ("CREATE", "SELECT") for token in words.rest)
    if replaces or nested:
        return refused("it replaces an existing object") if server in MYSQL else DESTRUCTIVE
    return ADDITIVE


def _other(words: Words, server: str, replaces: bool) -> Classification:
    if server not in MYSQL:
        return DESTRUCTIVE
    return refused("the object that it creates is not known to be safe")


_BY_OBJECT = {
    "TABLE": _table,
    "INDEX": _index,
    "VIEW": _view,
    "TRIGGER": _trigger,
    "PROCEDURE": _routine,
    "FUNCTION": _routine,
    "EVENT": _event,
    **dict.fromkeys(_SIMPLE, _simple),
}

_DROPPED_UNDER_LOCK = ("TABLE", "TABLES", "TRIGGER", "INDEX")


def drop(words: Words, server: str) -> Classification:
    """Returns the classification of a DROP; *words* begin after the verb."""
    if server not in MYSQL:
        concurrently = words.take("INDEX", "CONCURRENTLY")
        cascades = any(token.word == "CASCADE" for token in words.rest)
        return ADDITIVE if concurrently and not cascades else DESTRUCTIVE
    if words.take("PREPARE"):
        return READ
    words.take("TEMPORARY")
    if words.next in _DROPPED_UNDER_LOCK:
        return DESTRUCTIVE
    what = words.next or "this"
    return refused(f"{what} cannot be dropped while tables are locked (error 1192)")
