"""Changes that MySQL and MariaDB execute by a copy of the table, while writers wait."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import MYSQL, script_rule
from online_migrate.lint.rules.mysql_rebuilds import TOOL
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.phases.types import changes_only_definition
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations.parts import ConstraintKind

_COPY = "ALGORITHM=COPY: writers of {table} wait until every row is copied."
_NEW_COLUMN = (
    "add a column of the new type, fill it by a data migration and a trigger, and drop {column} in the "
    "contract script"
)


@script_rule(
    "change-type-copies",
    servers=MYSQL,
    reason="The type of {table}.{column} becomes {new}{before}. " + _COPY,
    replacement=_NEW_COLUMN + "; or " + TOOL,
)
def change_type_copies(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.RedefineColumn):
        before = step.before.column(operation.table, operation.old)
        old = before.type if before is not None else None
        new = operation.column.type
        if new is None or (old is not None and changes_only_definition(old, new, script.server.product)):
            continue
        yield step.finding(
            f"{operation.table}.{operation.old}",
            table=operation.table,
            column=operation.old,
            new=new,
            before=f" (it is {old})" if old is not None else " (the type that it has is not known)",
        )


@script_rule(
    "column-redefined",
    servers=MYSQL,
    severity=Severity.WARNING,
    reason="{verb} replaces the whole definition of {table}.{column}: {lost} that it does not repeat are "
    "lost.",
    replacement="repeat the whole definition, as SHOW CREATE TABLE {table} prints it; with Alembic: "
    "existing_type=, existing_nullable=, existing_server_default=, existing_comment=",
)
def column_redefined(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.RedefineColumn):
        before = step.before.column(operation.table, operation.old)
        after = operation.column
        if before is None:
            continue
        lost = [
            what
            for what, gone in (
                ("DEFAULT", before.default is not None and after.default is None),
                ("COMMENT", bool(before.comment) and not after.comment),
                ("AUTO_INCREMENT", before.identity and not after.identity),
                ("ON UPDATE", before.on_update and not after.on_update),
                ("COLLATE", before.collation is not None and after.collation is None),
            )
            if gone
        ]
        if lost:
            yield step.finding(
                f"{operation.table}.{operation.old}",
                table=operation.table,
                column=operation.old,
                verb="CHANGE" if operation.old != after.name else "MODIFY",
                lost=", ".join(lost),
            )


@script_rule(
    "primary-key-dropped",
    servers=MYSQL,
    reason="DROP PRIMARY KEY without a new one in the same statement. " + _COPY,
    replacement="ALTER TABLE {table} DROP PRIMARY KEY, ADD PRIMARY KEY (...)",
)
def primary_key_dropped(script: Script) -> Iterator[Finding]:
    added = {
        (step.statement.number, str(operation.table))
        for step, operation in script.each(ops.AddConstraint)
        if operation.constraint.kind is ConstraintKind.PRIMARY_KEY
    }
    for step, operation in script.on_existing(ops.DropConstraint):
        primary = operation.kind is ConstraintKind.PRIMARY_KEY
        if primary and (step.statement.number, str(operation.table)) not in added:
            yield step.finding(str(operation.table), table=operation.table)


@script_rule(
    "foreign-key-copies",
    servers=MYSQL,
    reason="ADD FOREIGN KEY checks every row. " + _COPY,
    replacement="SET SESSION foreign_key_checks = 0;   (the rows are not checked, so check them by a query)\n"
    "ALTER TABLE {table} ADD FOREIGN KEY ({columns}) REFERENCES {referred}, ALGORITHM=INPLACE, LOCK=NONE",
)
def foreign_key_copies(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.AddConstraint):
        constraint = operation.constraint
        if constraint.kind is ConstraintKind.FOREIGN_KEY and not _checks_are_off(
            script, step.statement.number
        ):
            yield step.finding(
                constraint.name or str(operation.table),
                table=operation.table,
                columns=", ".join(constraint.columns),
                referred=constraint.referred,
            )


def _checks_are_off(script: Script, number: int) -> bool:
    """Returns True if the script turned foreign_key_checks off before a statement."""
    settings = [
        step.statement.text
        for step, operation in script.each(ops.ChangeSession)
        if step.statement.number < number and "foreign_key_checks" in operation.setting
    ]
    return bool(settings) and settings[-1].rstrip().upper().endswith(("0", "OFF"))


@script_rule(
    "check-copies",
    servers=MYSQL,
    reason="ADD CHECK checks every row. " + _COPY,
    replacement="ALTER TABLE {table} ADD CONSTRAINT {name} CHECK (...) NOT ENFORCED   (MySQL; it is not "
    "checked); "
    "or " + TOOL,
)
def check_copies(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.AddConstraint):
        constraint = operation.constraint
        if constraint.kind is ConstraintKind.CHECK and not constraint.not_enforced:
            yield step.finding(
                constraint.name or str(operation.table),
                table=operation.table,
                name=constraint.name or "NAME",
            )


@script_rule(
    "table-option-copies",
    servers=MYSQL,
    reason="{what} " + _COPY,
    replacement=TOOL,
)
def table_option_copies(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.SetTableOption):
        what = None
        if operation.option == "convert to charset":
            what = "CONVERT TO CHARACTER SET converts every text."
        elif operation.option == "engine" and (operation.value or "").lower() != "innodb":
            what = f"ENGINE={operation.value} rebuilds the table."
        if what is not None:
            yield step.finding(str(operation.table), table=operation.table, what=what)


@script_rule(
    "partitions-copied",
    servers=MYSQL,
    reason="{action} moves the rows into other partitions. " + _COPY,
    replacement=TOOL,
)
def partitions_copied(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.ChangePartitions):
        if operation.action in ("partition by", "remove", "reorganize", "coalesce", "rebuild", "repair"):
            yield step.finding(str(operation.table), table=operation.table, action=operation.action.upper())
