"""Reads CREATE of other objects than tables from the syntax tree of PostgreSQL's parser. Pure."""

from __future__ import annotations

from typing import Any

from online_migrate.sql.operations.cursor import Unknown
from online_migrate.sql.operations.operation import (
    CreateObject,
    CreateRoutine,
    CreateTrigger,
    CreateView,
    Operation,
    Query,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.pglast_nodes import (
    kind_of,
    list_name,
    range_name,
    selected_columns,
    text_of,
    unknown_calls,
)
from online_migrate.sql.operations.pglast_rows import read_query

Found = tuple[Operation, ...]
_KINDS = {
    "OBJECT_MATVIEW": "materialized view",
    "OBJECT_FDW": "foreign data wrapper",
    "OBJECT_STATISTIC_EXT": "statistics",
    "OBJECT_FOREIGN_SERVER": "server",
    "OBJECT_TABCONSTRAINT": "constraint",
    "OBJECT_DOMCONSTRAINT": "constraint",
}
ON_TABLE = frozenset({"trigger", "policy", "rule", "constraint"})


def kind_name(object_type: Any) -> str:
    """Returns the kind of an object as in :class:`CreateObject`."""
    name = str(object_type.name)
    return _KINDS.get(name) or name.removeprefix("OBJECT_").replace("_", " ").lower()


def any_name(value: Any) -> Name:
    """Returns the name that a statement about any object names."""
    if isinstance(value, tuple):
        return list_name(value)
    if kind_of(value) == "String":
        return Name(value.sval)
    if kind_of(value) == "TypeName":
        return list_name(value.names)
    if kind_of(value) == "ObjectWithArgs":
        return list_name(value.objname)
    if kind_of(value) == "RangeVar":
        return range_name(value)
    raise Unknown(kind_of(value))


# --- CREATE ---------------------------------------------------------------------------------------


def create_view(node: Any) -> Found:
    """Reads CREATE VIEW."""
    aliases = tuple(alias.sval for alias in node.aliases or ())
    columns = aliases or selected_columns(node.query)
    return (
        CreateView(
            view=range_name(node.view),
            replace=bool(node.replace),
            temporary=node.view.relpersistence == "t",
            columns=columns,
            calls=unknown_calls(node.query),
        ),
    )


def create_materialized_view(node: Any) -> Found:
    """Reads CREATE MATERIALIZED VIEW."""
    aliases = tuple(alias.sval for alias in node.into.colNames or ())
    created = CreateView(
        view=range_name(node.into.rel),
        materialized=True,
        columns=aliases or selected_columns(node.query),
        calls=unknown_calls(node.query),
        guarded=bool(node.if_not_exists),
    )
    found = read_query(node.query)
    return (created,) if found == (Query(),) else (created, *found)


def create_trigger(node: Any) -> Found:
    """Reads CREATE TRIGGER."""
    return (
        CreateTrigger(
            trigger=Name(node.trigname),
            table=range_name(node.relation),
            replace=bool(node.replace),
            body=text_of(node),
        ),
    )


def create_routine(node: Any) -> Found:
    """Reads CREATE FUNCTION and CREATE PROCEDURE."""
    return (CreateRoutine(routine=list_name(node.funcname), replace=bool(node.replace)),)


_NAMED = {
    "CreateSeqStmt": ("sequence", "sequence"),
    "CreateEnumStmt": ("type", "typeName"),
    "CreateRangeStmt": ("type", "typeName"),
    "CompositeTypeStmt": ("type", "typevar"),
    "CreateDomainStmt": ("domain", "domainname"),
    "CreateExtensionStmt": ("extension", "extname"),
    "CreatedbStmt": ("database", "dbname"),
    "CreateRoleStmt": ("role", "role"),
    "CreatePolicyStmt": ("policy", "policy_name"),
    "CreatePublicationStmt": ("publication", "pubname"),
    "CreateSubscriptionStmt": ("subscription", "subname"),
    "CreateForeignServerStmt": ("server", "servername"),
    "CreateFdwStmt": ("foreign data wrapper", "fdwname"),
    "CreateEventTrigStmt": ("event trigger", "trigname"),
    "CreateTableSpaceStmt": ("tablespace", "tablespacename"),
    "CreateAmStmt": ("access method", "amname"),
    "CreateConversionStmt": ("conversion", "conversion_name"),
    "CreatePLangStmt": ("language", "plname"),
    "RuleStmt": ("rule", "rulename"),
}
CREATED = frozenset(_NAMED)
"""The statements that :func:`create_object` reads."""


def create_object(node: Any) -> Found:
    """Reads CREATE of an object that the statement names by one attribute."""
    kind, attribute = _NAMED[kind_of(node)]
    if kind == "rule" and node.replace:
        raise Unknown("CREATE OR REPLACE RULE")
    value = getattr(node, attribute)
    table = getattr(node, "table" if kind == "policy" else "relation", None)
    return (
        CreateObject(
            kind=_role_kind(node) if kind == "role" else kind,
            object=Name(value) if isinstance(value, str) else any_name(value),
            table=range_name(table) if kind in ON_TABLE and table is not None else None,
            enum=kind_of(node) == "CreateEnumStmt",
            guarded=bool(getattr(node, "if_not_exists", False)),
        ),
    )


def _role_kind(node: Any) -> str:
    return str(node.stmt_type.name).removeprefix("ROLESTMT_").lower()


def define(node: Any) -> Found:
    """Reads CREATE AGGREGATE, COLLATION and TYPE; operators and others are unknown."""
    kind = kind_name(node.kind)
    if kind not in ("aggregate", "collation", "type") or node.replace:
        raise Unknown(kind)
    return (CreateObject(kind=kind, object=list_name(node.defnames), guarded=bool(node.if_not_exists)),)


def create_statistics(node: Any) -> Found:
    """Reads CREATE STATISTICS."""
    name = list_name(node.defnames) if node.defnames else Name("")
    evaluates = any(element.expr is not None for element in node.exprs)
    guarded = bool(node.if_not_exists)
    return (CreateObject(kind="statistics", object=name, evaluates=evaluates, guarded=guarded),)


def create_schema(node: Any) -> Found:
    """Reads CREATE SCHEMA; the statements inside it are unknown."""
    if node.schemaElts:
        raise Unknown("elements of CREATE SCHEMA")
    owner = node.authrole.rolename if node.authrole is not None else None
    name = node.schemaname or node.authrole.rolename
    guarded = bool(node.if_not_exists)
    return (CreateObject(kind="schema", object=Name(name), of_account=name == owner, guarded=guarded),)
