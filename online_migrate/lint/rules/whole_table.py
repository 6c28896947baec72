"""UPDATE and DELETE of a whole table inside a script."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations.operation import ChangeRows
from online_migrate.sql.parse import Unreadable, parse


@script_rule(
    "whole-table-change",
    reason="{verb} of every row of {table} in one transaction: it locks each row until the end, so that "
    "other "
    "writers of these rows wait, it makes replicas lag, and a failure near its end undoes all of it.",
    replacement="a data migration, which works in small chunks and can be continued:\n"
    'fill = Backfill(table="{table}", values=..., pending=...)',
)
def whole_table_change(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ChangeRows):
        if operation.verb not in ("update", "delete") or operation.table is None:
            continue
        if not _has_condition(step.statement.text, script.server.product):
            yield step.finding(str(operation.table), verb=operation.verb.upper(), table=operation.table)


def _has_condition(text: str, product: str) -> bool:
    """Returns True if the WHERE of the statement names a column, or if the statement cannot be parsed."""
    from sqlglot import exp

    try:
        trees = parse(text, product)
    except Unreadable:
        return True
    changes = [tree for tree in trees if isinstance(tree, exp.Update | exp.Delete)]
    return all(
        tree.args.get("limit") is not None
        or (tree.args.get("where") is not None and tree.args["where"].find(exp.Column) is not None)
        for tree in changes
    )
