"""Locks that one transaction takes one after the other (PostgreSQL; SQLite has one lock for the database)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script, Step
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations.parts import Name

_EXCLUSIVE = (
    ops.AddColumn,
    ops.DropColumn,
    ops.RenameColumn,
    ops.SetColumnType,
    ops.SetNotNull,
    ops.DropNotNull,
    ops.SetDefault,
    ops.AddConstraint,
    ops.DropConstraint,
    ops.RenameTable,
    ops.DropTable,
)
"""Operations that hold an ACCESS EXCLUSIVE lock until the end of the transaction."""


def _locked(step: Step) -> Name | None:
    """Returns the table that old code uses and that the operation locks; None: there is none."""
    operation = step.operation
    if not isinstance(operation, _EXCLUSIVE) or step.statement.transaction is None:
        return None
    return None if step.before.is_new_table(operation.table) else operation.table


@script_rule(
    "several-tables-in-transaction",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    reason="One transaction locks {tables}: while it waits for the second table, nothing can use the first; "
    "code that uses them in the other order is in a deadlock with it.",
    replacement="a revision for each table",
)
def several_tables_in_transaction(script: Script) -> Iterator[Finding]:
    locked: dict[int | None, list[str]] = {}
    for step in script.steps:
        table = _locked(step)
        if table is None:
            continue
        tables = locked.setdefault(step.statement.transaction, [])
        if str(table) not in tables:
            tables.append(str(table))
            if len(tables) == 2:
                yield step.finding(str(table), tables=" and then ".join(tables))


_SLOW = (ops.ChangeRows, ops.Maintain)
_SENT_OUTSIDE = (ops.CreateIndex, ops.ValidateConstraint)
"""Slow operations that ``expand`` and ``contract`` send outside of the transaction."""


@script_rule(
    "slow-statement-under-lock",
    servers=POSTGRESQL,
    reason="The transaction already holds an ACCESS EXCLUSIVE lock on {table} when this statement starts: "
    "every statement on {table} waits until it has ended.",
    replacement="a revision of its own for this statement",
)
def slow_statement_under_lock(script: Script) -> Iterator[Finding]:
    slow_operations = _SLOW if script.sent_safely else (*_SLOW, *_SENT_OUTSIDE)
    held: dict[int, tuple[Name, int]] = {}
    reported: set[int] = set()
    for step in script.steps:
        statement = step.statement
        if statement.transaction is None:
            continue
        table = _locked(step)
        before = held.get(statement.transaction)
        slow = _reads_a_table(step) or (isinstance(step.operation, slow_operations) and not _is_new(step))
        if before is not None and slow and before[1] < statement.number and statement.number not in reported:
            reported.add(statement.number)
            yield step.finding(str(before[0]), table=before[0])
        if table is not None:
            held.setdefault(statement.transaction, (table, statement.number))


def _reads_a_table(step: Step) -> bool:
    """Returns True for a query of a table, and not of the catalog or of a table that the script creates."""
    words = step.operation.words
    if not isinstance(step.operation, ops.Query) or "from" not in words:
        return False
    is_of_catalog = any(word.startswith("pg_") or word == "information_schema" for word in words)
    return not is_of_catalog and not any(step.before.is_new_table(Name(word)) for word in words)


def _is_new(step: Step) -> bool:
    table = getattr(step.operation, "table", None)
    return table is not None and step.before.is_new_table(table)


@script_rule(
    "alter-table-repeated",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    default=False,
    reason="Several ALTER TABLE {table} follow each other: each one that scans or rewrites the table does it "
    "again.",
    replacement="one ALTER TABLE {table} with the actions separated by commas",
)
def alter_table_repeated(script: Script) -> Iterator[Finding]:
    before: tuple[str, int] | None = None
    reported: set[str] = set()
    for step in script.steps:
        table = _locked(step)
        if table is None:
            before = None
            continue
        repeated = before is not None and before[0] == str(table) and before[1] != step.statement.number
        if repeated and str(table) not in reported:
            reported.add(str(table))
            yield step.finding(str(table), table=table)
        before = (str(table), step.statement.number)


@script_rule(
    "drop-table-with-foreign-keys",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    reason="DROP TABLE {table} takes ACCESS EXCLUSIVE locks also on {referred}, which its foreign keys "
    "refer to.",
    replacement="drop the foreign keys before, a revision for each",
)
def drop_table_with_foreign_keys(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.DropTable):
        table = step.before.table(operation.table)
        if table is None:
            continue
        of_columns = [one for column in table.columns.values() for one in column.constraints]
        referred = {
            str(one.referred)
            for one in (*table.constraints, *of_columns)
            if one.referred is not None and str(one.referred) != str(operation.table)
        }
        if len(referred) > 1:
            yield step.finding(
                str(operation.table), table=operation.table, referred=", ".join(sorted(referred))
            )
