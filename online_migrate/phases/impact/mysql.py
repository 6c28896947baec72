"""The algorithms of MySQL and MariaDB, by operation. Pure.

Every DDL statement needs an exclusive metadata lock, at its start or at its end, for a moment. ``INSTANT``
changes the catalog only; ``INPLACE`` builds an index or copies the table while rows are written; ``COPY``
blocks writes while it copies the table.

Sources: MySQL 9 Reference Manual, "Online DDL Operations"; MariaDB Knowledge Base, "InnoDB Online DDL". The
test of this module asks the servers for each algorithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from online_migrate.phases.impact.impact import NONE, Blocks, Impact, Work
from online_migrate.phases.known import KnownSchema, Server
from online_migrate.phases.types import changes_only_definition
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations.parts import ConstraintKind, Value

INSTANT = Impact("INSTANT", start=Blocks.EVERYTHING)
METADATA = Impact("INPLACE", start=Blocks.EVERYTHING)
BUILD = Impact("INPLACE", work=Work.SCAN, start=Blocks.EVERYTHING)
BUILD_SHARED = Impact("INPLACE", Blocks.WRITES, Work.SCAN, start=Blocks.EVERYTHING)
REBUILD = Impact("INPLACE", work=Work.REWRITE, start=Blocks.EVERYTHING)
REBUILD_SHARED = Impact("INPLACE", Blocks.WRITES, Work.REWRITE, start=Blocks.EVERYTHING)
COPY = Impact("COPY", Blocks.WRITES, Work.REWRITE, start=Blocks.EVERYTHING)
DROP = Impact("metadata lock", start=Blocks.EVERYTHING)

_OLDEST = {"mysql": (8, 0, 0), "mariadb": (10, 6, 0)}
_METADATA_OPTIONS = frozenset(
    {"comment", "auto_increment", "stats_persistent", "stats_auto_recalc", "stats_sample_pages", "charset"}
    | {"collate", "max_rows", "min_rows", "avg_row_length"}
)
_OF_THE_STATEMENT = frozenset({"algorithm", "lock", "wait", "nowait"})
"""Options of the statement, not of the table: how it is executed, and how long it waits."""
_REBUILDING_OPTIONS = frozenset({"engine", "row_format", "key_block_size", "force"})


def impact(operation: ops.Operation, server: Server, known: KnownSchema) -> Impact | None:
    """Returns the impact of *operation*; None if it is not known."""
    if isinstance(operation, _WITHOUT_TABLE):
        return NONE
    find = _BY_CLASS.get(type(operation))
    return find(operation, server, known) if find is not None else None


def _at_least(server: Server, mysql: tuple[int, ...], mariadb: tuple[int, ...]) -> bool:
    version = server.version or _OLDEST[server.product]
    return version >= (mysql if server.product == "mysql" else mariadb)


def _create_table(operation: ops.CreateTable, server: Server, known: KnownSchema) -> Impact:
    referring = [c for column in operation.columns for c in column.constraints] + [*operation.constraints]
    if not any(constraint.referred is not None for constraint in referring):
        return NONE
    return Impact(referred=_on_referred(server))


def _on_referred(server: Server) -> Blocks:
    """MySQL locks the table that a foreign key refers to against readers, MariaDB against writers only."""
    return Blocks.EVERYTHING if server.product == "mysql" else Blocks.WRITES


def _add_column(operation: ops.AddColumn, server: Server, known: KnownSchema) -> Impact:
    column = operation.column
    if column.identity:
        return REBUILD_SHARED
    if column.generated is not None:
        return COPY if column.stored else INSTANT
    kinds = {constraint.kind for constraint in column.constraints}
    if ConstraintKind.FOREIGN_KEY in kinds or ConstraintKind.CHECK in kinds:
        return COPY
    if kinds:
        return REBUILD
    default = column.default
    if default is not None and default.form is Value.EXPRESSION:
        return COPY if server.product == "mysql" else REBUILD
    if operation.positioned:
        return INSTANT if _at_least(server, (8, 0, 29), (10, 4)) else REBUILD
    return INSTANT if _at_least(server, (8, 0, 12), (10, 3)) else REBUILD


def _drop_column(operation: ops.DropColumn, server: Server, known: KnownSchema) -> Impact:
    return INSTANT if _at_least(server, (8, 0, 29), (10, 4)) else REBUILD


def _rename_column(operation: ops.RenameColumn, server: Server, known: KnownSchema) -> Impact:
    return INSTANT if _at_least(server, (8, 0, 28), (10, 3)) else METADATA


def _redefine(operation: ops.RedefineColumn, server: Server, known: KnownSchema) -> Impact:
    before = known.column(operation.table, operation.old)
    new = operation.column
    if before is None or before.type is None or new.type is None or new.generated is not None:
        return COPY
    if before.collation != new.collation or before.type.charset != new.type.charset:
        return COPY
    if not changes_only_definition(before.type, new.type, server.product):
        return COPY
    if before.nullable != new.nullable:
        instant = server.product == "mariadb" and new.nullable
        return INSTANT if instant else REBUILD
    if operation.positioned:
        return INSTANT if server.product == "mariadb" else REBUILD
    return INSTANT if before.type == new.type else _metadata(server)


def _metadata(server: Server) -> Impact:
    """MariaDB has INSTANT for changes that MySQL makes with INPLACE, also without reading a row."""
    return INSTANT if server.product == "mariadb" else METADATA


def _add_constraint(operation: ops.AddConstraint, server: Server, known: KnownSchema) -> Impact | None:
    kind = operation.constraint.kind
    if kind is ConstraintKind.FOREIGN_KEY:
        return Impact("COPY", Blocks.WRITES, Work.REWRITE, Blocks.EVERYTHING, _on_referred(server))
    found = {
        ConstraintKind.CHECK: COPY,
        ConstraintKind.UNIQUE: BUILD,
        ConstraintKind.PRIMARY_KEY: REBUILD,
    }
    return found.get(kind)


def _drop_constraint(operation: ops.DropConstraint, server: Server, known: KnownSchema) -> Impact | None:
    if operation.kind is ConstraintKind.PRIMARY_KEY:
        return COPY
    return METADATA


def _create_index(operation: ops.CreateIndex, server: Server, known: KnownSchema) -> Impact:
    return BUILD_SHARED if operation.index.method in ("fulltext", "spatial", "vector") else BUILD


def _table_option(operation: ops.SetTableOption, server: Server, known: KnownSchema) -> Impact | None:
    option = operation.option
    if option in _OF_THE_STATEMENT:
        return COPY if (operation.value or "").upper() == "COPY" else NONE
    if option in _METADATA_OPTIONS:
        return _metadata(server)
    if option in _REBUILDING_OPTIONS:
        return REBUILD
    return COPY if option in ("convert", "convert to charset") else None


def _partitions(operation: ops.ChangePartitions, server: Server, known: KnownSchema) -> Impact | None:
    if operation.action in ("add", "drop", "truncate", "exchange"):
        return DROP
    return COPY


def _maintain(operation: ops.Maintain, server: Server, known: KnownSchema) -> Impact | None:
    if operation.verb == "analyze":
        return Impact("shared metadata lock")
    return REBUILD if operation.verb == "optimize" else None


def _column_option(operation: ops.SetColumnOption, server: Server, known: KnownSchema) -> Impact | None:
    return METADATA if operation.option in ("visible", "invisible") else None


def _fixed(found: Impact) -> Callable[[Any, Server, KnownSchema], Impact | None]:
    return lambda operation, server, known: found


_WITHOUT_TABLE = (
    *(ops.CreateView, ops.CreateRoutine, ops.ChangePrivileges, ops.Query, ops.ChangeSession),
    *(ops.ControlTransaction, ops.CreateObject, ops.AlterObject),
)
_BY_CLASS: dict[type[ops.Operation], Callable[[Any, Server, KnownSchema], Impact | None]] = {
    ops.CreateTable: _create_table,
    ops.DropTable: _fixed(DROP),
    ops.RenameTable: _fixed(DROP),
    ops.SetTableOption: _table_option,
    ops.ChangePartitions: _partitions,
    ops.AddColumn: _add_column,
    ops.DropColumn: _drop_column,
    ops.RenameColumn: _rename_column,
    ops.RedefineColumn: _redefine,
    ops.SetDefault: _fixed(INSTANT),
    ops.SetColumnOption: _column_option,
    ops.AddConstraint: _add_constraint,
    ops.DropConstraint: _drop_constraint,
    ops.CreateIndex: _create_index,
    ops.DropIndex: _fixed(METADATA),
    ops.AlterIndex: _fixed(METADATA),
    ops.CreateTrigger: _fixed(DROP),
    ops.DropObject: _fixed(DROP),
    ops.ChangeRows: _fixed(Impact("row locks")),
    ops.Maintain: _maintain,
}
