"""What a statement of a contract revision does, so far as its text tells: an allow-list per server. Pure.

The text is read as tokens (:mod:`.lexer`) and not as a syntax tree: sqlglot drops comments that MySQL and
MariaDB execute, fails on some of their valid ALTER TABLE, knows functions of all servers under one name, and
cannot read the placeholders of drivers.

READ and ADDITIVE are given only to what is known to be so. On PostgreSQL and SQLite, where a revision is one
transaction, the other statements run under its lock; on MySQL and MariaDB only those that were tried under
LOCK TABLES do, and what is left is REFUSED.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from online_migrate.sql import settings
from online_migrate.sql.alter import alter_table
from online_migrate.sql.create import create, drop
from online_migrate.sql.lexer import MYSQL, Sort, Token, readings, split
from online_migrate.sql.parse import Unreadable
from online_migrate.sql.queries import unknown_calls, why_not_read
from online_migrate.sql.verdict import (
    ADDITIVE,
    DESTRUCTIVE,
    LATER,
    READ,
    ROWS,
    Classification,
    Impact,
    Words,
    by_commas,
    control,
    refused,
)

_ONE_BY_ONE = "send each of them by an op.execute of its own"
_QUERIES = ("SELECT", "WITH", "VALUES", "TABLE", "(")
_ENDS = control(
    "it ends the transaction, or frees the lock, under which the rows were counted",
    "take it out; what cannot run in a transaction goes into an autocommit_block",
)
_SESSION = control(
    "it may change which rows a later count reads, or what its transaction sees",
    "name the schema in the statements, and leave the session as it is",
)


def classify(text: str, server: str) -> Classification:
    """The verdict on a text that is sent to *server*: postgresql, mysql, mariadb or sqlite."""
    try:
        verdicts = [_of_text(tokens, server) for tokens in readings(text, server)]
    except Unreadable as error:
        return refused(
            f"it cannot be read: {error}",
            "close the comment, the quotes or the body; a quote inside a text is written twice",
        )
    if len({verdict.impact for verdict in verdicts}) > 1:
        return refused(
            "it does different things, depending on sql_mode and on the version of the server",
            "write it without /*! */ comments, and without a backslash before a quote",
            recorded=any(verdict.recorded for verdict in verdicts),
        )
    return max(verdicts, key=lambda verdict: (verdict.in_place, verdict.rewinds))


def _of_text(tokens: Sequence[Token], server: str) -> Classification:
    parts = [_of_statement(part, server) for part in split(tokens)]
    if not parts:
        return READ
    if len(parts) == 1:
        return parts[0]
    effects = {part.impact for part in parts}
    recorded = any(part.recorded for part in parts)
    rewinds = next((part for part in parts if part.rewinds), None)
    if effects == {Impact.READ}:
        return rewinds or READ
    if rewinds is not None:
        return refused("it frees a lock and goes on", _ONE_BY_ONE, recorded=recorded)
    for part in parts:
        if part.impact in (Impact.CONTROL, Impact.REFUSED):
            return refused(part.reason, part.hint, recorded=recorded)
    if server in MYSQL:
        return refused("there are several statements in one text", _ONE_BY_ONE, recorded=recorded)
    return ADDITIVE if effects <= {Impact.READ, Impact.ADDITIVE} else DESTRUCTIVE


def _of_statement(tokens: Sequence[Token], server: str) -> Classification:
    words = Words(tokens)
    verb = words.next
    if verb in _QUERIES:
        return _query(tokens, server)
    judge = _JUDGES[server].get(verb)
    if judge is not None:
        words.any_()
        return judge(words, server)
    if verb in _UNDER_LOCK[server]:
        return DESTRUCTIVE
    return refused(f"{verb or 'its first word'} is no statement that is known here")


# --- queries --------------------------------------------------------------------------------------


def _query(tokens: Sequence[Token], server: str) -> Classification:
    why = why_not_read(tokens, server)
    if why is None:
        return READ
    if server not in MYSQL:
        return Classification(Impact.DESTRUCTIVE, why, recorded=_first(tokens) != "SELECT")
    if _first(tokens) == "WITH" and why.startswith("there is"):
        return ROWS
    return _opaque(why, recorded=False)


def _first(tokens: Sequence[Token]) -> str:
    """The verb; a WITH that contains a write is recorded like the write."""
    first = next((token.word for token in tokens if token.word != "("), "")
    return "SELECT" if first in ("VALUES", "TABLE") else first


def _opaque(why: str, *, recorded: bool = True) -> Classification:
    return refused(f"{why}, and whether it was done could not be told after a kill", LATER, recorded=recorded)


def _explain(words: Words, server: str) -> Classification:
    """EXPLAIN of a statement that it executes is what the statement is."""
    executes = False
    while words and words.next not in (*_QUERIES[:-1], *_WRITES, "CALL", "CREATE", "EXECUTE", "DECLARE"):
        executes |= words.next in ("ANALYZE", "ANALYSE")
        if server in MYSQL and words.next == "(":
            break
        words.any_()
    if not words:
        return READ if not executes else _as_query(refused("what it executes cannot be read"))
    inner = _of_statement(words.rest, server)
    if inner.impact is Impact.READ or (not executes and inner.impact is Impact.ROWS and server not in MYSQL):
        return READ
    if inner.impact is Impact.ROWS and not executes and not any(unknown_calls(words.rest, server)):
        return READ
    if server in MYSQL and inner.impact is not Impact.REFUSED:
        return _as_query(_opaque("it executes what it explains"))
    return _as_query(inner)


def _as_query(verdict: Classification) -> Classification:
    return Classification(verdict.impact, verdict.reason, verdict.hint, recorded=False)


def _show(words: Words, server: str) -> Classification:
    why = why_not_read(words.rest, server) if server in MYSQL and _has_condition(words.rest) else None
    return READ if why is None else _opaque(why, recorded=False)


def _has_condition(tokens: Sequence[Token]) -> bool:
    return any(token.word == "WHERE" for token in tokens)


# --- transactions, settings -----------------------------------------------------------------------


def _ends(words: Words, server: str) -> Classification:
    return _ENDS


def _session(words: Words, server: str) -> Classification:
    return _SESSION


def _harmless(words: Words, server: str) -> Classification:
    return READ


def _rollback(words: Words, server: str) -> Classification:
    words.any_of("WORK", "TRANSACTION")
    if words.next == "TO":
        return Classification(Impact.READ, recorded=False, rewinds=server not in MYSQL)
    return READ if server in MYSQL else _ENDS  # LOCK TABLES outlives COMMIT and ROLLBACK


def _begin(words: Words, server: str) -> Classification:
    """``BEGIN NOT ATOMIC`` of MariaDB is a block of statements."""
    return refused("it is a block of statements", _ONE_BY_ONE) if words.next == "NOT" else _ENDS


def _prepare(words: Words, server: str) -> Classification:
    if words.next == "TRANSACTION":
        return _ENDS
    return READ if server in MYSQL else DESTRUCTIVE  # it is EXECUTE that does something


def _set(words: Words, server: str) -> Classification:
    if server in MYSQL:
        return _mysql_set(words, server)
    words.any_of("LOCAL", "SESSION")
    return READ if words.name().upper() in settings.HARMLESS[server] else _SESSION


def _mysql_set(words: Words, server: str) -> Classification:
    if words.take("STATEMENT"):
        return _set_statement(words, server)
    why = why_not_read(words.rest, server)
    if why is not None:
        return control(why, LATER)
    known = all(_assigns_harmless(Words(part), server) for part in by_commas(words.rest))
    return READ if known else _SESSION


def _assigns_harmless(words: Words, server: str) -> bool:
    words.any_of("SESSION", "LOCAL")
    if words.take("CHARACTER", "SET"):
        return True
    variable = words.rest[0].text.lower() if words and words.rest[0].sort is Sort.VARIABLE else ""
    for prefix in ("@@session.", "@@local.", "@@"):
        if variable.startswith(prefix):
            return variable.removeprefix(prefix).upper() in settings.HARMLESS[server]
    # A variable of the session's user, @x or @`x`, is read by nothing but the script.
    return bool(variable) or words.next == "@" or words.name().upper() in settings.HARMLESS[server]


def _set_statement(words: Words, server: str) -> Classification:
    """MariaDB: ``SET STATEMENT lock_wait_timeout = 5 FOR`` another statement."""
    tokens = words.rest
    at = next((at for at, token in enumerate(tokens) if token.word == "FOR"), len(tokens))
    if not all(_assigns_harmless(Words(part), server) for part in by_commas(tokens[:at])):
        return _SESSION
    inner = _of_statement(tokens[at + 1 :], server)
    if inner.impact in (Impact.DESTRUCTIVE, Impact.ADDITIVE):
        return refused(
            "ALTER and DROP are sent in a form of their own under the lock",
            "write SET SESSION in a statement before it",
        )
    return inner


def _pragma(words: Words, server: str) -> Classification:
    name = words.name().upper()
    if name in settings.PRAGMAS or (name in settings.READABLE_PRAGMAS and not words):
        return READ
    return DESTRUCTIVE


# --- rows, definitions ----------------------------------------------------------------------------

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE")


def _rows(words: Words, server: str) -> Classification:
    # INSERT OR ROLLBACK of SQLite ends the transaction when a row is in conflict.
    ends = server == "sqlite" and any(token.word == "ROLLBACK" for token in words.rest)
    return _ENDS if ends else ROWS


def _additive(words: Words, server: str) -> Classification:
    return ADDITIVE


def _call(words: Words, server: str) -> Classification:
    return _opaque("what it executes cannot be read")


def _do(words: Words, server: str) -> Classification:
    """MySQL and MariaDB: expressions; PostgreSQL's DO runs under the lock."""
    why = why_not_read(words.rest, server)
    return READ if why is None else _opaque(why)


def _alter(words: Words, server: str) -> Classification:
    if words.take("IGNORE"):
        return refused("ALTER IGNORE deletes the rows that are in the way", "leave out IGNORE")
    words.take("ONLINE")
    if words.take("TABLE"):
        return alter_table(words, server)
    if server not in MYSQL:
        is_type = words.take("TYPE") and words.name() and words.take("ADD", "VALUE")
        return ADDITIVE if is_type else DESTRUCTIVE
    return refused(f"ALTER {words.next} cannot run while tables are locked (error 1192)")


def _rename(words: Words, server: str) -> Classification:
    if words.any_of("TABLE", "TABLES"):
        return DESTRUCTIVE
    return refused(f"RENAME {words.next} was not tried under the lock")


def _mysql_analyze(words: Words, server: str) -> Classification:
    words.any_of("NO_WRITE_TO_BINLOG", "LOCAL")
    if words.next in ("TABLE", "TABLES"):
        return READ
    if words.take("FORMAT", "="):
        words.any_()
    return _as_query(_of_statement(words.rest, server)) if words else refused("it names no table")


def _analyze(words: Words, server: str) -> Classification:
    """Statistics; a write behind the word is no statement of these servers."""
    return READ if words.next not in _WRITES else ROWS


_SHARED: dict[str, Callable[[Words, str], Classification]] = {
    "SAVEPOINT": _harmless,
    "RELEASE": _harmless,
    "ROLLBACK": _rollback,
    "BEGIN": _begin,
    "SET": _set,
    "EXPLAIN": _explain,
    "CREATE": create,
    "DROP": drop,
    "ALTER": _alter,
    **dict.fromkeys(_WRITES, _rows),
}
_MYSQL_JUDGES = _SHARED | {
    **dict.fromkeys(("START", "LOCK", "UNLOCK", "XA"), _ends),
    **dict.fromkeys(("COMMIT", "DEALLOCATE", "CHECKSUM", "HELP"), _harmless),
    **dict.fromkeys(("DESCRIBE", "DESC"), _explain),
    **dict.fromkeys(("USE", "RESET"), _session),
    **dict.fromkeys(("CALL", "EXECUTE"), _call),
    **dict.fromkeys(("LOAD", "TRUNCATE", "IMPORT"), _rows),
    **dict.fromkeys(("GRANT", "REVOKE", "OPTIMIZE", "CHECK"), _additive),
    "SHOW": _show,
    "DO": _do,
    "PREPARE": _prepare,
    "ANALYZE": _mysql_analyze,
    "RENAME": _rename,
}
_JUDGES: dict[str, dict[str, Callable[[Words, str], Classification]]] = {
    "mysql": _MYSQL_JUDGES,
    "mariadb": _MYSQL_JUDGES,
    "postgresql": _SHARED
    | {
        **dict.fromkeys(("COMMIT", "END", "ABORT", "START"), _ends),
        "DISCARD": _session,
        **dict.fromkeys(
            ("SHOW", "LOCK", "CHECKPOINT", "LISTEN", "NOTIFY", "UNLISTEN", "DEALLOCATE"), _harmless
        ),
        **dict.fromkeys(("COMMENT", "GRANT", "REVOKE", "REINDEX", "VACUUM", "CLUSTER"), _additive),
        **dict.fromkeys(("TRUNCATE", "COPY"), _rows),
        "RESET": _set,
        "PREPARE": _prepare,
        "ANALYZE": _analyze,
        "ANALYSE": _analyze,
    },
    "sqlite": _SHARED
    | {
        **dict.fromkeys(("COMMIT", "END"), _ends),
        "PRAGMA": _pragma,
        "ANALYZE": _analyze,
        "REINDEX": _additive,
    },
}
_UNDER_LOCK: dict[str, frozenset[str]] = {
    "mysql": frozenset(),
    "mariadb": frozenset(),
    "postgresql": frozenset(
        {
            "CALL",
            "CLOSE",
            "DECLARE",
            "DO",
            "EXECUTE",
            "FETCH",
            "IMPORT",
            "LOAD",
            "MOVE",
            "REASSIGN",
            "REFRESH",
        }
        | {"SECURITY"}
    ),
    "sqlite": frozenset({"VACUUM", "ATTACH", "DETACH"}),
}
"""Statements whose effect is not known, and that cannot end the transaction in which the lock is held."""
