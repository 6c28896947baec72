"""A changed type of a column: a rewrite of the table (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations.operation import SetColumnType, SqlType


@script_rule(
    "alter-type-locks-table",
    servers=POSTGRESQL,
    reason="ALTER COLUMN ... TYPE {new} rewrites {table}, or checks every row of it, under an ACCESS "
    "EXCLUSIVE "
    "lock: readers and writers wait{before}.",
    replacement="add a column of the new type, fill it by a data migration and a trigger, and drop {column} "
    "in "
    "the contract script",
)
def change_type_rewrites(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(SetColumnType):
        before = step.before.column(operation.table, operation.column)
        old = before.type if before is not None else None
        if operation.using is None and old is not None and changes_only_catalog(old, operation.type):
            continue
        yield step.finding(
            f"{operation.table}.{operation.column}",
            table=operation.table,
            column=operation.column,
            new=operation.type,
            before=f" (it is {old})" if old is not None else ". The type that it has is not known",
        )


def changes_only_catalog(old: SqlType, new: SqlType) -> bool:
    """Returns True if PostgreSQL changes the type without reading the rows."""
    if old == new:
        return True
    if old.array or new.array:
        return False
    if old.name in ("varchar", "text") and new.name in ("varchar", "text"):
        return not new.parameters or (bool(old.parameters) and _length(old) <= _length(new))
    if old.name == new.name == "numeric":
        return not new.parameters or (bool(old.parameters) and _grows(old, new))
    same = old.name == new.name and old.name in ("timestamp", "timestamptz", "time", "timetz", "bit varying")
    return same and (not new.parameters or (bool(old.parameters) and _length(old) <= _length(new)))


def _length(type: SqlType) -> int:
    return int(type.parameters[0]) if type.parameters and type.parameters[0].isdigit() else 0


def _grows(old: SqlType, new: SqlType) -> bool:
    """Returns True for a larger precision with the same scale."""
    return old.parameters[1:] == new.parameters[1:] and _length(old) <= _length(new)
