"""Triggers that use a column that is dropped before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script, Step
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations.operation import DropColumn
from online_migrate.sql.operations.parts import Name


@script_rule(
    "column-dropped-before-trigger",
    reason="Trigger {trigger} of {table} uses column {column}, which is dropped before it: from then on "
    "every "
    "write to {table} that fires the trigger fails.",
    replacement="DROP TRIGGER {trigger}, before the column is dropped",
)
def column_dropped_before_trigger(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(DropColumn):
        for trigger, body in _triggers(script, step, operation.table).items():
            if _uses(_body(step.before.routines, body), operation.column):
                yield step.finding(
                    f"{operation.table}.{operation.column}",
                    table=operation.table,
                    column=operation.column,
                    trigger=trigger,
                )


def _triggers(script: Script, step: Step, name: Name) -> Mapping[str, str]:
    """Returns the triggers of a table before a step: those of the scripts, and of the database."""
    table = step.before.table(name)
    live = script.catalog.table(name) if script.catalog is not None else None
    of_server = {} if live is None else dict(live.triggers)
    of_scripts = {} if table is None else dict(table.triggers)
    gone = step.before.gone
    return {name: body for name, body in (of_server | of_scripts).items() if ("trigger", name) not in gone}


def _body(routines: Mapping[str, str], body: str) -> str:
    """Returns the text of a trigger, and that of the functions that it calls."""
    called = [text for name, text in routines.items() if _uses(body, name)]
    return " ".join((body, *called))


def _uses(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE) is not None
