"""The locks of PostgreSQL, by operation. Pure.

Sources: PostgreSQL 18 documentation, "Explicit Locking" and the pages of the commands. The test of this
module compares them with pg_locks and pg_relation_filenode of a server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from online_migrate.phases.impact.impact import NONE, Blocks, Impact, Work
from online_migrate.phases.known import KnownSchema
from online_migrate.phases.types import changes_only_definition
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations.parts import ConstraintKind, Value

_SHARE_UPDATE = Impact("SHARE UPDATE EXCLUSIVE", Blocks.MAINTENANCE)
_ROW = Impact("ROW EXCLUSIVE", Blocks.NOTHING)
_SHARE_ROW = Impact("SHARE ROW EXCLUSIVE", Blocks.WRITES)
_EXCLUSIVE = Impact("ACCESS EXCLUSIVE", Blocks.EVERYTHING)
_EXCLUSIVE_SCAN = Impact("ACCESS EXCLUSIVE", Blocks.EVERYTHING, Work.SCAN)
_EXCLUSIVE_REWRITE = Impact("ACCESS EXCLUSIVE", Blocks.EVERYTHING, Work.REWRITE)
_LIGHT_OPTIONS = frozenset({"statistics", "n_distinct", "n_distinct_inherited"})
_REWRITING_OPTIONS = frozenset({"tablespace", "logged", "unlogged", "access method"})
_TRIGGER_OPTIONS = frozenset(
    {"enable trigger", "disable trigger", "enable always trigger", "enable replica trigger"}
)
_CHECKED = (ConstraintKind.UNIQUE, ConstraintKind.PRIMARY_KEY, ConstraintKind.CHECK)
_WITHOUT_TABLE = (
    *(ops.CreateView, ops.CreateRoutine, ops.AddEnumValue, ops.ChangePrivileges, ops.Query),
    *(ops.ChangeSession, ops.ControlTransaction, ops.AlterObject),
)


def impact(operation: ops.Operation, known: KnownSchema) -> Impact | None:
    """Returns the impact of *operation*; None if it is not known."""
    if isinstance(operation, _WITHOUT_TABLE):
        return NONE
    find = _BY_CLASS.get(type(operation))
    return find(operation, known) if find is not None else None


def _create_table(operation: ops.CreateTable, known: KnownSchema) -> Impact:
    referring = [c for column in operation.columns for c in column.constraints] + [*operation.constraints]
    referred = any(constraint.referred is not None for constraint in referring)
    if operation.partition_of is not None:
        return _SHARE_UPDATE if operation.inherits else _EXCLUSIVE
    return Impact(referred=Blocks.WRITES) if referred else NONE


def _add_column(operation: ops.AddColumn, known: KnownSchema) -> Impact:
    column = operation.column
    referred = Blocks.WRITES if any(c.referred is not None for c in column.constraints) else Blocks.NOTHING
    volatile = column.default is not None and column.default.form is Value.EXPRESSION
    if volatile or column.identity or (column.generated is not None and column.stored):
        work = Work.REWRITE
    elif any(constraint.kind in _CHECKED for constraint in column.constraints):
        work = Work.SCAN
    else:
        work = Work.NONE
    return Impact("ACCESS EXCLUSIVE", Blocks.EVERYTHING, work, referred=referred)


def _set_type(operation: ops.SetColumnType, known: KnownSchema) -> Impact:
    before = known.column(operation.table, operation.column)
    old = before.type if before is not None else None
    if (
        operation.using is None
        and old is not None
        and changes_only_definition(old, operation.type, "postgresql")
    ):
        return _EXCLUSIVE
    return _EXCLUSIVE_REWRITE


def _add_constraint(operation: ops.AddConstraint, known: KnownSchema) -> Impact:
    constraint = operation.constraint
    work = Work.NONE if constraint.not_valid or constraint.using_index else Work.SCAN
    if constraint.kind is ConstraintKind.FOREIGN_KEY:
        return Impact("SHARE ROW EXCLUSIVE", Blocks.WRITES, work, referred=Blocks.WRITES)
    return Impact("ACCESS EXCLUSIVE", Blocks.EVERYTHING, work)


def _create_index(operation: ops.CreateIndex, known: KnownSchema) -> Impact:
    if operation.index.concurrently:
        return Impact("SHARE UPDATE EXCLUSIVE", Blocks.MAINTENANCE, Work.SCAN)
    return Impact("SHARE", Blocks.WRITES, Work.SCAN)


def _drop_index(operation: ops.DropIndex, known: KnownSchema) -> Impact:
    return _SHARE_UPDATE if operation.concurrently else _EXCLUSIVE


def _column_option(operation: ops.SetColumnOption, known: KnownSchema) -> Impact:
    return _SHARE_UPDATE if operation.option in _LIGHT_OPTIONS else _EXCLUSIVE


def _table_option(operation: ops.SetTableOption, known: KnownSchema) -> Impact | None:
    option = operation.option
    if option in ("storage parameters", "storage parameter", "comment", "cluster"):
        return _SHARE_UPDATE
    if option in _REWRITING_OPTIONS:
        return _EXCLUSIVE_REWRITE
    return _SHARE_ROW if option in _TRIGGER_OPTIONS else _EXCLUSIVE


def _partitions(operation: ops.ChangePartitions, known: KnownSchema) -> Impact | None:
    if operation.action == "attach":
        return Impact("SHARE UPDATE EXCLUSIVE", Blocks.MAINTENANCE, Work.SCAN)
    if operation.action == "detach":
        return _SHARE_UPDATE if operation.concurrently else _EXCLUSIVE
    return None


def _drop_object(operation: ops.DropObject, known: KnownSchema) -> Impact:
    return _EXCLUSIVE if operation.kind in ("trigger", "policy", "rule") else NONE


def _create_object(operation: ops.CreateObject, known: KnownSchema) -> Impact:
    if operation.kind in ("policy", "rule"):
        return _EXCLUSIVE
    return _SHARE_UPDATE if operation.kind == "statistics" else NONE


def _comment(operation: ops.CommentOn, known: KnownSchema) -> Impact:
    return _SHARE_UPDATE if operation.kind in ("table", "column") else NONE


def _rows(operation: ops.ChangeRows, known: KnownSchema) -> Impact:
    return _EXCLUSIVE if operation.verb == "truncate" else _ROW


def _maintain(operation: ops.Maintain, known: KnownSchema) -> Impact | None:
    if operation.verb == "analyze":
        return Impact("SHARE UPDATE EXCLUSIVE", Blocks.MAINTENANCE, Work.SCAN)
    if operation.verb == "reindex" and not operation.concurrently:
        # The indexes are locked against readers, and every query locks all indexes of its tables.
        return Impact("SHARE", Blocks.EVERYTHING, Work.SCAN)
    if operation.verb == "refresh" and not operation.concurrently:
        return _EXCLUSIVE_REWRITE
    if operation.verb in ("reindex", "refresh"):
        return Impact("SHARE UPDATE EXCLUSIVE", Blocks.MAINTENANCE, Work.SCAN)
    return _EXCLUSIVE_REWRITE if operation.verb in ("cluster", "vacuum full") else None


def _fixed(found: Impact) -> Callable[[Any, KnownSchema], Impact | None]:
    return lambda operation, known: found


_BY_CLASS: dict[type[ops.Operation], Callable[[Any, KnownSchema], Impact | None]] = {
    ops.CreateTable: _create_table,
    ops.DropTable: _fixed(_EXCLUSIVE),
    ops.RenameTable: _fixed(_EXCLUSIVE),
    ops.SetTableOption: _table_option,
    ops.ChangePartitions: _partitions,
    ops.AddColumn: _add_column,
    ops.DropColumn: _fixed(_EXCLUSIVE),
    ops.RenameColumn: _fixed(_EXCLUSIVE),
    ops.SetColumnType: _set_type,
    ops.SetNotNull: _fixed(_EXCLUSIVE_SCAN),
    ops.DropNotNull: _fixed(_EXCLUSIVE),
    ops.SetDefault: _fixed(_EXCLUSIVE),
    ops.SetColumnOption: _column_option,
    ops.AddConstraint: _add_constraint,
    ops.DropConstraint: _fixed(_EXCLUSIVE),
    ops.AlterConstraint: _fixed(_EXCLUSIVE),
    ops.ValidateConstraint: _fixed(dataclasses.replace(_SHARE_UPDATE, work=Work.SCAN)),
    ops.CreateIndex: _create_index,
    ops.DropIndex: _drop_index,
    ops.AlterIndex: _fixed(_SHARE_UPDATE),
    ops.CreateTrigger: _fixed(_SHARE_ROW),
    ops.CreateObject: _create_object,
    ops.DropObject: _drop_object,
    ops.CommentOn: _comment,
    ops.ChangeRows: _rows,
    ops.Maintain: _maintain,
}
