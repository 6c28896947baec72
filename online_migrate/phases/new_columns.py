"""Decisions on new columns.

A new column is additive if the server has a value for it in an INSERT that does not name it, and adds it
without rewriting the table.
"""

from __future__ import annotations

from online_migrate.phases.constraints import objection_to_constraint
from online_migrate.phases.defaults import default_that_rewrites, default_unfit_for_old_code
from online_migrate.phases.expressions import cannot_fail, left_by_old_code
from online_migrate.phases.fitting_values import default_fits, generated_value_fits
from online_migrate.phases.given import Given, decides
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.types import BUILT_IN
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import AddColumn
from online_migrate.sql.operations.parts import Column, Name, Value


@decides(AddColumn)
def add_column(operation: AddColumn, given: Given) -> Verdict:
    column, subject = operation.column, f"{operation.table}.{operation.column.name}"
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    return (
        objection_to_new_column(operation.table, column, given)
        or _combined(subject, operation)
        or _refused_by_sqlite(operation, given)
        or default_that_rewrites(subject, column, given)
        or apply_rule("add-column", subject)
    )


def _combined(subject: str, operation: AddColumn) -> Verdict | None:
    if not operation.combined:
        return None
    return apply_rule(
        "add-generated-column",
        subject,
        "Together with other changes, the server adds a virtual column only while writes of old code wait.",
        "Add the virtual column in a statement of its own.",
    )


def _refused_by_sqlite(operation: AddColumn, given: Given) -> Verdict | None:
    """Returns a verdict for a default that SQLite refuses in ALTER TABLE; the copy of a table may have it."""
    default = operation.column.default
    if given.product != "sqlite" or operation.by_copy or default is None or default.form is not Value.NOW:
        return None
    return apply_rule(
        "add-column-rewrite",
        f"{operation.table}.{operation.column.name}",
        "SQLite refuses a default in ALTER TABLE that is not constant.",
        "Add the column without a default, and let new code write the value; or use batch mode, which"
        " copies the table.",
    )


def objection_to_new_column(
    table: Name, column: Column, given: Given, *, inline: bool = True
) -> Verdict | None:
    """Returns a verdict if writes of old code may fail once the table has this column.

    *inline*: its constraints are parts of the statement.
    """
    subject = f"{table}.{column.name}"
    return (
        _unknown_type(subject, column, given)
        or _computed(table, column, given)
        or _not_null(subject, column)
        or default_unfit_for_old_code(subject, column.default, given)
        or _default_that_may_not_fit(subject, column, given)
        or _constrained(table, column, given, inline=inline)
    )


def _unknown_type(subject: str, column: Column, given: Given) -> Verdict | None:
    type = column.type
    if type is None or given.product != "postgresql" or type.name in BUILT_IN or type.array:
        return None
    if given.known.type_kind(type) in ("enum", "other"):
        return None
    return apply_rule(
        "unknown-type",
        subject,
        f"The type {type.name} may be a domain that refuses NULL or the default, which an INSERT of old code"
        " leaves in the column.",
        "Use the type under the domain, and add its constraint in the contract script.",
    )


def _default_that_may_not_fit(subject: str, column: Column, given: Given) -> Verdict | None:
    if default_fits(column, given.product):
        return None
    return apply_rule(
        "default-calls-function",
        subject,
        f"An INSERT of old code fails if the default is too long or too great for {column.type}.",
        "Use a literal that fits, or a type without a length.",
    )


def _computed(table: Name, column: Column, given: Given) -> Verdict | None:
    subject = f"{table}.{column.name}"
    if column.identity:
        return apply_rule(
            "add-identity-column",
            subject,
            "The server numbers all rows: the table is rewritten, and writes of old code wait meanwhile.",
            "Add a nullable column, fill it by a data migration, and add the key in the contract script.",
        )
    if column.generated is None:
        return None
    virtual = not column.stored and (given.product != "postgresql" or given.server.at_least(18))
    has_value = cannot_fail(column.generated, given.product)
    fits = generated_value_fits(table, column, column.generated, given)
    if virtual and column.nullable and has_value and fits:
        return None
    return apply_rule(
        "add-generated-column",
        subject,
        "A stored column rewrites the table; and an INSERT or UPDATE of old code fails if the expression"
        " raises an error for its row, for example out of range.",
        "Add a plain nullable column that new code writes, and fill it by a data migration.",
    )


def _not_null(subject: str, column: Column) -> Verdict | None:
    if column.nullable or column.generated is not None:
        return None
    if column.default is not None and column.default.form is not Value.NULL:
        return None
    return apply_rule(
        "add-not-null-column",
        subject,
        "An INSERT of old code does not name the column, and fails: it has no default value.",
        "Add the column as nullable, fill it by a data migration, and set NOT NULL in the contract script;"
        " or give it a constant default on the server (server_default).",
    )


def _constrained(table: Name, column: Column, given: Given, *, inline: bool) -> Verdict | None:
    values = {column.name: left_by_old_code(column, given.product)}
    for constraint in column.constraints:
        objection = objection_to_constraint(table, constraint, values, given, inline=inline)
        if objection is not None:
            return objection
    return None
