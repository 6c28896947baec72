"""The schema that the scripts before a statement have created, as far as they were read. Pure.

A schema is not changed: :meth:`Schema.after` returns another one. A table that no script creates is unknown
until a statement alters it; then only the columns that statements name are known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations import parts
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import Column, Constraint, Index, Name

K = TypeVar("K")
V = TypeVar("V")


@dataclasses.dataclass(frozen=True)
class Table:
    """What is known of a table."""

    name: Name
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    indexes: tuple[Index, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    triggers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The body of each trigger."""
    complete: bool = False
    """True if a script created the table, so that every column is known."""
    is_new: bool = False
    new_columns: frozenset[str] = frozenset()
    instant_changes: int = 0
    """The number of ADD COLUMN and DROP COLUMN since the table was created."""

    def constraint(self, name: str | None) -> Constraint | None:
        """Returns the constraint with this name."""
        return next((one for one in self.constraints if name and one.name == name), None)

    def index(self, name: str | None) -> Index | None:
        """Returns the index with this name."""
        return next((one for one in self.indexes if name and one.name == name), None)

    def key_columns(self) -> list[tuple[str | None, ...]]:
        """Returns the columns of every index, primary key and unique constraint."""
        unique = (parts.ConstraintKind.PRIMARY_KEY, parts.ConstraintKind.UNIQUE)
        of_columns = (one for column in self.columns.values() for one in column.constraints)
        constraints = [*self.constraints, *of_columns]
        return [
            *(index.columns for index in self.indexes),
            *(tuple(one.columns) for one in constraints if one.kind in unique),
        ]


@dataclasses.dataclass(frozen=True)
class Schema:
    """The tables that are known, by name."""

    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    routines: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The text of each function and procedure, which a trigger may call."""
    gone: frozenset[tuple[str, str]] = frozenset()
    """The kind and the name of each index and trigger that was dropped, and not created again."""

    def is_new_table(self, table: Name) -> bool:
        """Returns True if one of the scripts that are checked together created the table."""
        found = self.table(table)
        return found is not None and found.is_new

    def column(self, table: Name, column: str) -> Column | None:
        """Returns the definition of a column; None if it is not known."""
        found = self.table(table)
        return None if found is None else found.columns.get(column)

    def table(self, table: Name | None) -> Table | None:
        """Returns what is known of a table; None: nothing."""
        if table is None:
            return None
        return self.tables.get(str(table)) or self.tables.get(table.name)

    def table_of_index(self, index: Name) -> Table | None:
        """Returns the table that has an index with this name."""
        return next((one for one in self.tables.values() if one.index(index.name) is not None), None)

    def settled(self) -> Schema:
        """Returns the schema in which nothing is new: old code may know everything in it."""
        new = {
            name: dataclasses.replace(table, is_new=False, new_columns=frozenset())
            for name, table in self.tables.items()
            if table.is_new or table.new_columns
        }
        return dataclasses.replace(self, tables={**self.tables, **new}) if new else self

    # --- changes ---------------------------------------------------------------------------------

    def after(self, operation: Operation, text: str = "") -> Schema:
        """Returns the schema after an operation; *text*: its statement."""
        if isinstance(operation, ops.CreateRoutine):
            routines = {**self.routines, operation.routine.name: text}
            return dataclasses.replace(self, routines=routines)
        change = _CHANGES.get(type(operation))
        return self if change is None else change(self, operation)

    def with_table(self, table: Table) -> Schema:
        """Returns the schema with *table* in place of the table of its name."""
        key = str(table.name)
        if key not in self.tables and table.name.name in self.tables:
            key = table.name.name
        return dataclasses.replace(self, tables={**self.tables, key: table}, dropped=self.dropped - {key})

    def without_table(self, table: Name) -> Schema:
        """Returns the schema without a table."""
        gone = {str(table), table.name} if str(table) not in self.tables else {str(table)}
        rest = {name: one for name, one in self.tables.items() if name not in gone}
        return dataclasses.replace(self, tables=rest, dropped=self.dropped | {str(table)})

    def with_gone(self, kind: str, name: str | None, *, gone: bool) -> Schema:
        """Returns the schema after an index or a trigger was dropped, or created."""
        entry = {(kind, name)} if name is not None else set()
        return dataclasses.replace(self, gone=self.gone | entry if gone else self.gone - entry)

    def changed(self, table: Name, **changes: object) -> Schema:
        """Returns the schema with some fields of a table replaced."""
        before = self.table(table) or Table(table)
        return self.with_table(dataclasses.replace(before, **changes))  # type: ignore[arg-type]


def _without(mapping: Mapping[K, V], *keys: K) -> dict[K, V]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _create_table(schema: Schema, created: ops.CreateTable) -> Schema:
    if created.guarded and schema.table(created.table) is not None:
        return schema
    table = Table(
        created.table,
        columns={column.name: column for column in created.columns},
        indexes=created.indexes,
        constraints=created.constraints,
        complete=not created.selects and created.partition_of is None,
        is_new=True,
    )
    return schema.with_table(table)


def _drop_table(schema: Schema, dropped: ops.DropTable) -> Schema:
    return schema.without_table(dropped.table)


def _rename_table(schema: Schema, renamed: ops.RenameTable) -> Schema:
    before = schema.table(renamed.table)
    if before is None:
        return schema
    return schema.without_table(renamed.table).with_table(dataclasses.replace(before, name=renamed.new))


def _known(schema: Schema, table: Name) -> Table:
    return schema.table(table) or Table(table)


def _add_column(schema: Schema, added: ops.AddColumn) -> Schema:
    table = _known(schema, added.table)
    return schema.changed(
        added.table,
        columns={**table.columns, added.column.name: added.column},
        new_columns=table.new_columns | {added.column.name},
        instant_changes=table.instant_changes + 1,
    )


def _drop_column(schema: Schema, dropped: ops.DropColumn) -> Schema:
    table, column = _known(schema, dropped.table), dropped.column
    return schema.changed(
        dropped.table,
        columns=_without(table.columns, column),
        new_columns=table.new_columns - {column},
        indexes=tuple(index for index in table.indexes if column not in index.columns),
        constraints=tuple(one for one in table.constraints if column not in one.columns),
        instant_changes=table.instant_changes + 1,
    )


def _rename_column(schema: Schema, renamed: ops.RenameColumn) -> Schema:
    table = _known(schema, renamed.table)
    before = table.columns.get(renamed.column)
    if before is None:
        return schema
    columns = _without(table.columns, renamed.column)
    return schema.changed(
        renamed.table, columns={**columns, renamed.new: dataclasses.replace(before, name=renamed.new)}
    )


def _redefine_column(schema: Schema, redefined: ops.RedefineColumn) -> Schema:
    table = _known(schema, redefined.table)
    columns = _without(table.columns, redefined.old)
    return schema.changed(redefined.table, columns={**columns, redefined.column.name: redefined.column})


def _with_column(schema: Schema, table: Name, column: str, **changes: object) -> Schema:
    before = schema.column(table, column)
    if before is None:
        return schema
    after = dataclasses.replace(before, **changes)  # type: ignore[arg-type]
    return schema.changed(table, columns={**_known(schema, table).columns, column: after})


def _set_type(schema: Schema, change: ops.SetColumnType) -> Schema:
    if schema.column(change.table, change.column) is None:
        known = _known(schema, change.table)
        column = Column(name=change.column, type=change.type)
        return schema.changed(change.table, columns={**known.columns, change.column: column})
    return _with_column(schema, change.table, change.column, type=change.type)


def _set_not_null(schema: Schema, change: ops.SetNotNull) -> Schema:
    return _with_column(schema, change.table, change.column, nullable=False)


def _drop_not_null(schema: Schema, change: ops.DropNotNull) -> Schema:
    return _with_column(schema, change.table, change.column, nullable=True)


def _set_default(schema: Schema, change: ops.SetDefault) -> Schema:
    return _with_column(schema, change.table, change.column, default=change.default)


def _add_constraint(schema: Schema, added: ops.AddConstraint) -> Schema:
    table = _known(schema, added.table)
    return schema.changed(added.table, constraints=(*table.constraints, added.constraint))


def _drop_constraint(schema: Schema, dropped: ops.DropConstraint) -> Schema:
    table = _known(schema, dropped.table)
    if dropped.name is None:
        primary = parts.ConstraintKind.PRIMARY_KEY
        rest = tuple(one for one in table.constraints if one.kind is not primary)
    else:
        rest = tuple(one for one in table.constraints if one.name != dropped.name)
    return schema.changed(dropped.table, constraints=rest)


def _validate(schema: Schema, validated: ops.ValidateConstraint) -> Schema:
    table = _known(schema, validated.table)
    constraints = tuple(
        dataclasses.replace(one, not_valid=False) if one.name == validated.name else one
        for one in table.constraints
    )
    return schema.changed(validated.table, constraints=constraints)


def _create_index(schema: Schema, created: ops.CreateIndex) -> Schema:
    schema = schema.with_gone("index", created.index.name, gone=False)
    table = _known(schema, created.table)
    return schema.changed(created.table, indexes=(*table.indexes, created.index))


def _drop_index(schema: Schema, dropped: ops.DropIndex) -> Schema:
    schema = schema.with_gone("index", dropped.index.name, gone=True)
    table = schema.table(dropped.table) or schema.table_of_index(dropped.index)
    if table is None:
        return schema
    rest = tuple(index for index in table.indexes if index.name != dropped.index.name)
    return schema.changed(table.name, indexes=rest)


def _create_trigger(schema: Schema, created: ops.CreateTrigger) -> Schema:
    if created.table is None:
        return schema
    schema = schema.with_gone("trigger", created.trigger.name, gone=False)
    triggers = {**_known(schema, created.table).triggers, created.trigger.name: created.body}
    return schema.changed(created.table, triggers=triggers)


def _drop_object(schema: Schema, dropped: ops.DropObject) -> Schema:
    if dropped.kind != "trigger":
        return schema
    name = dropped.object.name
    schema = schema.with_gone("trigger", name, gone=True)
    tables = [one for one in schema.tables.values() if name in one.triggers]
    wanted = schema.table(dropped.table)
    for table in tables:
        if wanted is None or table is wanted:
            schema = schema.changed(table.name, triggers=_without(table.triggers, name))
    return schema


_CHANGES: Mapping[type[Operation], Callable[[Schema, Any], Schema]] = {
    ops.CreateTable: _create_table,
    ops.DropTable: _drop_table,
    ops.RenameTable: _rename_table,
    ops.AddColumn: _add_column,
    ops.DropColumn: _drop_column,
    ops.RenameColumn: _rename_column,
    ops.RedefineColumn: _redefine_column,
    ops.SetColumnType: _set_type,
    ops.SetNotNull: _set_not_null,
    ops.DropNotNull: _drop_not_null,
    ops.SetDefault: _set_default,
    ops.AddConstraint: _add_constraint,
    ops.DropConstraint: _drop_constraint,
    ops.ValidateConstraint: _validate,
    ops.CreateIndex: _create_index,
    ops.DropIndex: _drop_index,
    ops.CreateTrigger: _create_trigger,
    ops.DropObject: _drop_object,
}
