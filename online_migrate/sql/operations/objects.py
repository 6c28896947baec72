"""Reads CREATE of everything else than tables and indexes: views, triggers, routines and so on. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from online_migrate.sql.lexer import MYSQL, Sort
from online_migrate.sql.operations.create_table import create_table, create_virtual_table, read_filling
from online_migrate.sql.operations.cursor import Cursor, written
from online_migrate.sql.operations.indexes import create_index
from online_migrate.sql.operations.operation import (
    CreateObject,
    CreateRoutine,
    CreateTrigger,
    CreateView,
    Operation,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.rows import unknown_functions
from online_migrate.sql.operations.select_list import selected_columns

Found = tuple[Operation, ...]
TWO_WORDS = {
    "MATERIALIZED": ("VIEW",),
    "EVENT": ("TRIGGER",),
    "FOREIGN": ("TABLE", "DATA"),
    "ACCESS": ("METHOD",),
    "TEXT": ("SEARCH",),
    "USER": ("MAPPING",),
    "OPERATOR": ("CLASS", "FAMILY"),
}
"""Kinds of objects with names of two words."""
_KINDS: dict[str, frozenset[str]] = {
    "postgresql": frozenset(
        {"sequence", "type", "domain", "schema", "extension", "statistics", "collation", "database", "role"}
        | {"user", "group", "policy", "rule", "publication", "subscription", "server", "event trigger"}
        | {"foreign table", "foreign data wrapper", "aggregate", "tablespace", "access method", "conversion"}
        | {"language"}
    ),
    "mysql": frozenset({"database", "schema", "user", "role", "event", "server"}),
    "mariadb": frozenset({"database", "schema", "user", "role", "event", "server", "sequence", "package"}),
    "sqlite": frozenset(),
}
ON_TABLE = frozenset({"policy", "rule", "trigger"})
"""Kinds of objects that belong to a table: their names are followed by ON and the table."""


def create(cursor: Cursor) -> Found:
    """Returns the operations of a CREATE; *cursor* is after the verb."""
    replace = cursor.take("OR", "REPLACE")
    _take_definer(cursor)
    temporary = _take_temporary(cursor)
    kind = cursor.any_of("UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR")
    if cursor.server == "sqlite" and cursor.take("VIRTUAL", "TABLE"):
        return create_virtual_table(cursor)
    if cursor.take("TABLE"):
        return create_table(cursor, temporary=temporary, replace=replace)
    if cursor.take("INDEX"):
        return create_index(cursor, kind=kind, replace=replace)
    cursor.any_of("RECURSIVE", "CONSTRAINT", "TRUSTED", "PROCEDURAL")
    if cursor.word(1) == "FUNCTION":
        cursor.take("AGGREGATE")
    object_kind = take_kind(cursor)
    if kind or not object_kind:
        raise cursor.fail()
    if object_kind in ("view", "materialized view"):
        return _view(cursor, object_kind, replace=replace, temporary=temporary)
    reader = _READERS.get(object_kind)
    if reader is not None:
        return reader(cursor, object_kind, replace)
    if object_kind not in _KINDS[cursor.server] or temporary:
        raise cursor.fail()
    return _object(cursor, object_kind, replace)


def _take_temporary(cursor: Cursor) -> bool:
    cursor.any_of("GLOBAL", "LOCAL")
    temporary = bool(cursor.any_of("TEMPORARY", "TEMP"))
    cursor.take("UNLOGGED")
    return temporary


def _take_definer(cursor: Cursor) -> None:
    """Consumes ALGORITHM, DEFINER and SQL SECURITY of MySQL and MariaDB."""
    while cursor.server in MYSQL:
        if cursor.take("ALGORITHM", "="):
            cursor.value()
        elif cursor.take("DEFINER", "="):
            _take_user(cursor)
        elif cursor.take("SQL", "SECURITY"):
            cursor.name()
        else:
            return


def _take_user(cursor: Cursor) -> None:
    cursor.value()
    if cursor.next == "(":
        cursor.group()
    elif cursor.take("@") or (cursor and cursor.rest[0].sort is Sort.VARIABLE):
        cursor.value()


def take_kind(cursor: Cursor) -> str:
    """Consumes the kind of an object, and returns it in lower case."""
    if not cursor.next.isalpha():
        return ""
    second = TWO_WORDS.get(cursor.next, ())
    words = [cursor.token().word]
    if cursor.next in second:
        words.append(cursor.token().word)
        if words == ["FOREIGN", "DATA"]:
            cursor.expect("WRAPPER")
            words.append("WRAPPER")
        if words == ["TEXT", "SEARCH"]:
            words.append(cursor.token().word)
    return " ".join(words).lower()


# --- views, triggers, routines --------------------------------------------------------------------


def _view(cursor: Cursor, kind: str, *, replace: bool, temporary: bool) -> Found:
    guarded = cursor.guard()
    view = cursor.path()
    columns = cursor.names_in_group() if cursor.next == "(" else None
    while cursor.next in ("WITH", "USING", "TABLESPACE"):
        if cursor.token().word != "WITH":
            cursor.name()
        else:
            cursor.group()
    cursor.expect("AS")
    query = cursor.remainder()
    if not query:
        raise cursor.fail()
    if columns is None:
        columns = selected_columns(Cursor(query.tokens, cursor.server))
    materialized = kind.startswith("materialized")
    created = CreateView(
        view=view,
        replace=replace,
        materialized=materialized,
        temporary=temporary,
        columns=columns,
        calls=unknown_functions(query.tokens, cursor.server),
        guarded=guarded,
    )
    return (created, *read_filling(query)) if materialized else (created,)


def _trigger(cursor: Cursor, kind: str, replace: bool) -> Found:
    guarded = cursor.guard()
    trigger = cursor.path()
    while cursor and not cursor.take("ON"):
        cursor.token()
    table = cursor.path()
    body = written(cursor.rest)
    cursor.at = len(cursor.tokens)
    return (CreateTrigger(trigger=trigger, table=table, replace=replace, body=body, guarded=guarded),)


def _routine(cursor: Cursor, kind: str, replace: bool) -> Found:
    guarded = cursor.guard()
    routine = cursor.path()
    cursor.at = len(cursor.tokens)
    return (CreateRoutine(routine=routine, replace=replace, guarded=guarded),)


# --- others ---------------------------------------------------------------------------------------


def _object(cursor: Cursor, kind: str, replace: bool) -> Found:
    guarded = cursor.guard()
    table = None
    if kind == "schema" and cursor.server == "postgresql":
        return _schema(cursor, guarded)
    if kind == "statistics" and cursor.next in ("ON", "("):
        name = Name("")  # PostgreSQL 16: the server chooses the name
    else:
        name = cursor.path() if cursor.names else Name(cursor.text())
    if kind == "rule":
        while cursor and not cursor.take("TO"):
            cursor.token()
        table = cursor.path()
    elif kind in ON_TABLE:
        cursor.expect("ON")
        table = cursor.path()
    if kind == "foreign table" and _has_parent(cursor):
        raise cursor.fail()
    if kind == "user" and cursor.server in MYSQL and _has_host(cursor):
        kind = "user of a host"
    if replace:
        raise cursor.fail()
    enum = kind == "type" and cursor.next == "AS" and cursor.word(1) == "ENUM"
    evaluates = kind == "statistics" and _has_expression(cursor)
    cursor.at = len(cursor.tokens)
    return (
        CreateObject(kind=kind, object=name, table=table, enum=enum, evaluates=evaluates, guarded=guarded),
    )


def _has_expression(cursor: Cursor) -> bool:
    """Returns True for extended statistics of PostgreSQL that are on more than columns."""
    if cursor.next == "(":
        cursor.group()  # the kinds
    cursor.expect("ON")
    words = [token.word for token in cursor.rest]
    return "(" in words[: words.index("FROM") if "FROM" in words else None]


def _has_parent(cursor: Cursor) -> bool:
    """Returns True for a foreign table of PostgreSQL that is a partition or a child of a table."""
    words = [token.word for token in cursor.rest]
    return "INHERITS" in words or words[:2] == ["PARTITION", "OF"]


def _has_host(cursor: Cursor) -> bool:
    """Returns True if one of the accounts is for another host than ``%``."""
    hosts = [after for mark, after in itertools.pairwise(cursor.rest) if mark.word == "@"]
    return any(host.written.strip("'\"`") != "%" for host in hosts) or any(
        token.sort is Sort.VARIABLE for token in cursor.rest
    )


def _schema(cursor: Cursor, guarded: bool) -> Found:
    name, owner = "", None
    if cursor.next != "AUTHORIZATION":
        name = cursor.name()
    if cursor.take("AUTHORIZATION"):
        owner = cursor.name()
        name = name or owner
    return (CreateObject(kind="schema", object=Name(name), of_account=name == owner, guarded=guarded),)


_READERS: Mapping[str, Callable[[Cursor, str, bool], Found]] = {
    "trigger": _trigger,
    "function": _routine,
    "procedure": _routine,
}
