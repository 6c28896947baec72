"""Reads DROP, ALTER and COMMENT of any object from the syntax tree of PostgreSQL's parser. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from online_migrate.sql.operations.alter_objects import owned_sequence
from online_migrate.sql.operations.cursor import Unknown
from online_migrate.sql.operations.operation import (
    AddEnumValue,
    AlterConstraint,
    AlterIndex,
    AlterObject,
    CommentOn,
    DropIndex,
    DropObject,
    DropTable,
    Operation,
    RenameColumn,
    RenameTable,
    SetTableOption,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.pglast_alter_table import read_actions
from online_migrate.sql.operations.pglast_nodes import kind_of, list_name, range_name
from online_migrate.sql.operations.pglast_objects import ON_TABLE, any_name, kind_name

Found = tuple[Operation, ...]
_INDEX_CHANGES = {
    "AT_AttachPartition": "attach partition",
    "AT_SetTableSpace": "tablespace",
    "AT_SetRelOptions": "storage parameters",
    "AT_ResetRelOptions": "storage parameters",
    "AT_SetStatistics": "statistics",
}

# --- DROP -----------------------------------------------------------------------------------------


def drop(node: Any) -> Found:
    """Reads DROP."""
    kind = kind_name(node.removeType)
    return tuple(_dropped(value, kind, node) for value in node.objects)


def _dropped(value: Any, kind: str, node: Any) -> Operation:
    guarded = bool(node.missing_ok)
    if kind == "table":
        return DropTable(table=any_name(value), guarded=guarded)
    if kind == "index":
        return DropIndex(index=any_name(value), concurrently=bool(node.concurrent), guarded=guarded)
    if kind in ON_TABLE:
        name, table = Name(value[-1].sval), list_name(value[:-1])
        return DropObject(kind=kind, object=name, table=table, guarded=guarded)
    return DropObject(kind=kind, object=any_name(value), guarded=guarded)


def drop_database(node: Any) -> Found:
    """Reads DROP DATABASE."""
    return (DropObject(kind="database", object=Name(node.dbname), guarded=bool(node.missing_ok)),)


def drop_roles(node: Any) -> Found:
    """Reads DROP ROLE; PostgreSQL's parser does not say if USER or GROUP was written."""
    names = (Name(role.rolename) for role in node.roles)
    return tuple(DropObject(kind="role", object=name, guarded=bool(node.missing_ok)) for name in names)


# --- ALTER ----------------------------------------------------------------------------------------


def alter_relation(node: Any) -> Found:
    """Reads ALTER TABLE, INDEX, VIEW, SEQUENCE and TYPE, which share one node."""
    kind = kind_name(node.objtype)
    guarded = bool(node.missing_ok)
    if kind == "table":
        return read_actions(node)
    name = range_name(node.relation)
    action = node.cmds[0].subtype.name
    if kind == "index":
        if action not in _INDEX_CHANGES:
            raise Unknown(action)
        return (AlterIndex(index=name, change=_INDEX_CHANGES[action], guarded=guarded),)
    if action not in _CHANGES:
        raise Unknown(action)
    return (AlterObject(kind=kind, object=name, change=_CHANGES[action], guarded=guarded),)


_CHANGES = {
    "AT_ChangeOwner": "owner",
    "AT_AddColumn": "add attribute",
    "AT_DropColumn": "drop attribute",
    "AT_AlterColumnType": "alter attribute",
    "AT_ColumnDefault": "alter column",
    "AT_SetRelOptions": "set",
    "AT_ResetRelOptions": "reset",
}


def rename(node: Any) -> Found:
    """Reads ALTER ... RENAME."""
    kind = kind_name(node.renameType)
    guarded = bool(node.missing_ok)
    relation = range_name(node.relation) if node.relation is not None else None
    if kind == "table" and relation is not None:
        return (RenameTable(table=relation, new=Name(node.newname, relation.schema), guarded=guarded),)
    if kind == "column" and relation is not None and kind_name(node.relationType) == "table":
        return (RenameColumn(table=relation, column=node.subname, new=node.newname, guarded=guarded),)
    if kind == "constraint" and relation is not None:
        return (AlterConstraint(table=relation, name=node.subname, change="rename", guarded=guarded),)
    if kind == "index" and relation is not None:
        return (AlterIndex(index=relation, change="rename", guarded=guarded),)
    if kind in ("column", "attribute") and relation is not None:
        of = kind_name(node.relationType) if kind == "column" else "type"
        change = "rename column" if kind == "column" else "rename attribute"
        return (AlterObject(kind=of, object=relation, change=change, guarded=guarded),)
    if kind in ON_TABLE or (relation is None and node.object is None):
        name = Name(node.subname)
    else:
        name = relation or any_name(node.object)
    return (AlterObject(kind=kind, object=name, change="rename", guarded=guarded),)


def set_schema(node: Any) -> Found:
    """Reads ALTER ... SET SCHEMA."""
    kind = kind_name(node.objectType)
    guarded = bool(node.missing_ok)
    name = range_name(node.relation) if node.relation is not None else any_name(node.object)
    if kind == "table":
        return (SetTableOption(table=name, option="schema", value=node.newschema, guarded=guarded),)
    return (AlterObject(kind=kind, object=name, change="set schema", guarded=guarded),)


def set_owner(node: Any) -> Found:
    """Reads ALTER ... OWNER TO."""
    name = range_name(node.relation) if node.relation is not None else any_name(node.object)
    return (AlterObject(kind=kind_name(node.objectType), object=name, change="owner"),)


def alter_enum(node: Any) -> Found:
    """Reads ALTER TYPE ... ADD VALUE and RENAME VALUE."""
    name = list_name(node.typeName)
    if node.oldVal is not None:
        return (AlterObject(kind="type", object=name, change="rename value"),)
    return (
        AddEnumValue(
            type=name,
            value=node.newVal,
            neighbour=node.newValNeighbor,
            guarded=bool(node.skipIfNewValExists),
        ),
    )


_DOMAIN_CHANGES = {
    "T": "set default",
    "N": "drop not",
    "O": "set not",
    "C": "add constraint",
    "X": "drop constraint",
    "V": "validate constraint",
}


def alter_domain(node: Any) -> Found:
    """Reads ALTER DOMAIN."""
    change = _DOMAIN_CHANGES[node.subtype]
    if change == "set default" and node.def_ is None:
        change = "drop default"
    return (AlterObject(kind="domain", object=list_name(node.typeName), change=change),)


def alter_sequence(node: Any) -> Found:
    """Reads ALTER SEQUENCE."""
    names = {option.defname for option in node.options or ()}
    change = "restart" if "restart" in names else "options"
    if names == {"owned_by"}:
        owner = [part.sval for part in node.options[0].arg]
        return (owned_sequence(range_name(node.sequence), owner, bool(node.missing_ok)),)
    return (
        AlterObject(
            kind="sequence",
            object=range_name(node.sequence),
            change=change,
            guarded=bool(node.missing_ok),
        ),
    )


def alter_named(node: Any) -> Found:
    """Reads ALTER of an extension, a role, a policy, a database and a publication."""
    kind, attribute, change = _ALTERED[kind_of(node)]
    value = getattr(node, attribute)
    if kind_of(value) == "RoleSpec":
        value = value.rolename
    return (AlterObject(kind=kind, object=Name(value), change=change(node)),)


def _set_or_reset(node: Any) -> str:
    return "reset" if node.setstmt.kind.name.startswith("VAR_RESET") else "set"


def _change_of_publication(node: Any) -> str:
    words = {"AP_AddObjects": "add table", "AP_DropObjects": "drop table", "AP_SetObjects": "set table"}
    return words[node.action.name] if node.pubobjects else "set"


_ALTERED: dict[str, tuple[str, str, Callable[[Any], str]]] = {
    "AlterExtensionStmt": ("extension", "extname", lambda node: "update"),
    "AlterRoleStmt": ("role", "role", lambda node: "options"),
    "AlterRoleSetStmt": ("role", "role", _set_or_reset),
    "AlterDatabaseStmt": ("database", "dbname", lambda node: "options"),
    "AlterDatabaseSetStmt": ("database", "dbname", _set_or_reset),
    "AlterPolicyStmt": ("policy", "policy_name", lambda node: "options"),
    "AlterPublicationStmt": ("publication", "pubname", _change_of_publication),
}
ALTERED = frozenset(_ALTERED)
"""The statements that :func:`alter_named` reads."""


def comment(node: Any) -> Found:
    """Reads COMMENT ON."""
    kind = kind_name(node.objtype)
    value = node.object
    if kind == "constraint" and kind_of(value[0]) == "TypeName":
        name = f"{value[1].sval} on {list_name(value[0].names)}"
    elif kind in ON_TABLE:
        name = f"{value[-1].sval} on {list_name(value[:-1])}"
    elif isinstance(value, tuple):
        name = ".".join(part.sval for part in value)
    else:
        name = str(any_name(value))
    return (CommentOn(kind=kind, object=name),)
