"""Triggers, and the columns that they use: neither may be dropped without the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script, Step
from online_migrate.lint.violation import Finding, Severity
from online_migrate.script.graph import Phase
from online_migrate.sql.operations.operation import DropColumn, DropObject, DropTable, RenameColumn
from online_migrate.sql.operations.parts import Name

_OF_SYNC = "online_migrate_sync_"


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


@script_rule(
    "sync-dropped-early",
    severity=Severity.WARNING,
    reason="The script drops trigger {trigger} of a sync, and no column that it uses: from then on a write "
    "of one shape of {table} does not reach the other, and a later drop of the columns loses it.",
    replacement="op.drop_sync in the script that drops the columns",
)
def sync_dropped_early(script: Script) -> Iterator[Finding]:
    if script.phase is not Phase.CONTRACT or script.not_rendered is not None:
        return
    dropped = _dropped_names(script)
    first: dict[int, Finding] = {}
    with_columns = set()
    for step, operation in script.each(DropObject):
        name, line = operation.object.name, step.statement.line
        if operation.kind != "trigger" or not name.startswith(_OF_SYNC):
            continue
        for table in step.before.tables.values():
            body = table.triggers.get(name)
            if body is None:
                continue
            used = f"{table.name} {_body(step.before.routines, body)}"
            if any(_uses(used, one) for one in dropped):
                with_columns.add(line)
            first.setdefault(line, step.finding(name, table=table.name, trigger=name))
    # A sync has several triggers, which one line of the script drops. Not each of them uses each column.
    yield from (finding for line, finding in first.items() if line not in with_columns)


def _dropped_names(script: Script) -> set[str]:
    """Returns the names of the tables and of the columns that the script drops, or renames."""
    columns = {operation.column for _, operation in script.each(DropColumn)}
    renamed = {operation.column for _, operation in script.each(RenameColumn)}
    return columns | renamed | {operation.table.name for _, operation in script.each(DropTable)}


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
