"""Reads CREATE INDEX, DROP INDEX and ALTER INDEX. Pure."""

from __future__ import annotations

from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations.constraints import (
    read_index_key,
    take_index_options,
    take_nulls_not_distinct,
)
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.expressions import expression
from online_migrate.sql.operations.operation import (
    AlterIndex,
    CreateIndex,
    DropIndex,
    Operation,
    SetTableOption,
)
from online_migrate.sql.operations.parts import Expression, Index, Name


def create_index(cursor: Cursor, *, kind: str, replace: bool) -> tuple[Operation, ...]:
    """Returns the operations of a CREATE INDEX; *cursor* is after INDEX, *kind*: the word before it."""
    concurrently = cursor.server == "postgresql" and cursor.take("CONCURRENTLY")
    guarded = cursor.guard()
    name, method = None, None
    if cursor.next != "ON":
        name = cursor.path().name
    if cursor.take("USING"):
        method = cursor.name().lower()
    cursor.expect("ON")
    cursor.take("ONLY")
    table = cursor.path()
    if cursor.take("USING"):
        method = cursor.name().lower()
    columns, expressions, operator_classes = read_index_key(cursor)
    where: Expression | None = None
    included: tuple[str, ...] = ()
    nulls_not_distinct = False
    if cursor.server in MYSQL:
        method = take_index_options(cursor) or method
    else:
        included = cursor.names_in_group() if cursor.take("INCLUDE") else ()
        where, nulls_not_distinct = _standard_options(cursor)
    index = Index(
        name=name,
        columns=columns,
        unique=kind == "UNIQUE",
        concurrently=concurrently,
        where=where,
        expressions=expressions,
        nulls_not_distinct=nulls_not_distinct,
        method=kind.lower() if kind in ("FULLTEXT", "SPATIAL", "VECTOR") else method,
        included=included,
        operator_classes=operator_classes,
    )
    created = CreateIndex(table=table, index=index, guarded=guarded)
    dropped = (DropIndex(index=Name(name), table=table, guarded=True),) if replace and name else ()
    return (*dropped, created, *read_forms(cursor, table))


def _standard_options(cursor: Cursor) -> tuple[Expression | None, bool]:
    """Consumes the options of an index of PostgreSQL and SQLite.

    Returns its condition, and whether NULLS NOT DISTINCT was given.
    """
    nulls_not_distinct = take_nulls_not_distinct(cursor)
    if cursor.take("WITH"):
        cursor.group()
    if cursor.take("TABLESPACE"):
        cursor.name()
    if not cursor.take("WHERE"):
        return None, nulls_not_distinct
    rest, cursor.at = cursor.rest, len(cursor.tokens)
    return expression(rest, cursor.server), nulls_not_distinct


def read_forms(cursor: Cursor, table: Name) -> tuple[SetTableOption, ...]:
    """Consumes ALGORITHM, LOCK, WAIT and NOWAIT of MySQL and MariaDB."""
    found = []
    while cursor.server in MYSQL and cursor.next in ("ALGORITHM", "LOCK", "WAIT", "NOWAIT"):
        found.append(take_form(cursor, table))
    return tuple(found)


def take_form(cursor: Cursor, table: Name) -> SetTableOption:
    """Consumes one clause that says how a change is executed, and not what it changes."""
    option = cursor.token().word.lower()
    if option == "nowait":
        return SetTableOption(table=table, option="nowait")
    cursor.take("=")
    return SetTableOption(table=table, option=option, value=cursor.value().lower())


def drop_index(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a DROP INDEX; *cursor* is after INDEX."""
    concurrently = cursor.server == "postgresql" and cursor.take("CONCURRENTLY")
    guarded = cursor.guard()
    if cursor.server in MYSQL:
        index = Name(cursor.name())
        cursor.expect("ON")
        table = cursor.path()
        return (DropIndex(index=index, table=table, guarded=guarded), *read_forms(cursor, table))
    names = cursor.paths()
    cursor.any_of("CASCADE", "RESTRICT")
    return tuple(DropIndex(index=name, concurrently=concurrently, guarded=guarded) for name in names)


def alter_index(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of an ALTER INDEX of PostgreSQL; *cursor* is after INDEX."""
    guarded = cursor.guard()
    index = cursor.path()
    change = _change_of_index(cursor)
    return (AlterIndex(index=index, change=change, guarded=guarded),)


def _change_of_index(cursor: Cursor) -> str:
    if cursor.take("RENAME", "TO"):
        cursor.name()
        return "rename"
    if cursor.take("ATTACH", "PARTITION"):
        cursor.path()
        return "attach partition"
    if cursor.take("SET", "TABLESPACE"):
        cursor.name()
        cursor.take("NOWAIT")
        return "tablespace"
    if cursor.any_of("SET", "RESET"):
        cursor.group()
        return "storage parameters"
    if cursor.take("ALTER"):
        cursor.take("COLUMN")
        cursor.value()
        cursor.expect("SET", "STATISTICS")
        cursor.value()
        return "statistics"
    cursor.take("NO")
    cursor.expect("DEPENDS", "ON", "EXTENSION")
    cursor.name()
    return "depends on extension"
