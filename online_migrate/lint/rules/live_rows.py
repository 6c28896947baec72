"""What the rows of a database contradict: ``lint --url``."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.sharpened import not_null_columns
from online_migrate.lint.violation import Finding, Severity
from online_migrate.script.graph import Phase
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import Name


@script_rule(
    "not-null-with-nulls",
    severity=Severity.WARNING,
    reason="The statement fails as long as {table}.{column} is NULL in a row.",
    replacement="a data migration that fills {column}, before this script",
)
def not_null_with_nulls(script: Script) -> Iterator[Finding]:
    # Without a database nothing is known of the rows.
    if script.catalog is None:
        return
    for step, operation in script.on_existing(Operation):
        name = getattr(operation, "table", None)
        if not isinstance(name, Name):
            continue
        for column in not_null_columns(operation):
            if script.catalog.nulls(name, column):
                finding = step.finding(f"{name}.{column}", table=name, column=column)
                # The data migrations that a contract script requires may not have run yet.
                severity = Severity.NOTICE if script.phase is Phase.CONTRACT else None
                yield finding.saying("", "", severity)
