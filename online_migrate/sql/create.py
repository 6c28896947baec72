"""CREATE and DROP: which of them add and lose nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.lexer import MYSQL, Sort, Token
from online_migrate.sql.queries import unknown_calls, why_not_read, written
from online_migrate.sql.verdict import ADDITIVE, DESTRUCTIVE, READ, Classification, Words, refused

_TEMPORARY = frozenset({"TEMPORARY", "TEMP"})
_BEFORE_OBJECT = frozenset(
    {"OR", "REPLACE", "TEMPORARY", "TEMP", "GLOBAL", "LOCAL", "UNLOGGED", "UNIQUE", "FULLTEXT", "SPATIAL"}
    | {"VECTOR", "ALGORITHM", "DEFINER", "SQL", "SECURITY", "INVOKER", "UNDEFINED", "MERGE", "TEMPTABLE", "="}
    | {"AGGREGATE", "RECURSIVE", "MATERIALIZED", "CURRENT_USER", "CURRENT_ROLE", "(", ")", "@"}
)
_SIMPLE = frozenset({"SEQUENCE", "DATABASE", "SCHEMA", "USER", "ROLE", "STATISTICS", "TYPE"})


def create(words: Words, server: str) -> Classification:
    """Judges a CREATE of which the verb was read already."""
    head: list[str] = []
    while words and (words.next in _BEFORE_OBJECT or _names_a_user(words, head)):
        head.append(words.next)
        words.any_()
    what = words.next
    words.any_()
    if not _TEMPORARY.isdisjoint(head):
        return refused(
            "a temporary object hides one of the same name, which the next count would read",
            "create a table under a name of its own, and drop it at the end of the script",
        )
    judge = _BY_OBJECT.get(what)
    if judge is None or "MATERIALIZED" in head:
        judge = _other
    return judge(words, server, "REPLACE" in head)


def _names_a_user(words: Words, head: Sequence[str]) -> bool:
    """``DEFINER = `root`@`localhost` ``: names and texts that follow the equals sign or the at sign."""
    if "DEFINER" not in head:
        return False
    token = words.rest[0]
    return token.sort in (Sort.NAME, Sort.STRING, Sort.VARIABLE) or head[-1:] == ["="]


def _table(words: Words, server: str, replaces: bool) -> Classification:
    if replaces:
        return DESTRUCTIVE
    return _filled_by(words.rest, server)


def _filled_by(tokens: Sequence[Token], server: str) -> Classification:
    """A new table, and the query that fills it, if there is one."""
    query = _mysql_query(tokens) if server in MYSQL else _query_after_as(tokens)
    verb = next((f"there is {verb} in it" for verb in written(tokens)), None)
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
    """From the first SELECT, or VALUES ROW; a partition's VALUES IN is none."""
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
    return refused("the event may change rows at once, in a session of the server's own")


def _simple(words: Words, server: str, replaces: bool) -> Classification:
    nested = any(token.word in ("CREATE", "SELECT") for token in words.rest)
    if replaces or nested:
        return refused("it replaces what is there") if server in MYSQL else DESTRUCTIVE
    return ADDITIVE


def _other(words: Words, server: str, replaces: bool) -> Classification:
    if server not in MYSQL:
        return DESTRUCTIVE
    return refused("what it creates is not known to be harmless")


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
    """Judges a DROP of which the verb was read already."""
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
