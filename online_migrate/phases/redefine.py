"""Decisions on MODIFY and CHANGE of MySQL and MariaDB, which replace the whole definition of a column.

What the new definition does not repeat is gone, also a default or a comment. So the old definition must be
known; every difference is judged, and a difference that is not known to be harmless is not additive.
"""

from __future__ import annotations

import dataclasses

from online_migrate.phases.columns import (
    changed_type,
    default_of_old_column,
    hidden,
    not_null,
    of_new_column,
    renamed,
    unknown_column,
)
from online_migrate.phases.constraints import objection_to_constraint
from online_migrate.phases.defaults import same_default
from online_migrate.phases.given import Given, decides
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.types import TypeChange, compare_types
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import RedefineColumn, SetDefault
from online_migrate.sql.operations.parts import Column


@decides(RedefineColumn)
def redefine_column(operation: RedefineColumn, given: Given) -> Verdict:
    table, new = operation.table, operation.column
    subject = f"{table}.{operation.old}"
    if given.known.is_new_table(table):
        return apply_rule("new-table", subject)
    old = given.known.column(table, operation.old)
    added = given.known.is_new_column(table, operation.old)
    if new.name != operation.old and not added:
        return renamed(subject, new.name)
    if old is None:
        return unknown_column(subject)
    objection = _type(subject, old, new, given)
    if added:
        kept = dataclasses.replace(new, constraints=(*old.constraints, *new.constraints))
        return objection or of_new_column(subject, table, kept, given)
    return objection or _difference(subject, old, operation, given)


def _type(subject: str, old: Column, new: Column, given: Given) -> Verdict | None:
    if old.type is None or new.type is None:
        return unknown_column(subject)
    change = compare_types(old.type, new.type, given.product)
    if change in (TypeChange.SAME, TypeChange.WIDER) and old.collation == new.collation:
        return None
    return changed_type(subject, str(old.type), new.type, change)


def _difference(subject: str, old: Column, operation: RedefineColumn, given: Given) -> Verdict:
    """Returns the verdict on a column that old code knows, whose type stays or becomes wider."""
    new = operation.column
    if old.nullable and not new.nullable:
        return not_null(subject)
    if not same_default(old.default, new.default):
        change = SetDefault(table=operation.table, column=new.name, default=new.default)
        verdict = default_of_old_column(subject, old, change, given)
        if not verdict.additive:
            return verdict
    if _computed(old) != _computed(new):
        return apply_rule(
            "change-generated",
            subject,
            "AUTO_INCREMENT, ON UPDATE or the generated value changes, on which an INSERT or"
            " UPDATE of old code"
            " relies.",
            "Repeat the definition of the column in full, or move the change to the contract script.",
        )
    if new.invisible and not old.invisible:
        return hidden(subject)
    return _relaxed(subject, old, operation, given)


def _computed(column: Column) -> tuple[object, ...]:
    return column.identity, column.on_update, column.generated, column.stored


def _relaxed(subject: str, old: Column, operation: RedefineColumn, given: Given) -> Verdict:
    new = operation.column
    known = set(old.constraints)
    for constraint in new.constraints:
        objection = objection_to_constraint(operation.table, constraint, {}, given)
        if constraint not in known and objection is not None:
            return objection
    if new.nullable and not old.nullable:
        return _nullable(subject, old)
    if old.type != new.type:
        return apply_rule("widen-type", subject)
    if not same_default(old.default, new.default):
        return apply_rule("set-first-default", subject)
    same = dataclasses.replace(old, constraints=new.constraints) == new
    return apply_rule("no-change" if same else "set-column-option", subject)


def _nullable(subject: str, old: Column) -> Verdict:
    if old.type is None or old.type.name != "timestamp":
        return apply_rule("drop-not-null", subject)
    return apply_rule(
        "change-nullable-timestamp",
        subject,
        "An INSERT of old code that writes NULL stored the current time; after it, it stores NULL"
        " (explicit_defaults_for_timestamp = OFF).",
        "Move it to the contract script.",
    )
