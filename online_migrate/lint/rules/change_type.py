"""A changed type of a column: a rewrite of the table (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.phases.types import changes_only_definition
from online_migrate.sql.operations.operation import SetColumnType


@script_rule(
    "alter-type-locks-table",
    servers=POSTGRESQL,
    reason="ALTER COLUMN ... TYPE {new} rewrites {table}, or checks every row of it, under an ACCESS "
    "EXCLUSIVE lock: readers and writers wait{before}.",
    replacement="add a column of the new type, fill it by a data migration and a trigger, and drop {column} "
    "in the contract script",
)
def change_type_rewrites(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(SetColumnType):
        before = step.before.column(operation.table, operation.column)
        old = before.type if before is not None else None
        if (
            operation.using is None
            and old is not None
            and changes_only_definition(old, operation.type, "postgresql")
        ):
            continue
        yield step.finding(
            f"{operation.table}.{operation.column}",
            table=operation.table,
            column=operation.column,
            new=operation.type,
            before=f" (it is {old})" if old is not None else ". The type that it has is not known",
        )
