"""Triggers that use a column that is dropped before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations.operation import DropColumn


@script_rule(
    "column-dropped-before-trigger",
    reason="Trigger {trigger} of {table} uses column {column}, which is dropped before it: from then on "
    "every "
    "write to {table} that fires the trigger fails.",
    replacement="DROP TRIGGER {trigger}, before the column is dropped",
)
def column_dropped_before_trigger(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(DropColumn):
        table = step.before.table(operation.table)
        for trigger, body in (table.triggers if table is not None else {}).items():
            if _uses(_body(step.before.routines, body), operation.column):
                yield step.finding(
                    f"{operation.table}.{operation.column}",
                    table=operation.table,
                    column=operation.column,
                    trigger=trigger,
                )


def _body(routines: Mapping[str, str], body: str) -> str:
    """Returns the text of a trigger, and that of the functions that it calls."""
    called = [text for name, text in routines.items() if _uses(body, name)]
    return " ".join((body, *called))


def _uses(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE) is not None
