"""Reads the actions of ALTER TABLE of PostgreSQL. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from online_migrate.sql.operations.columns import read_column
from online_migrate.sql.operations.constraints import CONSTRAINTS, read_constraint, take_attributes
from online_migrate.sql.operations.cursor import Cursor, written
from online_migrate.sql.operations.expressions import expression
from online_migrate.sql.operations.operation import (
    AddColumn,
    AddConstraint,
    AlterConstraint,
    ChangePartitions,
    DropColumn,
    DropConstraint,
    DropNotNull,
    Operation,
    RenameColumn,
    RenameTable,
    SetColumnOption,
    SetColumnType,
    SetDefault,
    SetNotNull,
    SetTableOption,
    ValidateConstraint,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.types import read_type


def read_action(cursor: Cursor, table: Name) -> tuple[Operation, ...]:
    """Returns the operations of one action, which *cursor* contains."""
    reader = _BY_VERB.get(cursor.next)
    if reader is None:
        raise cursor.fail()
    return (reader(cursor, table),)


# --- ADD and DROP ---------------------------------------------------------------------------------


def _add(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("ADD")
    is_not_null = cursor.next == "NOT" and cursor.word(1) == "NULL"
    if cursor.next in CONSTRAINTS or is_not_null:
        return AddConstraint(table=table, constraint=read_constraint(cursor))
    cursor.take("COLUMN")
    guarded = cursor.guard()
    return AddColumn(table=table, column=read_column(cursor), guarded=guarded)


def _drop(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("DROP")
    is_constraint = cursor.next == "CONSTRAINT" and cursor.word(1) not in ("", "CASCADE", "RESTRICT")
    if is_constraint:
        cursor.token()
        guarded = cursor.guard()
        name = cursor.name()
        cursor.any_of("CASCADE", "RESTRICT")
        return DropConstraint(table=table, name=name, guarded=guarded)
    cursor.take("COLUMN")
    guarded = cursor.guard()
    column = cursor.name()
    cursor.any_of("CASCADE", "RESTRICT")
    return DropColumn(table=table, column=column, guarded=guarded)


# --- ALTER ----------------------------------------------------------------------------------------


def _alter(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("ALTER")
    if cursor.next == "CONSTRAINT" and cursor.word(1) not in ("SET", "DROP", "TYPE"):
        cursor.token()
        name = cursor.name()
        return AlterConstraint(table=table, name=name, change=_constraint_change(cursor))
    cursor.take("COLUMN")
    column = cursor.name()
    if cursor.take("TYPE") or cursor.take("SET", "DATA", "TYPE"):
        return _set_type(cursor, table, column)
    if cursor.take("SET"):
        return _set_column(cursor, table, column)
    if cursor.take("DROP"):
        return _drop_of_column(cursor, table, column)
    if cursor.take("RESET"):
        cursor.group()
        return SetColumnOption(table=table, column=column, option="options")
    if cursor.take("ADD"):
        cursor.expect("GENERATED")
        if not cursor.take("BY", "DEFAULT"):
            cursor.expect("ALWAYS")
        cursor.expect("AS", "IDENTITY")
        if cursor.next == "(":
            cursor.group()
        return SetColumnOption(table=table, column=column, option="add identity")
    cursor.expect("RESTART")
    if cursor:
        cursor.take("WITH")
        cursor.value()
    return SetColumnOption(table=table, column=column, option="identity")


def _constraint_change(cursor: Cursor) -> str:
    start = cursor.at
    take_attributes(cursor)
    words = [token.word.lower() for token in cursor.tokens[start : cursor.at]]
    if not words:
        cursor.expect("INHERIT")
        return "inherit"
    if words[0] == "initially":
        words = ["deferrable", *words]
    return " ".join(words)


def _set_type(cursor: Cursor, table: Name, column: str) -> Operation:
    declared = read_type(cursor)
    if declared.serial:
        raise cursor.fail()
    collation = cursor.path().name if cursor.take("COLLATE") else None
    found = SetColumnType(table=table, column=column, type=declared.type, collation=collation)
    if not cursor.take("USING"):
        return found
    return dataclasses.replace(found, using=expression(_rest(cursor).tokens, cursor.server))


def _rest(cursor: Cursor) -> Cursor:
    """Consumes everything, and returns it."""
    rest, cursor.at = cursor.rest, len(cursor.tokens)
    return Cursor(rest, cursor.server)


def _set_column(cursor: Cursor, table: Name, column: str) -> Operation:
    if cursor.take("NOT", "NULL"):
        return SetNotNull(table=table, column=column)
    if cursor.take("DEFAULT"):
        default = expression(_rest(cursor).tokens, cursor.server)
        return SetDefault(table=table, column=column, default=default)
    if cursor.next == "(":
        cursor.group()
        return SetColumnOption(table=table, column=column, option="options")
    if cursor.take("EXPRESSION", "AS"):
        text = written(cursor.group().tokens)
        return SetColumnOption(table=table, column=column, option="expression", value=text)
    option = cursor.any_of("STATISTICS", "STORAGE", "COMPRESSION").lower()
    if option:
        return SetColumnOption(table=table, column=column, option=option, value=cursor.value().lower())
    _rest_of_identity(cursor)
    return SetColumnOption(table=table, column=column, option="identity")


def _rest_of_identity(cursor: Cursor) -> None:
    """Consumes SET GENERATED ALWAYS and SET of options of a sequence; *cursor* is after the first SET."""
    if cursor.next not in ("GENERATED", "INCREMENT", "START", "MINVALUE", "MAXVALUE", "CACHE", "NO", "CYCLE"):
        raise cursor.fail()
    cursor.at = len(cursor.tokens)


def _drop_of_column(cursor: Cursor, table: Name, column: str) -> Operation:
    if cursor.take("NOT", "NULL"):
        return DropNotNull(table=table, column=column)
    if cursor.take("DEFAULT"):
        return SetDefault(table=table, column=column, default=None)
    what = cursor.any_of("IDENTITY", "EXPRESSION").lower()
    if not what:
        raise cursor.fail()
    guarded = cursor.guard()
    return SetColumnOption(table=table, column=column, option=f"drop {what}", guarded=guarded)


# --- RENAME, VALIDATE, SET ------------------------------------------------------------------------


def _rename(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("RENAME")
    if cursor.take("TO"):
        return RenameTable(table=table, new=Name(cursor.name(), table.schema))
    if cursor.next == "CONSTRAINT" and cursor.word(1) != "TO":
        cursor.token()
        name = cursor.name()
        cursor.expect("TO")
        cursor.name()
        return AlterConstraint(table=table, name=name, change="rename")
    cursor.take("COLUMN")
    column = cursor.name()
    cursor.expect("TO")
    return RenameColumn(table=table, column=column, new=cursor.name())


def _validate(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("VALIDATE", "CONSTRAINT")
    return ValidateConstraint(table=table, name=cursor.name())


def _set(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("SET")
    if cursor.next == "(":
        return SetTableOption(table=table, option="storage parameters", value=written(cursor.group().tokens))
    if cursor.take("WITHOUT"):
        option = cursor.any_of("CLUSTER", "OIDS").lower()
        if not option:
            raise cursor.fail()
        return SetTableOption(table=table, option=f"without {option}")
    if cursor.take("ACCESS", "METHOD"):
        return SetTableOption(table=table, option="access method", value=cursor.name())
    option = cursor.any_of("SCHEMA", "TABLESPACE").lower()
    if option:
        value = cursor.name()
        cursor.take("NOWAIT")
        return SetTableOption(table=table, option=option, value=value)
    option = cursor.any_of("LOGGED", "UNLOGGED").lower()
    if not option:
        raise cursor.fail()
    return SetTableOption(table=table, option=option)


def _reset(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("RESET")
    return SetTableOption(table=table, option="storage parameters", value=written(cursor.group().tokens))


def _owner(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("OWNER", "TO")
    return SetTableOption(table=table, option="owner", value=cursor.name())


def _cluster(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("CLUSTER", "ON")
    return SetTableOption(table=table, option="cluster on", value=cursor.name())


def _replica(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("REPLICA", "IDENTITY")
    if cursor.take("USING", "INDEX"):
        return SetTableOption(table=table, option="replica identity", value=cursor.name())
    value = cursor.any_of("DEFAULT", "FULL", "NOTHING").lower()
    if not value:
        raise cursor.fail()
    return SetTableOption(table=table, option="replica identity", value=value)


def _no(cursor: Cursor, table: Name) -> Operation:
    return _enable(cursor, table) if cursor.word(1) == "FORCE" else _inherit(cursor, table)


def _inherit(cursor: Cursor, table: Name) -> Operation:
    without = cursor.take("NO")
    cursor.expect("INHERIT")
    parent = cursor.path()
    option = "no inherit" if without else "inherit"
    return SetTableOption(table=table, option=option, value=str(parent))


# --- security, triggers and rules -----------------------------------------------------------------


def _enable(cursor: Cursor, table: Name) -> Operation:
    """Reads ENABLE, DISABLE, FORCE and NO FORCE of row level security, triggers and rules."""
    words = [cursor.token().word.lower()]
    if words == ["no"]:
        cursor.expect("FORCE")
        words.append("force")
    if cursor.take("ROW", "LEVEL", "SECURITY"):
        return SetTableOption(table=table, option="row level security", value=" ".join(words))
    if words[-1] == "force":
        raise cursor.fail()
    if cursor.next in ("REPLICA", "ALWAYS"):
        words.append(cursor.token().word.lower())
    what = cursor.any_of("TRIGGER", "RULE").lower()
    if not what:
        raise cursor.fail()
    return SetTableOption(table=table, option=f"{' '.join(words)} {what}", value=cursor.name())


# --- partitions -----------------------------------------------------------------------------------


def _attach(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("ATTACH", "PARTITION")
    partition = cursor.path()
    if not cursor.take("DEFAULT"):
        cursor.expect("FOR", "VALUES")
        if cursor.any_of("IN", "FROM", "WITH") == "FROM":
            cursor.group()
            cursor.expect("TO")
        cursor.group()
    return ChangePartitions(table=table, action="attach", partition=partition)


def _detach(cursor: Cursor, table: Name) -> Operation:
    cursor.expect("DETACH", "PARTITION")
    partition = cursor.path()
    concurrently = cursor.take("CONCURRENTLY")
    cursor.take("FINALIZE")
    return ChangePartitions(table=table, action="detach", partition=partition, concurrently=concurrently)


_BY_VERB: Mapping[str, Callable[[Cursor, Name], Operation]] = {
    "ADD": _add,
    "DROP": _drop,
    "ALTER": _alter,
    "RENAME": _rename,
    "VALIDATE": _validate,
    "SET": _set,
    "RESET": _reset,
    "OWNER": _owner,
    "CLUSTER": _cluster,
    "REPLICA": _replica,
    "INHERIT": _inherit,
    "NO": _no,
    "ENABLE": _enable,
    "DISABLE": _enable,
    "FORCE": _enable,
    "ATTACH": _attach,
    "DETACH": _detach,
}
