"""Decisions on columns that exist.

DROP NOT NULL is additive: it changes no row, and old code reads NULL only after new code has written it; the
same holds for a wider type and a new enum value.
"""

from __future__ import annotations

import dataclasses

from online_migrate.phases.defaults import default_that_may_raise, same_default
from online_migrate.phases.given import Given, decides
from online_migrate.phases.new_columns import objection_to_new_column
from online_migrate.phases.raising_defaults import may_raise
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.types import TypeChange, compare_types
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations.operation import (
    DropColumn,
    DropNotNull,
    RenameColumn,
    SetColumnOption,
    SetColumnType,
    SetDefault,
    SetNotNull,
)
from online_migrate.sql.operations.parts import Column, Name, SqlType


@decides(DropColumn)
def drop_column(operation: DropColumn, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.column}"
    if given.known.is_new_column(operation.table, operation.column):
        return apply_rule("change-new-column", subject)
    return apply_rule(
        "drop-column",
        subject,
        "Every statement of old code that names the column fails: unknown column.",
        "Move it to the contract script.",
    )


@decides(RenameColumn)
def rename_column(operation: RenameColumn, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.column}"
    if given.known.is_new_column(operation.table, operation.column):
        return apply_rule("change-new-column", subject)
    return renamed(subject, operation.new)


def renamed(subject: str, new: str) -> Verdict:
    return apply_rule(
        "rename-column",
        subject,
        "Every statement of old code that names the column fails: unknown column.",
        f"Add the column {new}, copy the values by a data migration, and drop the old one in the contract"
        " script.",
    )


@decides(SetColumnType)
def set_column_type(operation: SetColumnType, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.column}"
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    old = given.known.column(operation.table, operation.column)
    if old is None or old.type is None:
        return unknown_column(subject)
    if operation.using is not None:
        return changed_type(subject, str(old.type), operation.type, TypeChange.OTHER)
    change = compare_types(old.type, operation.type, given.product)
    if operation.collation != old.collation:
        change = TypeChange.OTHER
    if change is TypeChange.SAME:
        return apply_rule("no-change", subject)
    if change is TypeChange.WIDER and old.generated is None:
        return apply_rule("widen-type", subject)
    return changed_type(subject, str(old.type), operation.type, change)


def changed_type(subject: str, old: str, new: SqlType, change: TypeChange) -> Verdict:
    """Returns the verdict on a change of a type that is not additive."""
    hint = "Add a column of the new type, copy the values by a data migration, and drop the old column in the"
    hint += " contract script."
    if change is TypeChange.COPIED:
        reason = (
            f"From {old} to {new} the server rewrites the whole table; writes of old code wait meanwhile."
        )
        return apply_rule("change-type-rewrite", subject, reason, hint)
    if change is TypeChange.RENUMBERED:
        reason = "The values are renumbered: the table is copied, and writes of old code wait meanwhile."
        return apply_rule("add-enum-value-in-middle", subject, reason, "Add the new values at the end.")
    reason = f"From {old} to {new}: a value that old code writes may be refused, or is read in another form."
    return apply_rule("change-type", subject, reason, hint)


def unknown_column(subject: str) -> Verdict:
    return apply_rule(
        "change-unknown-column",
        subject,
        "The definition of the column is not known, so the change may make it narrower for old code.",
        "Judge the script with all revisions before it, or move the change to the contract script.",
    )


def of_new_column(subject: str, table: Name, column: Column, given: Given) -> Verdict:
    """Returns the verdict on a change that gives a new column of an old table this definition."""
    # MySQL and MariaDB repeat an inline constraint in MODIFY; elsewhere it exists already.
    objection = objection_to_new_column(table, column, given, inline=given.product in MYSQL)
    return objection or apply_rule("change-new-column", subject)


def _known_new_column(table: Name, column: str, given: Given) -> Column | None:
    return given.known.column(table, column) if given.known.is_new_column(table, column) else None


@decides(SetNotNull)
def set_not_null(operation: SetNotNull, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.column}"
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    new = _known_new_column(operation.table, operation.column, given)
    if new is not None:
        return of_new_column(subject, operation.table, dataclasses.replace(new, nullable=False), given)
    old = given.known.column(operation.table, operation.column)
    if old is not None and not old.nullable:
        return apply_rule("no-change", subject)
    return not_null(subject)


def not_null(subject: str) -> Verdict:
    return apply_rule(
        "set-not-null",
        subject,
        "An INSERT of old code that leaves the column out, or writes NULL, fails: null value.",
        "Fill the old rows by a data migration, and set NOT NULL in the contract script.",
    )


@decides(DropNotNull)
def drop_not_null(operation: DropNotNull, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.column}"
    return apply_rule("drop-not-null", subject)


@decides(SetDefault)
def set_default(operation: SetDefault, given: Given) -> Verdict:
    subject = f"{operation.table}.{operation.column}"
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    new = _known_new_column(operation.table, operation.column, given)
    if new is not None:
        changed = dataclasses.replace(new, default=operation.default)
        if may_raise(operation.default, given.product):
            return default_that_may_raise(subject, operation.default)
        return of_new_column(subject, operation.table, changed, given)
    old = given.known.column(operation.table, operation.column)
    return default_of_old_column(subject, old, operation, given)


def default_of_old_column(subject: str, old: Column | None, operation: SetDefault, given: Given) -> Verdict:
    """Returns the verdict on a new default of a column that old code knows."""
    numbered = old is not None and old.identity  # the default of a serial column is not in its definition
    if old is not None and not numbered and same_default(old.default, operation.default):
        return apply_rule("no-change", subject)
    without = old is not None and not old.nullable and same_default(old.default, None)
    if without and not numbered and old is not None and old.generated is None:
        return apply_rule("set-first-default", subject)
    return apply_rule(
        "change-default",
        subject,
        "An INSERT of old code that leaves the column out gets another value, or none, without a notice.",
        "Let new code write the value itself, and change the default in the contract script.",
    )


_HARMLESS_OPTIONS = {"comment", "statistics", "storage", "compression", "options", "visible"}
_CONTRACT_OPTIONS = {
    "add identity": "An INSERT of old code that gives a value fails if the identity is GENERATED ALWAYS.",
    "identity": "An INSERT of old code that gives a value fails if the identity is GENERATED ALWAYS.",
    "drop identity": "An INSERT of old code that leaves the column out fails: null value.",
    "drop expression": "An INSERT of old code leaves the column NULL: the server no longer computes it.",
    "expression": "Old code reads other values, and the table may be rewritten.",
    "collation": "Comparisons, orders and unique values of old code change.",
}


@decides(SetColumnOption)
def set_column_option(operation: SetColumnOption, given: Given) -> Verdict:
    subject, option = f"{operation.table}.{operation.column}", operation.option
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    if option == "storage" and (operation.value or "").strip('"').lower() == "plain":
        reason = "A long value that old code writes fails: row is too big."
        return apply_rule("change-column-option", subject, reason, "Use EXTENDED, EXTERNAL or MAIN.")
    if option in _HARMLESS_OPTIONS:
        return apply_rule("set-column-option", subject)
    if option == "invisible":
        new = given.known.is_new_column(operation.table, operation.column)
        return apply_rule("change-new-column", subject) if new else hidden(subject)
    if option in _CONTRACT_OPTIONS:
        hint = "Move it to the contract script."
        return apply_rule("change-column-option", subject, _CONTRACT_OPTIONS[option], hint)
    return apply_rule(
        "unknown-option",
        subject,
        f"The effect of the column option {option} on old code is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )


def hidden(subject: str) -> Verdict:
    return apply_rule(
        "hide-column",
        subject,
        "SELECT * of old code no longer returns the column.",
        "Move it to the contract script.",
    )
