"""Reads the actions of ALTER TABLE of MySQL and MariaDB. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from online_migrate.sql.operations.columns import Draft, read_column, take_clauses
from online_migrate.sql.operations.constraints import (
    CONSTRAINTS,
    read_constraint,
    read_mysql_index,
    starts_mysql_index,
)
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.expressions import expression
from online_migrate.sql.operations.indexes import take_form
from online_migrate.sql.operations.mysql_partitions import (
    PARTITION_VERBS,
    by_partition,
    partition_by,
    partitions,
    remove_partitioning,
)
from online_migrate.sql.operations.operation import (
    AddColumn,
    AddConstraint,
    AlterConstraint,
    AlterIndex,
    CreateIndex,
    DropColumn,
    DropConstraint,
    DropIndex,
    Operation,
    RedefineColumn,
    RenameColumn,
    RenameTable,
    SetColumnOption,
    SetDefault,
    SetTableOption,
)
from online_migrate.sql.operations.parts import Column, ConstraintKind, Name
from online_migrate.sql.operations.table_options import take_mysql_option

Found = tuple[Operation, ...]
_FORMS = frozenset({"ALGORITHM", "LOCK"})


def read_action(cursor: Cursor, table: Name) -> Found:
    """Returns the operations of one action, which *cursor* contains."""
    reader = _BY_VERB.get(cursor.next)
    if reader is None:
        return _options(cursor, table)
    return reader(cursor, table)


# --- ADD ------------------------------------------------------------------------------------------


def _add(cursor: Cursor, table: Name) -> Found:
    cursor.expect("ADD")
    if cursor.next == "PARTITION":
        return partitions(cursor, table, "add")
    if starts_mysql_index(cursor):
        cursor_at = cursor.at
        guarded = _is_guarded_index(cursor)
        cursor.at = cursor_at
        return (CreateIndex(table=table, index=read_mysql_index(cursor), guarded=guarded),)
    if cursor.next in CONSTRAINTS:
        return (AddConstraint(table=table, constraint=read_constraint(cursor)),)
    if cursor.next in ("PERIOD", "SYSTEM") and cursor.word(1) in ("FOR", "VERSIONING"):
        raise cursor.fail()
    cursor.take("COLUMN")
    guarded = cursor.guard()
    if cursor.next == "(":
        return tuple(_in_list(part, table, guarded) for part in cursor.parts())
    column = read_column(cursor)
    return (AddColumn(table=table, column=column, positioned=_position(cursor), guarded=guarded),)


def _is_guarded_index(cursor: Cursor) -> bool:
    cursor.token()
    cursor.any_of("INDEX", "KEY")
    return cursor.guard()


def _in_list(part: Cursor, table: Name, guarded: bool) -> Operation:
    """Returns the operation of one element of ADD (a int, INDEX (a))."""
    found: Operation
    if starts_mysql_index(part):
        found = CreateIndex(table=table, index=read_mysql_index(part))
    elif part.next in CONSTRAINTS:
        found = AddConstraint(table=table, constraint=read_constraint(part))
    else:
        found = AddColumn(table=table, column=read_column(part), guarded=guarded)
    part.end()
    return found


def _position(cursor: Cursor) -> bool:
    if cursor.take("FIRST"):
        return True
    if cursor.take("AFTER"):
        cursor.name()
        return True
    return False


# --- columns --------------------------------------------------------------------------------------


def _modify(cursor: Cursor, table: Name) -> Found:
    cursor.expect("MODIFY")
    cursor.take("COLUMN")
    guarded = cursor.guard()
    column = read_column(cursor)
    return (_redefined(cursor, table, column.name, column, guarded),)


def _change(cursor: Cursor, table: Name) -> Found:
    cursor.expect("CHANGE")
    cursor.take("COLUMN")
    guarded = cursor.guard()
    old = cursor.name()
    return (_redefined(cursor, table, old, read_column(cursor), guarded),)


def _redefined(cursor: Cursor, table: Name, old: str, column: Column, guarded: bool) -> Operation:
    positioned = _position(cursor)
    return RedefineColumn(table=table, old=old, column=column, positioned=positioned, guarded=guarded)


def _alter(cursor: Cursor, table: Name) -> Found:
    cursor.expect("ALTER")
    if cursor.any_of("INDEX", "KEY"):
        guarded = cursor.guard()
        index = Name(cursor.name())
        change = (
            f"not {cursor.any_of('IGNORED')}".strip()
            if cursor.take("NOT")
            else cursor.any_of("VISIBLE", "INVISIBLE", "IGNORED")
        )
        if change in ("", "not"):
            raise cursor.fail()
        return (AlterIndex(index=index, table=table, change=change.lower(), guarded=guarded),)
    if cursor.next in ("CHECK", "CONSTRAINT") and cursor.word(2) in ("NOT", "ENFORCED"):
        cursor.token()
        name = cursor.name()
        change = "not enforced" if cursor.take("NOT") else "enforced"
        cursor.expect("ENFORCED")
        return (AlterConstraint(table=table, name=name, change=change),)
    cursor.take("COLUMN")
    guarded = cursor.guard()
    return (_alter_column(cursor, table, cursor.name(), guarded),)


def _alter_column(cursor: Cursor, table: Name, column: str, guarded: bool) -> Operation:
    if cursor.take("DROP", "DEFAULT"):
        return SetDefault(table=table, column=column, default=None, guarded=guarded)
    cursor.expect("SET")
    if cursor.next in ("VISIBLE", "INVISIBLE"):
        return SetColumnOption(table=table, column=column, option=cursor.token().word.lower())
    if cursor.next != "DEFAULT":
        raise cursor.fail()
    draft = Draft(column)
    take_clauses(cursor, draft)
    if dataclasses.replace(draft, default=None) != Draft(column):
        raise cursor.fail()
    return SetDefault(table=table, column=column, default=draft.default, guarded=guarded)


def _drop(cursor: Cursor, table: Name) -> Found:
    cursor.expect("DROP")
    if cursor.next == "PARTITION":
        return partitions(cursor, table, "drop")
    if cursor.next in ("SYSTEM", "PERIOD") and cursor.word(1) in ("VERSIONING", "FOR"):
        raise cursor.fail()
    if cursor.take("PRIMARY", "KEY"):
        return (DropConstraint(table=table, name=None, kind=ConstraintKind.PRIMARY_KEY),)
    kind = None
    if cursor.take("FOREIGN", "KEY"):
        kind = ConstraintKind.FOREIGN_KEY
    elif cursor.take("CHECK"):
        kind = ConstraintKind.CHECK
    elif cursor.any_of("INDEX", "KEY"):
        guarded = cursor.guard()
        return (DropIndex(index=Name(cursor.name()), table=table, guarded=guarded),)
    elif not cursor.take("CONSTRAINT"):
        cursor.take("COLUMN")
        guarded = cursor.guard()
        dropped = DropColumn(table=table, column=cursor.name(), guarded=guarded)
        cursor.any_of("CASCADE", "RESTRICT")
        return (dropped,)
    guarded = cursor.guard()
    return (DropConstraint(table=table, name=cursor.name(), kind=kind, guarded=guarded),)


def _rename(cursor: Cursor, table: Name) -> Found:
    cursor.expect("RENAME")
    if cursor.take("COLUMN"):
        guarded = cursor.guard()
        column = cursor.name()
        cursor.expect("TO")
        return (RenameColumn(table=table, column=column, new=cursor.name(), guarded=guarded),)
    if cursor.any_of("INDEX", "KEY"):
        guarded = cursor.guard()
        index = Name(cursor.name())
        cursor.expect("TO")
        cursor.name()
        return (AlterIndex(index=index, table=table, change="rename", guarded=guarded),)
    cursor.any_of("TO", "AS", "=")
    return (RenameTable(table=table, new=cursor.path()),)


# --- the table ------------------------------------------------------------------------------------


def _convert(cursor: Cursor, table: Name) -> Found:
    cursor.expect("CONVERT")
    if cursor.next in ("PARTITION", "TABLE"):
        return partitions(cursor, table, "convert")
    cursor.expect("TO")
    if not cursor.take("CHARSET"):
        cursor.expect("CHARACTER", "SET")
    charset = cursor.value()
    if cursor.take("COLLATE"):
        cursor.take("=")
        charset = f"{charset} collate {cursor.value()}"
    return (SetTableOption(table=table, option="convert to charset", value=charset),)


def _pair(cursor: Cursor, table: Name) -> Found:
    """Reads ENABLE KEYS, DISABLE KEYS, WITH VALIDATION, WITHOUT VALIDATION, DISCARD TABLESPACE."""
    words = (cursor.next, cursor.word(1))
    known = {
        ("ENABLE", "KEYS"),
        ("DISABLE", "KEYS"),
        ("WITH", "VALIDATION"),
        ("WITHOUT", "VALIDATION"),
    }
    if words not in known:
        raise cursor.fail()
    cursor.expect(*words)
    return (SetTableOption(table=table, option=" ".join(words).lower()),)


def _order(cursor: Cursor, table: Name) -> Found:
    cursor.expect("ORDER", "BY")
    rest, cursor.at = cursor.rest, len(cursor.tokens)
    return (SetTableOption(table=table, option="order by", value=expression(rest, cursor.server).text),)


def _force(cursor: Cursor, table: Name) -> Found:
    cursor.expect("FORCE")
    return (SetTableOption(table=table, option="force"),)


def _form(cursor: Cursor, table: Name) -> Found:
    return (take_form(cursor, table),)


def _options(cursor: Cursor, table: Name) -> Found:
    """Reads options such as ``ROW_FORMAT = DYNAMIC COMMENT 'x'``, and what may follow them."""
    found: list[Operation] = []
    if not cursor:
        raise cursor.fail()
    while cursor:
        if cursor.next in ("PARTITION", "REMOVE"):
            found += _BY_VERB[cursor.next](cursor, table)
        elif cursor.next in _FORMS:
            found += _form(cursor, table)
        else:
            option, value = take_mysql_option(cursor)
            found.append(SetTableOption(table=table, option=option, value=value))
    return tuple(found)


_BY_VERB: Mapping[str, Callable[[Cursor, Name], Found]] = {
    "ADD": _add,
    "ALTER": _alter,
    "CHANGE": _change,
    "MODIFY": _modify,
    "DROP": _drop,
    "RENAME": _rename,
    "CONVERT": _convert,
    "ENABLE": _pair,
    "DISABLE": _pair,
    "WITH": _pair,
    "WITHOUT": _pair,
    "ORDER": _order,
    "FORCE": _force,
    "ALGORITHM": _form,
    "LOCK": _form,
    "PARTITION": partition_by,
    "REMOVE": remove_partitioning,
    **dict.fromkeys(PARTITION_VERBS, by_partition),
}
