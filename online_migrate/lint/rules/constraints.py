"""Constraints that are checked for every row, or whose index is built, while others wait (PostgreSQL)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script, Step
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations import parts
from online_migrate.sql.operations.parts import Constraint, ConstraintKind

_SEPARATELY = "ALTER TABLE {table} VALIDATE CONSTRAINT {name}   (in a transaction of its own)"


def _added(script: Script, *kinds: ConstraintKind) -> Iterator[tuple[Step, Constraint, parts.Name]]:
    for step, operation in script.on_existing(ops.AddConstraint):
        if operation.constraint.kind in kinds:
            yield step, operation.constraint, operation.table


def _facts(constraint: Constraint, table: parts.Name) -> dict[str, object]:
    return {
        "table": table,
        "name": constraint.name or "NAME",
        "columns": ", ".join(constraint.columns) or "...",
        "referred": constraint.referred,
        "condition": constraint.condition.text if constraint.condition is not None else "...",
        "kind": str(constraint.kind).upper(),
    }


@script_rule(
    "foreign-key-validates",
    servers=POSTGRESQL,
    sent_safely=True,
    reason="ADD FOREIGN KEY takes a SHARE ROW EXCLUSIVE lock on {table} and on {referred} while it checks "
    "every row: writers of both tables wait.",
    replacement="ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({columns}) REFERENCES {referred} NOT "
    f"VALID;\n{_SEPARATELY}",
)
def foreign_key_validates(script: Script) -> Iterator[Finding]:
    for step, constraint, table in _added(script, ConstraintKind.FOREIGN_KEY):
        if not constraint.not_valid and not constraint.not_enforced:
            yield step.finding(constraint.name or str(table), **_facts(constraint, table))


@script_rule(
    "check-validates",
    servers=POSTGRESQL,
    sent_safely=True,
    reason="ADD CHECK takes an ACCESS EXCLUSIVE lock on {table} while it checks every row: readers and "
    "writers wait.",
    replacement=f"ALTER TABLE {{table}} ADD CONSTRAINT {{name}} CHECK ({{condition}}) NOT "
    f"VALID;\n{_SEPARATELY}",
)
def check_validates(script: Script) -> Iterator[Finding]:
    for step, constraint, table in _added(script, ConstraintKind.CHECK, ConstraintKind.NOT_NULL):
        if not constraint.not_valid and not constraint.not_enforced:
            yield step.finding(constraint.name or str(table), **_facts(constraint, table))


@script_rule(
    "validate-with-add",
    servers=POSTGRESQL,
    sent_safely=True,
    reason="VALIDATE CONSTRAINT {name} runs in the transaction that adds the constraint, and so under its "
    "lock: writers of {table} wait while every row is checked.",
    replacement='with op.get_context().autocommit_block():\n    op.execute("'
    + _SEPARATELY.split("   ")[0]
    + '")',
)
def validate_with_add(script: Script) -> Iterator[Finding]:
    added = {
        (str(operation.table), operation.constraint.name): step.statement.transaction
        for step, operation in script.each(ops.AddConstraint)
    }
    for step, operation in script.on_existing(ops.ValidateConstraint):
        transaction = step.statement.transaction
        key = (str(operation.table), operation.name)
        if transaction is not None and added.get(key) == transaction:
            yield step.finding(operation.name, table=operation.table, name=operation.name)


@script_rule(
    "unique-constraint-builds-index",
    servers=POSTGRESQL,
    sent_safely=True,
    reason="ADD {kind} builds an index under an ACCESS EXCLUSIVE lock on {table}: readers and writers wait "
    "until it is built.",
    replacement="CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns});\n"
    "ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name}",
)
def unique_constraint_builds_index(script: Script) -> Iterator[Finding]:
    for step, constraint, table in _added(script, ConstraintKind.UNIQUE, ConstraintKind.PRIMARY_KEY):
        if constraint.using_index is None:
            yield step.finding(constraint.name or str(table), **_facts(constraint, table))


@script_rule(
    "primary-key-sets-not-null",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    reason="ADD PRIMARY KEY USING INDEX sets nullable columns of the index to NOT NULL, and checks every row "
    "of {table} under an ACCESS EXCLUSIVE lock.",
    replacement="set every column of the index to NOT NULL before (see set-not-null-scans)",
)
def primary_key_sets_not_null(script: Script) -> Iterator[Finding]:
    for step, constraint, table in _added(script, ConstraintKind.PRIMARY_KEY):
        if constraint.using_index is None:
            continue
        known = step.before.table(table)
        index = known.index(constraint.using_index) if known is not None else None
        columns = [known.columns.get(name or "") for name in index.columns] if known and index else [None]
        if any(column is None or column.nullable for column in columns):
            yield step.finding(constraint.name or str(table), table=table)


@script_rule(
    "exclusion-constraint",
    servers=POSTGRESQL,
    reason="ADD EXCLUDE builds an index and checks every row under an ACCESS EXCLUSIVE lock on {table}: "
    "readers "
    "and writers wait. PostgreSQL has no other way to add it to an existing table.",
    replacement="create a new table with the constraint, and copy the rows by a data migration",
)
def exclusion_constraint(script: Script) -> Iterator[Finding]:
    for step, constraint, table in _added(script, ConstraintKind.EXCLUDE):
        yield step.finding(constraint.name or str(table), table=table)


@script_rule(
    "foreign-key-without-index",
    severity=Severity.WARNING,
    servers={"postgresql": "", "sqlite": ""},
    reason="No index of {table} starts with {columns}: each DELETE, and each UPDATE of the key, in "
    "{referred} "
    "scans {table}.",
    replacement='op.create_index("ix_{table}_{first}", "{table}", [{quoted}])',
)
def foreign_key_without_index(script: Script) -> Iterator[Finding]:
    if not script.steps:
        return
    last = script.steps[-1]
    after = last.before.after(last.operation)
    for step, constraint, name in _foreign_keys(script):
        table = after.table(name)
        columns = constraint.columns
        if table is None or not table.complete or not columns:
            continue
        if not any(set(key[: len(columns)]) == set(columns) for key in table.key_columns()):
            yield step.finding(
                constraint.name or f"{name}.{columns[0]}",
                table=name,
                columns=", ".join(columns),
                first=columns[0],
                referred=constraint.referred,
                quoted=", ".join(f'"{column}"' for column in columns),
            )


def _foreign_keys(script: Script) -> Iterator[tuple[Step, Constraint, parts.Name]]:
    for step in script.steps:
        operation = step.operation
        found: list[Constraint] = []
        if isinstance(operation, ops.AddConstraint):
            found = [operation.constraint]
        elif isinstance(operation, ops.CreateTable):
            found = [*operation.constraints, *(c for column in operation.columns for c in column.constraints)]
        elif isinstance(operation, ops.AddColumn):
            found = list(operation.column.constraints)
        else:
            continue
        for constraint in found:
            if constraint.kind is ConstraintKind.FOREIGN_KEY:
                yield step, constraint, operation.table


@script_rule(
    "foreign-key-type-mismatch",
    severity=Severity.WARNING,
    reason="{table}.{column} is {type}, but the key of {referred} is {other}: values of one may not fit into "
    "the other, and joins convert them.",
    replacement="give {column} the type {other}",
)
def foreign_key_type_mismatch(script: Script) -> Iterator[Finding]:
    for step, constraint, name in _foreign_keys(script):
        schema = step.before.after(step.operation)
        referred = schema.table(constraint.referred)
        if referred is None or len(constraint.columns) != 1:
            continue
        column = schema.column(name, constraint.columns[0])
        keys = [column for column in referred.columns.values() if _is_primary(referred.constraints, column)]
        if column is None or len(keys) != 1 or column.type is None or keys[0].type is None:
            continue
        if not _refers_to(step.statement.text, referred.name.name) <= {keys[0].name.lower()}:
            continue
        one, other = column.type, keys[0].type
        if (one.name, one.unsigned) != (other.name, other.unsigned):
            yield step.finding(
                f"{name}.{column.name}",
                table=name,
                column=column.name,
                type=one,
                referred=constraint.referred,
                other=other,
            )


def _refers_to(text: str, table: str) -> set[str]:
    """Returns the columns of *table* that the REFERENCES of a statement name, in lower case."""
    found = re.findall(rf"(?i)\bREFERENCES\s+[^\s(]*{re.escape(table)}[\"`]?\s*\(([^)]*)\)", text)
    return {name.strip(' "`\n\t').lower() for columns in found for name in columns.split(",")}


def _is_primary(constraints: tuple[Constraint, ...], column: parts.Column) -> bool:
    of_table = (one for one in constraints if one.columns == (column.name,))
    return any(one.kind is ConstraintKind.PRIMARY_KEY for one in (*column.constraints, *of_table))
