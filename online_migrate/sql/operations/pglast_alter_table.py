"""Reads the actions of ALTER TABLE from the syntax tree of PostgreSQL's parser. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from online_migrate.sql.operations.cursor import Unknown
from online_migrate.sql.operations.operation import (
    AddColumn,
    AddConstraint,
    AlterConstraint,
    ChangePartitions,
    DropColumn,
    DropConstraint,
    DropNotNull,
    Operation,
    SetColumnOption,
    SetColumnType,
    SetDefault,
    SetNotNull,
    SetTableOption,
    Unrecognized,
    ValidateConstraint,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.pglast_nodes import expression, range_name, text_of, type_of
from online_migrate.sql.operations.pglast_tables import read_column, read_constraint


def read_actions(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of an ALTER TABLE, one for each action."""
    table = range_name(node.relation)
    return tuple(_read(command, table, bool(node.missing_ok)) for command in node.cmds)


def _read(command: Any, table: Name, guarded: bool) -> Operation:
    reader = _ACTIONS.get(command.subtype.name)
    try:
        if reader is None:
            raise Unknown(command.subtype.name)
        return reader(command, table, guarded or bool(command.missing_ok))
    except Unknown as unknown:
        return Unrecognized(what=str(unknown), guarded=guarded)


def _add_column(command: Any, table: Name, guarded: bool) -> Operation:
    return AddColumn(table=table, column=read_column(command.def_), guarded=guarded)


def _add_constraint(command: Any, table: Name, guarded: bool) -> Operation:
    return AddConstraint(table=table, constraint=read_constraint(command.def_), guarded=guarded)


def _drop_column(command: Any, table: Name, guarded: bool) -> Operation:
    return DropColumn(table=table, column=command.name, guarded=guarded)


def _drop_constraint(command: Any, table: Name, guarded: bool) -> Operation:
    return DropConstraint(table=table, name=command.name, guarded=guarded)


def _set_type(command: Any, table: Name, guarded: bool) -> Operation:
    type_, serial = type_of(command.def_.typeName)
    if serial:
        raise Unknown("TYPE serial")
    using = command.def_.raw_default
    found = expression(using) if using is not None else None
    clause = command.def_.collClause
    return SetColumnType(
        table=table,
        column=command.name,
        type=type_,
        using=found,
        collation=clause.collname[-1].sval if clause is not None else None,
        guarded=guarded,
    )


def _set_default(command: Any, table: Name, guarded: bool) -> Operation:
    default = expression(command.def_) if command.def_ is not None else None
    return SetDefault(table=table, column=command.name, default=default, guarded=guarded)


def _set_not_null(command: Any, table: Name, guarded: bool) -> Operation:
    return SetNotNull(table=table, column=command.name, guarded=guarded)


def _drop_not_null(command: Any, table: Name, guarded: bool) -> Operation:
    return DropNotNull(table=table, column=command.name, guarded=guarded)


def _validate(command: Any, table: Name, guarded: bool) -> Operation:
    return ValidateConstraint(table=table, name=command.name, guarded=guarded)


def _alter_constraint(command: Any, table: Name, guarded: bool) -> Operation:
    what = command.def_
    words = []
    if what.alterDeferrability:
        words.append("deferrable" if what.deferrable else "not deferrable")
        words += ["initially deferred"] if what.initdeferred else []
    if what.alterEnforceability:
        words.append("enforced" if what.is_enforced else "not enforced")
    if what.alterInheritability:
        words.append("no inherit" if what.noinherit else "inherit")
    return AlterConstraint(table=table, name=what.conname, change=" ".join(words), guarded=guarded)


def _attach(command: Any, table: Name, guarded: bool) -> Operation:
    partition = range_name(command.def_.name)
    return ChangePartitions(table=table, action="attach", partition=partition, guarded=guarded)


def _detach(command: Any, table: Name, guarded: bool) -> Operation:
    return ChangePartitions(
        table=table,
        action="detach",
        partition=range_name(command.def_.name),
        concurrently=bool(command.def_.concurrent),
        guarded=guarded,
    )


def _column_option(option: str, *, valued: bool = False) -> Callable[[Any, Name, bool], Operation]:
    def read(command: Any, table: Name, guarded: bool) -> Operation:
        value = text_of(command.def_).strip("'\"").lower() if valued else None
        return SetColumnOption(table=table, column=command.name, option=option, value=value, guarded=guarded)

    return read


def _table_option(option: str, value: str | None = None) -> Callable[[Any, Name, bool], Operation]:
    """Returns the reader of an option with this value; without one the action names it."""

    def read(command: Any, table: Name, guarded: bool) -> Operation:
        found = value if value is not None else command.name
        return SetTableOption(table=table, option=option, value=found, guarded=guarded)

    return read


def _storage_parameters(command: Any, table: Name, guarded: bool) -> Operation:
    value = ", ".join(text_of(definition) for definition in command.def_)
    return SetTableOption(table=table, option="storage parameters", value=value, guarded=guarded)


def _owner(command: Any, table: Name, guarded: bool) -> Operation:
    return SetTableOption(table=table, option="owner", value=command.newowner.rolename, guarded=guarded)


def _inherit(option: str) -> Callable[[Any, Name, bool], Operation]:
    def read(command: Any, table: Name, guarded: bool) -> Operation:
        parent = str(range_name(command.def_))
        return SetTableOption(table=table, option=option, value=parent, guarded=guarded)

    return read


def _replica_identity(command: Any, table: Name, guarded: bool) -> Operation:
    kinds = {"d": "default", "f": "full", "n": "nothing", "i": command.def_.name}
    value = kinds[command.def_.identity_type]
    return SetTableOption(table=table, option="replica identity", value=value, guarded=guarded)


_ACTIONS: Mapping[str, Callable[[Any, Name, bool], Operation]] = {
    "AT_AddColumn": _add_column,
    "AT_AddConstraint": _add_constraint,
    "AT_DropColumn": _drop_column,
    "AT_DropConstraint": _drop_constraint,
    "AT_AlterColumnType": _set_type,
    "AT_ColumnDefault": _set_default,
    "AT_SetNotNull": _set_not_null,
    "AT_DropNotNull": _drop_not_null,
    "AT_ValidateConstraint": _validate,
    "AT_AlterConstraint": _alter_constraint,
    "AT_AttachPartition": _attach,
    "AT_DetachPartition": _detach,
    "AT_DetachPartitionFinalize": _detach,
    "AT_SetStatistics": _column_option("statistics", valued=True),
    "AT_SetStorage": _column_option("storage", valued=True),
    "AT_SetCompression": _column_option("compression", valued=True),
    "AT_SetOptions": _column_option("options"),
    "AT_ResetOptions": _column_option("options"),
    "AT_AddIdentity": _column_option("add identity"),
    "AT_SetIdentity": _column_option("identity"),
    "AT_DropIdentity": _column_option("drop identity"),
    "AT_DropExpression": _column_option("drop expression"),
    "AT_SetExpression": _column_option("expression", valued=True),
    "AT_SetRelOptions": _storage_parameters,
    "AT_ResetRelOptions": _storage_parameters,
    "AT_ChangeOwner": _owner,
    "AT_ClusterOn": _table_option("cluster on"),
    "AT_DropCluster": _table_option("without cluster"),
    "AT_DropOids": _table_option("without oids"),
    "AT_SetLogged": _table_option("logged"),
    "AT_SetUnLogged": _table_option("unlogged"),
    "AT_SetAccessMethod": _table_option("access method"),
    "AT_SetTableSpace": _table_option("tablespace"),
    "AT_EnableTrig": _table_option("enable trigger"),
    "AT_EnableAlwaysTrig": _table_option("enable always trigger"),
    "AT_EnableReplicaTrig": _table_option("enable replica trigger"),
    "AT_DisableTrig": _table_option("disable trigger"),
    "AT_EnableTrigAll": _table_option("enable trigger", "all"),
    "AT_DisableTrigAll": _table_option("disable trigger", "all"),
    "AT_EnableTrigUser": _table_option("enable trigger", "user"),
    "AT_DisableTrigUser": _table_option("disable trigger", "user"),
    "AT_EnableRule": _table_option("enable rule"),
    "AT_EnableAlwaysRule": _table_option("enable always rule"),
    "AT_EnableReplicaRule": _table_option("enable replica rule"),
    "AT_DisableRule": _table_option("disable rule"),
    "AT_AddInherit": _inherit("inherit"),
    "AT_DropInherit": _inherit("no inherit"),
    "AT_ReplicaIdentity": _replica_identity,
    "AT_EnableRowSecurity": _table_option("row level security", "enable"),
    "AT_DisableRowSecurity": _table_option("row level security", "disable"),
    "AT_ForceRowSecurity": _table_option("row level security", "force"),
    "AT_NoForceRowSecurity": _table_option("row level security", "no force"),
}
