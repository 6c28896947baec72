"""Reads ALTER TABLE and RENAME TABLE: the table, and its actions one by one. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations import alter_table_mysql, alter_table_postgresql
from online_migrate.sql.operations.columns import read_column
from online_migrate.sql.operations.cursor import Cursor, Unknown, unrecognized
from online_migrate.sql.operations.operation import (
    AddColumn,
    DropColumn,
    Operation,
    RenameColumn,
    RenameTable,
    SetTableOption,
)
from online_migrate.sql.operations.parts import Name


def alter_table(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of an ALTER TABLE; *cursor* is after TABLE."""
    guarded = cursor.take("IF", "EXISTS")
    cursor.take("ONLY")
    table = cursor.path()
    cursor.take("*")
    found: list[Operation] = []
    if cursor.server in MYSQL:
        found += _waits(cursor, table)
    for action in _actions(cursor):
        found += _read(action, table)
    if cursor.server in MYSQL and not all(_adds_virtual_column(operation) for operation in found):
        found = [_combined(operation) for operation in found]
    return tuple(_with_guard(operation, guarded) for operation in found)


_FORMS = ("algorithm", "lock", "wait", "nowait", "with validation", "without validation")


def _adds_virtual_column(operation: Operation) -> bool:
    """Returns True for a new virtual column, and for an option that says how the statement is executed."""
    if isinstance(operation, SetTableOption):
        return operation.option in _FORMS
    return (
        isinstance(operation, AddColumn)
        and operation.column.generated is not None
        and not operation.column.stored
    )


def _combined(operation: Operation) -> Operation:
    if isinstance(operation, AddColumn) and _adds_virtual_column(operation):
        return dataclasses.replace(operation, combined=True)
    return operation


def _waits(cursor: Cursor, table: Name) -> list[Operation]:
    if cursor.take("NOWAIT"):
        return [SetTableOption(table=table, option="nowait")]
    if cursor.take("WAIT"):
        return [SetTableOption(table=table, option="wait", value=cursor.value())]
    return []


def _actions(cursor: Cursor) -> list[Cursor]:
    if cursor.server in MYSQL and cursor.word(1) == "PARTITION" and cursor.next != "REMOVE":
        rest, cursor.at = cursor.rest, len(cursor.tokens)
        return [Cursor(rest, cursor.server)]  # the only action: its commas separate names
    actions = cursor.split()
    if cursor.server in MYSQL:
        actions = _with_whole_order(actions)
    return actions


def _with_whole_order(actions: Sequence[Cursor]) -> list[Cursor]:
    """Returns the actions; the commas of an ORDER BY of MySQL and MariaDB separate columns, not actions."""
    found: list[Cursor] = []
    for action in actions:
        words = [token.word for token in action.tokens]
        is_column = len(words) == 1 or words[1:] in (["ASC"], ["DESC"])
        if found and found[-1].next == "ORDER" and is_column and words != ["FORCE"]:
            found[-1] = Cursor([*found[-1].tokens, *action.tokens], action.server)
        else:
            found.append(action)
    return found


def _read(action: Cursor, table: Name) -> tuple[Operation, ...]:
    try:
        found = _ACTIONS[action.server](action, table)
        action.end()
    except Unknown as unknown:
        return (unrecognized(action.tokens, unknown),)
    return found


def _with_guard(operation: Operation, guarded: bool) -> Operation:
    """Returns the operation; guarded if the table may be missing as well."""
    return dataclasses.replace(operation, guarded=True) if guarded else operation


def rename_table(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a RENAME TABLE of MySQL and MariaDB; *cursor* is after TABLE."""
    guarded = cursor.guard()
    found: list[Operation] = []
    while True:
        table = cursor.path()
        found += _waits(cursor, table)
        cursor.expect("TO")
        found.append(RenameTable(table=table, new=cursor.path(), guarded=guarded))
        if not cursor.take(","):
            return tuple(found)


# --- SQLite ---------------------------------------------------------------------------------------


def _sqlite_action(cursor: Cursor, table: Name) -> tuple[Operation, ...]:
    if cursor.take("ADD"):
        cursor.take("COLUMN")
        return (AddColumn(table=table, column=read_column(cursor)),)
    if cursor.take("DROP"):
        cursor.take("COLUMN")
        return (DropColumn(table=table, column=cursor.name()),)
    cursor.expect("RENAME")
    if cursor.take("TO"):
        return (RenameTable(table=table, new=cursor.path()),)
    cursor.take("COLUMN")
    column = cursor.name()
    cursor.expect("TO")
    return (RenameColumn(table=table, column=column, new=cursor.name()),)


_ACTIONS: Mapping[str, Callable[[Cursor, Name], tuple[Operation, ...]]] = {
    "postgresql": alter_table_postgresql.read_action,
    "mysql": alter_table_mysql.read_action,
    "mariadb": alter_table_mysql.read_action,
    "sqlite": _sqlite_action,
}
