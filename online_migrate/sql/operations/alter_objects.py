"""Reads ALTER of everything else than tables and indexes, COMMENT ON, GRANT and REVOKE. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.lexer import MYSQL, Sort
from online_migrate.sql.operations.alter_table import alter_table
from online_migrate.sql.operations.cursor import Cursor, unquoted, written
from online_migrate.sql.operations.indexes import alter_index
from online_migrate.sql.operations.objects import ON_TABLE, take_kind
from online_migrate.sql.operations.operation import (
    AddEnumValue,
    AlterObject,
    ChangePrivileges,
    CommentOn,
    CreateView,
    Operation,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.rows import unknown_functions
from online_migrate.sql.operations.select_list import selected_columns

Found = tuple[Operation, ...]
_KINDS: dict[str, frozenset[str]] = {
    "postgresql": frozenset(
        {"view", "materialized view", "trigger", "function", "procedure", "routine", "sequence", "type"}
        | {"domain", "schema", "extension", "statistics", "collation", "database", "role", "user", "group"}
        | {"policy", "rule", "publication", "subscription", "server", "event trigger", "foreign table"}
        | {"foreign data wrapper", "aggregate", "tablespace", "conversion", "language"}
    ),
    "mysql": frozenset({"database", "schema", "user", "event", "server", "function", "procedure"}),
    "mariadb": frozenset(
        {"database", "schema", "user", "event", "server", "function", "procedure", "sequence"}
    ),
    "sqlite": frozenset(),
}
_WITH_ARGUMENTS = frozenset({"function", "procedure", "routine", "aggregate"})
_WITH_OPTIONS = frozenset({"role", "user", "group", "policy", "database", "server"})
_TWO_WORDS = frozenset({"ADD", "DROP", "ALTER", "SET", "RENAME", "VALIDATE"})
_SECOND_WORDS = frozenset(
    {"ATTRIBUTE", "CONSTRAINT", "DEFAULT", "NOT", "SCHEMA", "VALUE", "COLUMN", "TABLE", "TABLES"}
)


def alter(cursor: Cursor) -> Found:
    """Returns the operations of an ALTER; *cursor* is after the verb."""
    if cursor.server in MYSQL:
        cursor.take("ONLINE")
    if cursor.take("TABLE"):
        return alter_table(cursor)
    if cursor.server == "postgresql" and cursor.take("INDEX"):
        return alter_index(cursor)
    if cursor.server in MYSQL and _is_view(cursor):
        return _mysql_view(cursor)
    if cursor.take("DEFAULT", "PRIVILEGES"):
        return _default_privileges(cursor)
    kind = take_kind(cursor)
    if kind not in _KINDS[cursor.server]:
        raise cursor.fail()
    guarded = cursor.guard()
    name = cursor.path() if cursor.names else Name(cursor.text())
    if kind in _WITH_ARGUMENTS and cursor.next == "(":
        cursor.group()
    if kind in ON_TABLE and cursor.take("ON"):
        cursor.path()
    if kind == "type" and cursor.take("ADD", "VALUE"):
        return _enum_value(cursor, name)
    owned = _owned_sequence(cursor, name, guarded) if kind == "sequence" else None
    if owned is not None:
        return (owned,)
    return (AlterObject(kind=kind, object=name, change=_change(cursor, kind), guarded=guarded),)


def _enum_value(cursor: Cursor, name: Name) -> Found:
    guarded = cursor.guard()
    value = cursor.text()
    neighbour = cursor.text() if cursor.any_of("BEFORE", "AFTER") else None
    return (AddEnumValue(type=name, value=value, neighbour=neighbour, guarded=guarded),)


def _change(cursor: Cursor, kind: str) -> str:
    """Consumes the rest, and returns the change in one or two words."""
    if not cursor:
        raise cursor.fail()
    words = [token.word for token in cursor.rest]
    first, second = words[0], words[1] if len(words) > 1 else ""
    cursor.at = len(cursor.tokens)
    if kind == "sequence" and first not in ("OWNER", "RENAME", "SET"):
        return "restart" if "RESTART" in words else "options"
    is_option = kind in _WITH_OPTIONS and first not in ("OWNER", "RENAME", "SET", "RESET", "ADD", "DROP")
    if is_option or not first.isalpha():
        return "options"
    if kind == "domain" and first == "ADD":
        return "add constraint"
    if kind == "view" and first == "ALTER":
        return "alter column"
    pair = first in _TWO_WORDS and second in _SECOND_WORDS
    return f"{first} {second}".lower() if pair else first.lower()


def _owned_sequence(cursor: Cursor, sequence: Name, guarded: bool) -> AlterObject | None:
    """Consumes OWNED BY and a column or NONE, if nothing follows; returns the operation."""
    start = cursor.at
    if cursor.take("OWNED", "BY") and cursor.names:
        parts = [cursor.name()]
        while cursor.take("."):
            parts.append(cursor.name())
        if not cursor:
            return owned_sequence(sequence, parts, guarded)
    cursor.at = start
    return None


def owned_sequence(sequence: Name, owner: Sequence[str], guarded: bool) -> AlterObject:
    """Returns the operation of an OWNED BY; *owner*: the column after its table, or one word, NONE."""
    if len(owner) == 1:
        return AlterObject(kind="sequence", object=sequence, change="owned by none", guarded=guarded)
    column = (Name(owner[-2], owner[-3] if len(owner) > 2 else None), owner[-1])
    return AlterObject(kind="sequence", object=sequence, change="owned by", owner=column, guarded=guarded)


def _is_view(cursor: Cursor) -> bool:
    words = [token.word for token in cursor.rest[:16]]
    return "VIEW" in words and words[0] in ("VIEW", "ALGORITHM", "DEFINER", "SQL")


def _mysql_view(cursor: Cursor) -> Found:
    """Reads ALTER VIEW of MySQL and MariaDB, which replaces the query of the view."""
    while not cursor.take("VIEW"):
        cursor.token()
    view = cursor.path()
    columns = cursor.names_in_group() if cursor.next == "(" else None
    cursor.expect("AS")
    rest, cursor.at = cursor.rest, len(cursor.tokens)
    if columns is None:
        columns = selected_columns(Cursor(rest, cursor.server))
    calls = unknown_functions(rest, cursor.server)
    return (CreateView(view=view, replace=True, columns=columns, calls=calls),)


def _default_privileges(cursor: Cursor) -> Found:
    while cursor and cursor.next not in ("GRANT", "REVOKE"):
        cursor.token()
    return privileges(cursor)


# --- comments and privileges ----------------------------------------------------------------------


def comment(cursor: Cursor) -> Found:
    """Returns the operation of a COMMENT ON; *cursor* is after the verb."""
    cursor.expect("ON")
    kind = take_kind(cursor)
    start = cursor.at
    while cursor and not (cursor.next == "IS" and len(cursor.rest) == 2):
        cursor.token()
    name = _object(cursor, start)
    cursor.expect("IS")
    if not cursor.take("NULL"):
        if cursor.rest[:1] and cursor.rest[0].sort is not Sort.STRING:
            raise cursor.fail()
        unquoted(cursor.token())
    if not kind or not name:
        raise cursor.fail()
    return (CommentOn(kind=kind, object=name),)


def _object(cursor: Cursor, start: int) -> str:
    """Returns the object of a comment: its name as the catalog stores it, and what follows it as written."""
    inside = Cursor(cursor.tokens[start : cursor.at], cursor.server)
    parts = [inside.name()]
    while inside.take("."):
        parts.append(inside.name())
    rest = written(inside.rest)
    if inside.take("ON"):
        inside.take("DOMAIN")
        rest = f"on {inside.path()}"
    elif inside.next == "(":
        rest = ""  # the arguments of a function
    return " ".join((".".join(parts), rest)).strip()


def privileges(cursor: Cursor) -> Found:
    """Returns the operation of a GRANT or REVOKE; *cursor* is at the verb."""
    takes_away = cursor.token().word == "REVOKE"
    words = [token.word for token in cursor.rest]
    if not takes_away and _CHANGES_ACCOUNT[cursor.server].intersection(words):
        raise cursor.fail()
    cursor.at = len(cursor.tokens)
    return (ChangePrivileges(takes_away=takes_away),)


_LIMITS = frozenset(
    {"MAX_QUERIES_PER_HOUR", "MAX_UPDATES_PER_HOUR", "MAX_CONNECTIONS_PER_HOUR", "MAX_USER_CONNECTIONS"}
    | {"MAX_STATEMENT_TIME", "IDENTIFIED", "REQUIRE"}
)
_CHANGES_ACCOUNT: dict[str, frozenset[str]] = {
    "mysql": _LIMITS,
    "mariadb": _LIMITS,
    "postgresql": frozenset({"FALSE"}),
}
"""Words of a GRANT that changes the password or limits of an account (MariaDB), or takes an option of a
membership away (PostgreSQL 16)."""
