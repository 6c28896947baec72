"""Decisions on constraints.

A constraint is additive if every row passes that old code writes, that is, a row with NULL or the default in
the columns that the same revisions add, and with any value in the others.

UNIQUE: one column that old code leaves NULL is enough, because a row with NULL is never a duplicate.
CHECK: the condition must hold for NULL or the default; ``new IS NOT NULL`` does not.
FOREIGN KEY: old code must leave all its columns NULL. What it adds to a DELETE of the table that it refers to
is accepted: only a row that new code has written can make that DELETE fail, and new code is written with
the old one in mind. The same holds for a foreign key of a new table. TRUNCATE of the table that is
referred to fails at once on PostgreSQL, MySQL and MariaDB; it is not a write of an application.

Existing rows: on PostgreSQL the executor adds a check or a foreign key as NOT VALID and validates it, and
builds the index of UNIQUE concurrently. Inside of ADD COLUMN the server itself reads the table under its lock
for CHECK and UNIQUE, not for REFERENCES, because every row has NULL. MySQL and MariaDB copy the table for a
foreign key and for a CHECK; MariaDB alone adds a CHECK inside of ADD COLUMN at once. An EXCLUDE constraint
may have expressions that fail, so it is additive on new tables only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from online_migrate.phases.expressions import UNKNOWN, Scalar, left_by_old_code, passes
from online_migrate.phases.given import Given, decides
from online_migrate.phases.index_entries import Entry, objection_to_entry
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import (
    AddConstraint,
    AlterConstraint,
    DropConstraint,
    ValidateConstraint,
)
from online_migrate.sql.operations.parts import Constraint, ConstraintKind, Name

Values = Mapping[str, Scalar]

_FREE_OF_A_TABLE_SCAN: dict[str, Callable[[Constraint, bool], bool]] = {
    # A plain constraint is sent as NOT VALID and VALIDATE. A new column is NULL, so no key is looked up.
    "postgresql": lambda constraint, inline: not inline or constraint.kind is ConstraintKind.FOREIGN_KEY,
    "mysql": lambda constraint, inline: False,
    "mariadb": lambda constraint, inline: inline and constraint.kind is ConstraintKind.CHECK,
    "sqlite": lambda constraint, inline: True,
}
"""Whether a check or a foreign key is added without reading or copying the table under a lock."""


def objection_to_constraint(
    table: Name, constraint: Constraint, values: Values, given: Given, *, inline: bool = False
) -> Verdict | None:
    """Returns a verdict unless every row passes that old code writes.

    *values*: the values that old code leaves in new columns. *inline*: it is a part of ADD COLUMN.
    """
    if constraint.not_enforced and constraint.kind in (ConstraintKind.CHECK, ConstraintKind.FOREIGN_KEY):
        return None
    return _BY_KIND[constraint.kind](_subject(table, constraint), constraint, values, given, inline)


def _subject(table: Name, constraint: Constraint) -> str:
    name = constraint.name or (constraint.columns[0] if constraint.columns else None)
    return f"{table}.{name}" if name else str(table)


def _scans(subject: str, rule: str, constraint: Constraint, given: Given, inline: bool) -> Verdict | None:
    if _FREE_OF_A_TABLE_SCAN[given.product](constraint, inline):
        return None
    reason = "The server reads or copies the whole table under a lock; writes of old code wait meanwhile."
    hint = {
        "postgresql": (
            "Add the column alone, and the constraint in a statement of its own, which is sent as NOT VALID"
            " and VALIDATE."
        ),
    }.get(given.product, "Add the column alone, and the constraint in the contract script.")
    return apply_rule(rule, subject, reason, hint)


def _check(
    subject: str, constraint: Constraint, values: Values, given: Given, inline: bool
) -> Verdict | None:
    if passes(constraint.condition, values, given.product):
        return _scans(subject, "add-check", constraint, given, inline)
    return apply_rule(
        "add-check",
        subject,
        "An INSERT or UPDATE of old code fails if its row does not meet the condition: check"
        " constraint violated.",
        "Repair the old rows by a data migration, and add the constraint in the contract script.",
    )


def _foreign_key(
    subject: str, constraint: Constraint, values: Values, given: Given, inline: bool
) -> Verdict | None:
    if (
        given.product == "sqlite"
        and constraint.referred
        and given.known.table_exists(constraint.referred) is False
    ):
        return apply_rule(
            "add-foreign-key",
            subject,
            f"A write of old code fails while there is no table {constraint.referred}, also with NULL.",
            f"Create {constraint.referred} before it.",
        )
    if constraint.columns and all(values.get(column, 0) is None for column in constraint.columns):
        return _scans(subject, "add-foreign-key", constraint, given, inline)
    return apply_rule(
        "add-foreign-key",
        subject,
        f"An INSERT or UPDATE of old code fails if its value has no row in {constraint.referred}: foreign key"
        " constraint violated.",
        "Repair the old rows by a data migration, and add the constraint in the contract script.",
    )


def _unique(
    subject: str, constraint: Constraint, values: Values, given: Given, inline: bool
) -> Verdict | None:
    may_repeat = not (constraint.nulls_not_distinct or constraint.has_expressions)
    if may_repeat and left_null(constraint.columns, values):
        return _unique_of_new_column(subject, inline, given)
    return apply_rule(
        "add-unique",
        subject,
        "An INSERT or UPDATE of old code that repeats a value fails: duplicate key.",
        "Remove the duplicates by a data migration, and add the constraint in the contract script.",
    )


_UNIQUE_IN_ADD_COLUMN = {
    "postgresql": (
        "The index is built under a lock that no reader and no writer passes, and all rows are read.",
        "Add the column alone, and the constraint in a statement of its own, of which the index is built"
        " CONCURRENTLY.",
    ),
    "sqlite": (
        "SQLite refuses a UNIQUE column in ALTER TABLE.",
        "Add the column alone, and create a unique index on it after it.",
    ),
}


def _unique_of_new_column(subject: str, inline: bool, given: Given) -> Verdict | None:
    """Returns the verdict on UNIQUE of a column that old code leaves NULL; *inline*: a part of ADD COLUMN."""
    found = _UNIQUE_IN_ADD_COLUMN.get(given.product) if inline else None
    return None if found is None else apply_rule("add-unique", subject, *found)


def left_null(columns: tuple[str | None, ...], values: Values) -> bool:
    """Returns True if old code leaves one of the columns NULL."""
    return any(column is not None and values.get(column, 0) is None for column in columns)


def _primary_key(
    subject: str, constraint: Constraint, values: Values, given: Given, inline: bool
) -> Verdict | None:
    return apply_rule(
        "add-primary-key",
        subject,
        "An INSERT of old code that leaves a column of the key out, or repeats a value, fails.",
        "Fill the columns by a data migration, and add the primary key in the contract script.",
    )


def _exclude(
    subject: str, constraint: Constraint, values: Values, given: Given, inline: bool
) -> Verdict | None:
    return apply_rule(
        "add-exclude",
        subject,
        "An INSERT or UPDATE of old code that conflicts with another row fails: exclusion"
        " constraint violated.",
        "Repair the old rows by a data migration, and add the constraint in the contract script.",
    )


def _not_null(
    subject: str, constraint: Constraint, values: Values, given: Given, inline: bool
) -> Verdict | None:
    left = [values.get(column, UNKNOWN) for column in constraint.columns]
    if left and None not in left and UNKNOWN not in left:
        return None
    return apply_rule(
        "set-not-null",
        subject,
        "An INSERT of old code that leaves the column out, or writes NULL, fails: null value.",
        "Fill the old rows by a data migration, and set NOT NULL in the contract script.",
    )


_BY_KIND: dict[ConstraintKind, Callable[[str, Constraint, Values, Given, bool], Verdict | None]] = {
    ConstraintKind.PRIMARY_KEY: _primary_key,
    ConstraintKind.UNIQUE: _unique,
    ConstraintKind.FOREIGN_KEY: _foreign_key,
    ConstraintKind.CHECK: _check,
    ConstraintKind.EXCLUDE: _exclude,
    ConstraintKind.NOT_NULL: _not_null,
}


def values_of_new_columns(table: Name, columns: tuple[str | None, ...], given: Given) -> Values:
    """Returns the values that old code leaves in those of the columns that are new."""
    values = {}
    for name in columns:
        if name is not None and given.known.is_new_column(table, name):
            column = given.known.column(table, name)
            if column is not None:
                values[name] = left_by_old_code(column, given.product)
    return values


@decides(AddConstraint)
def add_constraint(operation: AddConstraint, given: Given) -> Verdict:
    subject = _subject(operation.table, operation.constraint)
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    values = values_of_new_columns(operation.table, operation.constraint.columns, given)
    objection = objection_to_constraint(operation.table, operation.constraint, values, given)
    if objection is None and operation.constraint.kind is ConstraintKind.UNIQUE:
        constraint = operation.constraint
        entry = Entry(operation.table, constraint.columns, included=constraint.included)
        objection = objection_to_entry(subject, entry, given)
    return objection or apply_rule("add-harmless-constraint", subject)


@decides(DropConstraint)
def drop_constraint(operation: DropConstraint, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.name or operation.kind or ''}"
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    return apply_rule(
        "drop-constraint",
        subject,
        "Old code relies on it: ON CONFLICT and ON DUPLICATE KEY need the key, and ON DELETE no longer acts.",
        "Move it to the contract script.",
    )


@decides(ValidateConstraint)
def validate_constraint(operation: ValidateConstraint, given: Given) -> Verdict:
    return apply_rule("validate-constraint", f"{operation.table}.{operation.name}")


_CONTRACT_CHANGES = ("deferrable", "not deferrable", "initially", "enforced", "not enforced", "rename")
_INHERITANCE = ("inherit", "no inherit")


@decides(AlterConstraint)
def alter_constraint(operation: AlterConstraint, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.name}"
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    if operation.change.startswith(_CONTRACT_CHANGES + _INHERITANCE):
        return apply_rule(
            "alter-constraint",
            subject,
            "A statement of old code fails at another time, or for another row, or with another name.",
            "Move it to the contract script.",
        )
    return apply_rule(
        "unknown-option",
        subject,
        f"The effect of the change {operation.change} of a constraint on old code is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )
