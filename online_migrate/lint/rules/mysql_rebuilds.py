"""Changes that MySQL and MariaDB do in place, but with a rebuild or a lock."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import MYSQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations.parts import Value

TOOL = "pt-online-schema-change, or gh-ost on MySQL, which copy the table while it is used"


@script_rule(
    "stored-column-copies",
    servers=MYSQL,
    reason="A STORED generated column is computed for every row with ALGORITHM=COPY: writers of {table} wait "
    "until every row is copied.",
    replacement="ALTER TABLE {table} ADD COLUMN {column} {type} GENERATED ALWAYS AS (...) VIRTUAL",
)
def stored_column_copies(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.AddColumn):
        column = operation.column
        if column.generated is not None and column.stored:
            yield step.finding(
                f"{operation.table}.{column.name}",
                table=operation.table,
                column=column.name,
                type=column.type,
            )


_COPIES_FOR_EXPRESSION = frozenset({"mysql"})
"""The servers that copy also for an expression without a function, such as ``(1 + 1)``."""


@script_rule(
    "default-expression-copies",
    servers=MYSQL,
    reason="ADD COLUMN with an expression as its default computes it for every row with ALGORITHM=COPY: "
    "writers "
    "of {table} wait until every row is copied.",
    replacement="ALTER TABLE {table} ADD COLUMN {column} {type};\n"
    "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default};\n"
    "and a data migration that fills the existing rows",
)
def default_expression_copies(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.AddColumn):
        column = operation.column
        default = column.default
        if default is None or default.form is not Value.EXPRESSION or column.identity:
            continue
        if default.calls or script.server.product in _COPIES_FOR_EXPRESSION:
            yield step.finding(
                f"{operation.table}.{column.name}",
                table=operation.table,
                column=column.name,
                type=column.type,
                default=default.text,
            )


@script_rule(
    "auto-increment-locks",
    servers=MYSQL,
    reason="ADD COLUMN with AUTO_INCREMENT numbers every row with LOCK=SHARED: writers of {table} wait.",
    replacement=TOOL,
)
def auto_increment_locks(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.AddColumn):
        if operation.column.identity:
            yield step.finding(f"{operation.table}.{operation.column.name}", table=operation.table)


@script_rule(
    "index-locks-writes",
    servers=MYSQL,
    reason="A {method} index is built with LOCK=SHARED: writers of {table} wait until it is built.",
    replacement=TOOL,
)
def index_locks_writes(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.CreateIndex):
        if operation.index.method in ("fulltext", "spatial", "vector"):
            method = operation.index.method.upper()
            yield step.finding(operation.index.name or "", table=operation.table, method=method)


@script_rule(
    "not-null-rebuilds",
    servers=MYSQL,
    severity=Severity.WARNING,
    reason="NOT NULL on {table}.{column} rebuilds the table: readers and writers go on, but replicas apply "
    "the "
    "rebuild after it, and lag as long as it takes.",
    replacement=TOOL,
)
def not_null_rebuilds(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.RedefineColumn):
        before = step.before.column(operation.table, operation.old)
        if not operation.column.nullable and (before is None or before.nullable):
            yield step.finding(
                f"{operation.table}.{operation.old}", table=operation.table, column=operation.old
            )
    for step, changed in script.on_existing(ops.SetNotNull):
        yield step.finding(f"{changed.table}.{changed.column}", table=changed.table, column=changed.column)


@script_rule(
    "too-many-instant-changes",
    servers={"mysql": "8.0.29"},
    severity=Severity.WARNING,
    reason="{table} has had {count} ADD COLUMN and DROP COLUMN: after 64 instant ones InnoDB refuses "
    "ALGORITHM=INSTANT, and the next one rebuilds the table (from MySQL 8.0.29).",
    replacement="OPTIMIZE TABLE {table}   (rebuilds it, at a time of your choice)",
)
def too_many_instant_changes(script: Script) -> Iterator[Finding]:
    for step in script.steps:
        operation = step.operation
        if isinstance(operation, ops.AddColumn | ops.DropColumn):
            table = step.before.table(operation.table)
            if table is not None and table.instant_changes == 64:
                yield step.finding(
                    str(operation.table), table=operation.table, count=table.instant_changes + 1
                )


@script_rule(
    "utf8mb3",
    servers=MYSQL,
    severity=Severity.WARNING,
    reason="utf8 (utf8mb3) of {object} stores no character outside of the basic plane, such as emoji: an "
    "INSERT of "
    "one fails, and the name is deprecated.",
    replacement="CHARACTER SET utf8mb4",
)
def utf8mb3(script: Script) -> Iterator[Finding]:
    names = ("utf8", "utf8mb3")
    for step in script.steps:
        operation = step.operation
        if isinstance(operation, ops.SetTableOption) and operation.option.endswith("charset"):
            if (operation.value or "").lower().strip("'\"") in names:
                yield step.finding(str(operation.table), object=operation.table)
        elif isinstance(operation, ops.AddColumn | ops.RedefineColumn):
            column = operation.column
            if column.type is not None and (column.type.charset or "").lower() in names:
                yield step.finding(
                    f"{operation.table}.{column.name}", object=f"{operation.table}.{column.name}"
                )


@script_rule(
    "optimize-rebuilds",
    servers=MYSQL,
    severity=Severity.WARNING,
    reason="OPTIMIZE TABLE rebuilds {object}: replicas apply the rebuild after it, and lag as long as it "
    "takes.",
    replacement=TOOL,
)
def optimize_rebuilds(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(ops.Maintain):
        if operation.verb == "optimize":
            yield step.finding(str(operation.object or ""), object=operation.object or "the table")
