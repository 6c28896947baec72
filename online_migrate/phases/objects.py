"""Decisions on views, triggers, routines, types, sequences, extensions, comments and privileges.

A replaced view is additive only if the same revisions create it: its new query may return fewer rows or other
values, and on MySQL and MariaDB fewer columns. A new routine of PostgreSQL may change which routine a call of
old code means, if there is one of the same name; so there must be none. A trigger is never proved to be
harmless. A value of an enum type is added at the end, where no old value gets another number.
"""

from __future__ import annotations

from online_migrate.phases.given import Given, decides
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.tables import hides_table
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import (
    AddEnumValue,
    AlterObject,
    ChangePrivileges,
    CommentOn,
    CreateObject,
    CreateRoutine,
    CreateTrigger,
    CreateView,
    DropObject,
)
from online_migrate.sql.operations.parts import Name

_MOVE = "Move it to the contract script."
_DECLARE = "Declare the operation as additive in the script, with the reason."


@decides(CreateView)
def create_view(operation: CreateView, given: Given) -> Verdict:
    known = given.known
    if not operation.temporary and known.hides_table(operation.view):
        return hides_table(operation.view)
    if not operation.replace or known.is_new_table(operation.view):
        return apply_rule("create-view", operation.view)
    if known.table_exists(operation.view) is False:
        return apply_rule("create-view", operation.view)
    return apply_rule(
        "replace-view",
        operation.view,
        "A SELECT of old code fails if the view loses a column, and finds less if it loses rows.",
        "Create a view under a new name, and drop the old one in the contract script.",
    )


@decides(CreateTrigger)
def create_trigger(operation: CreateTrigger, given: Given) -> Verdict:
    if operation.table is not None and given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.trigger)
    return apply_rule(
        "create-trigger",
        operation.trigger,
        f"An INSERT, UPDATE or DELETE of old code on {operation.table} fails if the trigger raises an error.",
        _DECLARE,
    )


@decides(CreateRoutine)
def create_routine(operation: CreateRoutine, given: Given) -> Verdict:
    if not operation.replace:
        return _overload(operation.routine, given) or apply_rule("create-routine", operation.routine)
    return apply_rule(
        "replace-routine",
        operation.routine,
        "If the routine exists, old code that calls it, or a trigger that does, gets another"
        " result or fails.",
        "Use CREATE without OR REPLACE, under a new name.",
    )


def _overload(routine: Name, given: Given) -> Verdict | None:
    if given.product != "postgresql" or given.known.routine_exists(routine) is False:
        return None
    return apply_rule(
        "overload-routine",
        routine,
        "If there is a routine of this name, a call of old code may mean the new one, or is ambiguous.",
        "Create it under a name that no routine has.",
    )


_NEW_KINDS = """
    sequence type domain schema extension statistics collation database role user group server language
    tablespace aggregate package
"""
_HARMLESS_KINDS = {*_NEW_KINDS.split(), "foreign table", "foreign data wrapper", "user mapping"}
_HARMLESS_KINDS |= {f"text search {part}" for part in ("configuration", "dictionary", "parser", "template")}
_ACTIVE_KINDS = {
    "rule": "Statements of old code on the table are rewritten, and may fail or do nothing.",
    "policy": "A statement of old code no longer finds or may no longer write rows that the policy excludes.",
    "publication": "An UPDATE or DELETE of old code fails on a published table without a replica identity.",
    "subscription": "Rows of another server are written into tables of old code.",
    "event": "Its statements run by themselves, and may change or lock rows of old code.",
    "event trigger": "DDL of old code fails if the trigger raises an error.",
    "user of a host": (
        "Old code that connects from the host with an account for '%' gets the new account: access denied."
    ),
}


@decides(CreateObject)
def create_object(operation: CreateObject, given: Given) -> Verdict:
    if operation.table is not None and given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.object)
    if operation.kind == "schema" and (operation.of_account or _is_account(operation, given)):
        return apply_rule(
            "create-schema-of-account",
            operation.object,
            'Old code of this account finds the tables of the schema first: "$user" begins its search_path.',
            "Use a name that no account has.",
        )
    if operation.kind in ("sequence", "foreign table") and given.known.hides_table(operation.object):
        return hides_table(operation.object)
    if operation.evaluates:
        return apply_rule(
            "unknown-option",
            operation.object,
            "ANALYZE fails if the expression of the statistics raises an error for a row, and the planner has"
            " no new statistics of the table.",
            "Use statistics on columns; or declare the operation as additive in the script, with the reason.",
        )
    if operation.kind in _HARMLESS_KINDS:
        overload = _overload(operation.object, given) if operation.kind == "aggregate" else None
        return overload or apply_rule("create-object", operation.object)
    if operation.kind in _ACTIVE_KINDS:
        return apply_rule("create-active-object", operation.object, _ACTIVE_KINDS[operation.kind], _DECLARE)
    return apply_rule(
        "unknown-option",
        operation.object,
        f"The effect of a new {operation.kind} on old code is not known.",
        _DECLARE,
    )


def _is_account(operation: CreateObject, given: Given) -> bool:
    # Without a database the accounts are not known, and a schema of such a name is rare.
    return given.product == "postgresql" and given.known.role_exists(operation.object.name) is True


@decides(DropObject)
def drop_object(operation: DropObject, given: Given) -> Verdict:
    known = given.known
    if operation.table is not None and known.is_new_table(operation.table):
        return apply_rule("new-table", operation.object)
    if operation.kind in ("view", "materialized view"):
        if known.is_new_table(operation.object):
            return apply_rule("new-table", operation.object)
        if operation.guarded and known.table_exists(operation.object) is False:
            return apply_rule("no-change", operation.object)
    return apply_rule(
        "drop-object",
        operation.object,
        f"Old code that uses the {operation.kind} fails: it does not exist; or its effect on"
        " writes is missing.",
        _MOVE,
    )


_HARMLESS_CHANGES = {
    "sequence": ("owned by none",),
    "statistics": ("set statistics", "statistics"),
}
_CONTRACT_CHANGES = {
    "rename": "Old code that uses the name fails: it does not exist.",
    "set schema": "Old code that uses the name fails: it does not exist.",
    "schema": "Old code that uses the name fails: it does not exist.",
    "owned by": "The sequence is dropped with the table or column: an INSERT of old code then fails.",
    "owner": "Old code may lose the privileges of the owner: permission denied.",
    "restart": "An INSERT of old code that gets a number for the second time fails: duplicate key.",
    "options": "Old code may get no number from a sequence, or not the privileges of a role.",
    "update": "Functions of the extension that old code calls may change or go.",
    "set default": "An INSERT of old code that leaves a column out gets another value.",
    "set not null": "NULL that old code writes is refused.",
    "set": "Calls, or new sessions, of old code run with other settings.",
    "reset": "Calls, or new sessions, of old code run with other settings.",
    "add attribute": "A row value of old code has too few attributes.",
    "add": "A value that old code writes may be refused, or a table is published.",
    "drop constraint": "Old code relies on the constraint.",
    "drop default": "An INSERT of old code that leaves a column out gets another value.",
    "rename value": "A statement of old code with the old value fails: invalid input value for enum.",
    "rename attribute": "A statement of old code with the old attribute fails.",
    "drop attribute": "A statement of old code with the attribute fails.",
}
_HARMLESS_OF_DOMAIN = ("drop not null", "validate constraint")


@decides(AlterObject)
def alter_object(operation: AlterObject, given: Given) -> Verdict:
    kind, change = operation.kind, operation.change
    if change in _HARMLESS_CHANGES.get(kind, ()) or (kind == "domain" and change in _HARMLESS_OF_DOMAIN):
        return apply_rule("alter-object", operation.object)
    if operation.owner is not None and not _may_go_with_new(operation, operation.owner, given):
        return apply_rule("alter-object", operation.object)
    known = [begin for begin in _CONTRACT_CHANGES if change.startswith(begin)]
    if known:
        reason = _CONTRACT_CHANGES[max(known, key=len)]
        return apply_rule("change-object", operation.object, reason, _MOVE)
    return apply_rule(
        "unknown-option",
        operation.object,
        f"The effect of the change {change!r} of a {kind} on old code is not known.",
        _DECLARE,
    )


def _may_go_with_new(operation: AlterObject, owner: tuple[Name, str], given: Given) -> bool:
    """Returns True if a sequence of old code may be dropped with a new table or column."""
    known, (table, column) = given.known, owner
    is_old_owner = known.table_exists(table) is True and not known.is_new_column(table, column)
    return not (is_old_owner or known.is_new_object(operation.kind, operation.object))


@decides(AddEnumValue)
def add_enum_value(operation: AddEnumValue, given: Given) -> Verdict:
    subject = f"{operation.type}.{operation.value}"
    neighbour = operation.neighbour
    if neighbour is None or _is_behind_old_values(operation.type, neighbour, given):
        return apply_rule("add-enum-value", subject)
    return apply_rule(
        "add-enum-value-in-middle",
        subject,
        "The values after it get other numbers, which enum_range() shows, and new values are sorted between"
        " old ones.",
        "Add the value at the end, without BEFORE or AFTER.",
    )


def _is_behind_old_values(type: Name, neighbour: str, given: Given) -> bool:
    known = given.known
    value = Name(neighbour, str(type))
    return known.is_new_object("type", type) or known.is_new_object("enum value", value)


@decides(CommentOn)
def comment_on(operation: CommentOn, given: Given) -> Verdict:
    return apply_rule("comment", operation.object)


@decides(ChangePrivileges)
def change_privileges(operation: ChangePrivileges, given: Given) -> Verdict:
    if not operation.takes_away:
        return apply_rule("grant")
    return apply_rule("revoke", "", "A statement of old code fails: permission denied.", _MOVE)
