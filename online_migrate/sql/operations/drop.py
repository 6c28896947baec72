"""Reads DROP. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.indexes import drop_index
from online_migrate.sql.operations.objects import ON_TABLE, take_kind
from online_migrate.sql.operations.operation import DropObject, DropTable, Operation, Query
from online_migrate.sql.operations.parts import Name

_KINDS: dict[str, frozenset[str]] = {
    "postgresql": frozenset(
        {"view", "materialized view", "trigger", "function", "procedure", "routine", "sequence", "type"}
        | {"domain", "schema", "extension", "statistics", "collation", "database", "role", "user", "group"}
        | {"policy", "rule", "publication", "subscription", "server", "event trigger", "foreign table"}
        | {"foreign data wrapper", "aggregate", "tablespace", "access method", "conversion", "language"}
    ),
    "mysql": frozenset(
        {"view", "trigger", "function", "procedure", "event", "database", "schema", "user", "role", "server"}
    ),
    "mariadb": frozenset(
        {"view", "trigger", "function", "procedure", "event", "database", "schema", "user", "role", "server"}
        | {"sequence", "package"}
    ),
    "sqlite": frozenset({"view", "trigger"}),
}
_WITH_ARGUMENTS = frozenset({"function", "procedure", "routine", "aggregate"})


def drop(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a DROP; *cursor* is after the verb."""
    if cursor.server in MYSQL and cursor.take("PREPARE"):
        cursor.name()
        return (Query(),)
    cursor.take("TEMPORARY")
    if cursor.take("TABLE") or (cursor.server in MYSQL and cursor.take("TABLES")):
        return _tables(cursor)
    if cursor.take("INDEX"):
        return drop_index(cursor)
    kind = take_kind(cursor)
    if kind not in _KINDS[cursor.server]:
        raise cursor.fail()
    guarded = cursor.guard()
    names = _names(cursor, kind)
    table = None
    if kind in ON_TABLE and cursor.take("ON"):
        table = cursor.path()
    cursor.any_of("CASCADE", "RESTRICT")
    return tuple(DropObject(kind=kind, object=name, table=table, guarded=guarded) for name in names)


def _tables(cursor: Cursor) -> tuple[Operation, ...]:
    guarded = cursor.guard()
    names = cursor.paths()
    if cursor.server in MYSQL and cursor.take("WAIT"):
        cursor.value()
    elif cursor.server in MYSQL:
        cursor.take("NOWAIT")
    cursor.any_of("CASCADE", "RESTRICT")
    return tuple(DropTable(table=name, guarded=guarded) for name in names)


def _names(cursor: Cursor, kind: str) -> Sequence[Name]:
    found = []
    while True:
        if cursor.server in MYSQL and kind in ("user", "role"):
            found.append(Name(cursor.value().strip("'\"`")))
            if cursor.take("@") or cursor.next.startswith("@"):
                cursor.value()
        else:
            found.append(cursor.path())
        if kind in _WITH_ARGUMENTS and cursor.next == "(":
            cursor.group()
        if not cursor.take(","):
            return found
