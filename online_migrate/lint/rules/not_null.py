"""NOT NULL on an existing column (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.schema import Table
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.forms.not_null_proof import provable
from online_migrate.sql.operations.operation import SetNotNull
from online_migrate.sql.operations.parts import ConstraintKind


@script_rule(
    "set-not-null-scans",
    servers={"postgresql": "12"},
    sent_safely=True,
    reason="SET NOT NULL checks every row of {table} under an ACCESS EXCLUSIVE lock: readers and writers "
    "wait. "
    "With a validated CHECK ({column} IS NOT NULL) it checks none (PostgreSQL 12).",
    replacement="ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL) NOT VALID;\n"
    "ALTER TABLE {table} VALIDATE CONSTRAINT {name};   (in a transaction of its own)\n"
    "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n"
    "ALTER TABLE {table} DROP CONSTRAINT {name}",
)
def set_not_null_scans(script: Script) -> Iterator[Finding]:
    texts = list(dict.fromkeys(step.statement.text for step in script.steps))
    # Contract validates such a CHECK itself, before it locks the table.
    proved = [operation for _text, operation in provable(texts)] if script.under_lock else []
    for step, operation in script.on_existing(SetNotNull):
        table = step.before.table(operation.table)
        if operation not in proved and (table is None or not _is_proved(table, operation.column)):
            yield step.finding(
                f"{operation.table}.{operation.column}",
                table=operation.table,
                column=operation.column,
                name=f"{operation.column}_not_null",
            )


def _is_proved(table: Table, column: str) -> bool:
    """Returns True if a validated CHECK shows that the column has no NULL."""
    return any(
        constraint.kind is ConstraintKind.CHECK
        and not constraint.not_valid
        and constraint.columns == (column,)
        and constraint.condition is not None
        and "is not null" in " ".join(constraint.condition.text.lower().split())
        for constraint in table.constraints
    )
