"""Reads tables, columns, constraints and indexes from the syntax tree of PostgreSQL's parser. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from online_migrate.sql.operations.columns import Draft
from online_migrate.sql.operations.cursor import Unknown
from online_migrate.sql.operations.operation import CreateIndex, CreateTable, Operation, Query, SetTableOption
from online_migrate.sql.operations.parts import Column, Constraint, ConstraintKind, Index
from online_migrate.sql.operations.pglast_nodes import (
    columns_in,
    expression,
    kind_of,
    list_name,
    range_name,
    type_of,
)
from online_migrate.sql.operations.pglast_rows import read_query

_KINDS = {
    "CONSTR_PRIMARY": ConstraintKind.PRIMARY_KEY,
    "CONSTR_UNIQUE": ConstraintKind.UNIQUE,
    "CONSTR_FOREIGN": ConstraintKind.FOREIGN_KEY,
    "CONSTR_CHECK": ConstraintKind.CHECK,
    "CONSTR_EXCLUSION": ConstraintKind.EXCLUDE,
    "CONSTR_NOTNULL": ConstraintKind.NOT_NULL,
}
_NEUTRAL = frozenset(
    {"CONSTR_NULL", "CONSTR_ATTR_DEFERRABLE", "CONSTR_ATTR_NOT_DEFERRABLE", "CONSTR_ATTR_DEFERRED"}
    | {"CONSTR_ATTR_IMMEDIATE", "CONSTR_ATTR_ENFORCED"}
)


def read_constraint(node: Any) -> Constraint:
    """Returns a table constraint."""
    kind = _KINDS.get(node.contype.name)
    if kind is None:
        raise Unknown(node.contype.name)
    found = Constraint(
        kind=kind,
        name=node.conname,
        columns=_columns(node),
        referred=range_name(node.pktable) if node.pktable is not None else None,
        not_valid=bool(node.skip_validation),
        using_index=node.indexname,
        nulls_not_distinct=bool(node.nulls_not_distinct),
        included=tuple(name.sval for name in node.including or ()),
    )
    if kind is ConstraintKind.CHECK:
        return dataclasses.replace(found, condition=expression(node.raw_expr))
    if node.where_clause is not None:
        return dataclasses.replace(found, condition=expression(node.where_clause))
    return found


def _columns(node: Any) -> tuple[str, ...]:
    if node.exclusions:
        return tuple(pair[0].name for pair in node.exclusions if pair[0].name is not None)
    if node.raw_expr is not None:
        return columns_in(node.raw_expr)
    return tuple(name.sval for name in (node.keys or node.fk_attrs or ()))


# --- columns --------------------------------------------------------------------------------------


def read_column(node: Any) -> Column:
    """Returns the definition of a column."""
    draft = Draft(node.colname)
    if node.fdwoptions:
        raise Unknown(f"OPTIONS of the column {node.colname}")
    if node.typeName is not None:
        draft.type, serial = type_of(node.typeName)
        draft.identity, draft.nullable = serial, not serial
    if node.collClause is not None:
        draft.collation = node.collClause.collname[-1].sval
    for clause in node.constraints or ():
        _clause(clause, draft)
    return draft.column()


def _clause(node: Any, draft: Draft) -> None:
    kind = node.contype.name
    if kind == "CONSTR_NOTNULL":
        draft.nullable = False
    elif kind == "CONSTR_DEFAULT":
        draft.default = expression(node.raw_expr)
    elif kind == "CONSTR_IDENTITY":
        draft.identity, draft.nullable = True, False
    elif kind == "CONSTR_GENERATED":
        draft.generated = expression(node.raw_expr)
        draft.stored = node.generated_kind == "s"
    elif kind == "CONSTR_ATTR_NOT_ENFORCED":
        draft.constraints[-1] = dataclasses.replace(draft.constraints[-1], not_enforced=True)
    elif kind in _KINDS:
        found = dataclasses.replace(read_constraint(node), columns=(draft.name,))
        draft.constraints.append(dataclasses.replace(found, not_valid=False))
        if kind == "CONSTR_PRIMARY":
            draft.nullable = False
    elif kind not in _NEUTRAL:
        raise Unknown(kind)


# --- tables and indexes ---------------------------------------------------------------------------


def create_table(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of a CREATE TABLE."""
    if node.ofTypename is not None:
        raise Unknown("OF a type")
    parents = node.inhRelations or ()
    like = None
    columns, constraints = [], []
    for element in node.tableElts or ():
        if kind_of(element) == "ColumnDef":
            columns.append(read_column(element))
        elif kind_of(element) == "Constraint":
            constraints.append(read_constraint(element))
        else:
            like = range_name(element.relation)
    created = CreateTable(
        table=range_name(node.relation),
        columns=tuple(columns),
        constraints=tuple(constraints),
        partition_of=range_name(parents[0]) if parents else None,
        inherits=bool(parents) and node.partbound is None,
        temporary=node.relation.relpersistence == "t",
        like=like,
        partitioned=node.partspec is not None,
        guarded=bool(node.if_not_exists),
    )
    more = [
        SetTableOption(table=created.table, option="inherit", value=str(range_name(parent)))
        for parent in parents[1:]
    ]
    return (created, *more)


def filled_table(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of CREATE TABLE AS."""
    if kind_of(node.query) == "ExecuteStmt":
        raise Unknown("AS EXECUTE")
    relation = node.into.rel
    created = CreateTable(
        table=range_name(relation),
        selects=True,
        temporary=relation.relpersistence == "t",
        guarded=bool(node.if_not_exists),
    )
    found = read_query(node.query)
    return (created,) if found == (Query(),) else (created, *found)


def create_index(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of a CREATE INDEX; PostgreSQL's parser does not say if btree was written."""
    index = Index(
        name=node.idxname,
        columns=tuple(element.name for element in node.indexParams),
        unique=bool(node.unique),
        concurrently=bool(node.concurrent),
        where=expression(node.whereClause) if node.whereClause is not None else None,
        expressions=tuple(expression(e.expr) for e in node.indexParams if e.expr is not None),
        nulls_not_distinct=bool(node.nulls_not_distinct),
        method=node.accessMethod if node.accessMethod != "btree" else None,
        included=tuple(element.name for element in node.indexIncludingParams or ()),
        operator_classes=tuple(list_name(e.opclass).name for e in node.indexParams if e.opclass),
    )
    return (CreateIndex(table=range_name(node.relation), index=index, guarded=bool(node.if_not_exists)),)
