"""ADD COLUMN with a part that rewrites or checks every row (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations.operation import AddColumn
from online_migrate.sql.operations.parts import Column, ConstraintKind, Value

_STABLE = frozenset(
    {"now", "current_timestamp", "current_date", "current_user", "session_user", "localtimestamp"}
    | {"transaction_timestamp", "statement_timestamp", "current_setting", "lower", "upper", "concat", "md5"}
    | {"coalesce", "date_trunc", "jsonb_build_object", "json_build_object", "to_timestamp", "current_schema"}
    | {"timezone", "make_interval", "array", "current_time", "localtime", "length", "abs", "round"}
)
"""Functions that are evaluated once, when the column is added."""


def _is_volatile(column: Column) -> bool:
    default = column.default
    if default is None or default.form is not Value.EXPRESSION:
        return False
    return any(call not in _STABLE for call in default.calls)


@script_rule(
    "add-column-rewrites",
    servers={"postgresql": "11"},
    reason="A default that calls {calls} has another value for each row: ADD COLUMN rewrites {table} under "
    "an "
    "ACCESS EXCLUSIVE lock, and readers and writers wait. A constant needs no rewrite (PostgreSQL 11).",
    replacement="ALTER TABLE {table} ADD COLUMN {column} {type};\n"
    "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default};\n"
    "and a data migration that fills the existing rows",
)
def add_column_rewrites(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(AddColumn):
        column = operation.column
        if _is_volatile(column) and not column.identity:
            assert column.default is not None
            yield step.finding(
                f"{operation.table}.{column.name}",
                table=operation.table,
                column=column.name,
                type=column.type,
                default=column.default.text,
                calls=", ".join(f"{call}()" for call in column.default.calls) or "a function",
            )


@script_rule(
    "add-stored-column",
    servers=POSTGRESQL,
    reason="ADD COLUMN ... GENERATED ALWAYS AS ... STORED rewrites {table} under an ACCESS EXCLUSIVE lock: "
    "readers and writers wait.",
    replacement="ALTER TABLE {table} ADD COLUMN {column} {type};\n"
    "a trigger that sets it for new rows, and a data migration that fills the existing ones",
)
def add_stored_column(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(AddColumn):
        column = operation.column
        if column.generated is not None and column.stored:
            yield step.finding(
                f"{operation.table}.{column.name}",
                table=operation.table,
                column=column.name,
                type=column.type,
            )


@script_rule(
    "serial-column-rewrites",
    servers=POSTGRESQL,
    reason="A serial or identity column numbers every row: ADD COLUMN rewrites {table} under an ACCESS "
    "EXCLUSIVE lock, and readers and writers wait.",
    replacement="ALTER TABLE {table} ADD COLUMN {column} bigint;\n"
    "CREATE SEQUENCE {table}_{column}_seq OWNED BY {table}.{column};\n"
    "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT nextval('{table}_{column}_seq');\n"
    "and a data migration that numbers the existing rows",
)
def serial_column_rewrites(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(AddColumn):
        if operation.column.identity:
            name = operation.column.name
            yield step.finding(f"{operation.table}.{name}", table=operation.table, column=name)


@script_rule(
    "add-column-with-constraint",
    servers=POSTGRESQL,
    reason="ADD COLUMN with {kind} takes an ACCESS EXCLUSIVE lock on {table}{other}, and {does} under it: "
    "readers and writers wait.",
    replacement="add the column without it, then the constraint in its safe form (see {rule})",
)
def add_column_with_constraint(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(AddColumn):
        for constraint in operation.column.constraints:
            if constraint.kind not in _SAFE_FORMS:
                continue
            if constraint.kind is ConstraintKind.FOREIGN_KEY and operation.column.default is None:
                continue  # every value is NULL: no row is checked, and the lock is short
            does, rule = _SAFE_FORMS[constraint.kind]
            referred = f" and a lock on {constraint.referred}" if constraint.referred is not None else ""
            yield step.finding(
                f"{operation.table}.{operation.column.name}",
                kind=str(constraint.kind).upper(),
                table=operation.table,
                other=referred,
                does=does,
                rule=rule,
            )


_SAFE_FORMS = {
    ConstraintKind.PRIMARY_KEY: ("builds an index", "unique-constraint-builds-index"),
    ConstraintKind.UNIQUE: ("builds an index", "unique-constraint-builds-index"),
    ConstraintKind.CHECK: ("checks every row", "check-validates"),
    ConstraintKind.FOREIGN_KEY: ("checks every row", "foreign-key-validates"),
}
