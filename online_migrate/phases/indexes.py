"""Decisions on indexes.

An index that is not unique refuses no row, unless its expression or condition raises an error: with an index
on ``100 / a`` an INSERT of 0 fails, or a value is too long for an entry (see :mod:`.index_entries`). That it
is built without blocking writers is left to the executor, which sends the online form; MySQL and MariaDB have
none for FULLTEXT, SPATIAL and VECTOR, nor MySQL for an expression.

Hiding an index is not additive: ``USE INDEX`` of old code fails with error 1176 on MySQL and MariaDB.
"""

from __future__ import annotations

from online_migrate.phases.constraints import left_null, values_of_new_columns
from online_migrate.phases.expressions import cannot_fail
from online_migrate.phases.given import Given, decides
from online_migrate.phases.index_entries import Entry, objection_to_entry
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import AlterIndex, CreateIndex, DropIndex
from online_migrate.sql.operations.parts import Index

_METHODS: dict[str, frozenset[str]] = {
    "postgresql": frozenset(["btree", "hash", "gin", "gist", "spgist", "brin"]),
    "mysql": frozenset(["btree", "hash", "fulltext", "spatial"]),
    "mariadb": frozenset(["btree", "hash", "rtree", "fulltext", "spatial", "vector"]),
    "sqlite": frozenset(),
}

_OF_TYPES = """
    array bit bool bpchar bytea char cidr date float4 float8 inet int2 int4 int8 interval jsonb macaddr
    macaddr8 money name numeric oid pg_lsn range text time timestamp timestamptz timetz tsvector uuid varbit
    varchar xid8 enum bpchar_pattern text_pattern varchar_pattern jsonb_path gin_trgm gist_trgm network point
    box poly circle kd_point quad_point int2_minmax int4_minmax int8_minmax date_minmax timestamp_minmax
    timestamptz_minmax uuid_minmax numeric_minmax float4_minmax float8_minmax text_minmax varchar_minmax
"""
_OPERATOR_CLASSES = frozenset(f"{name}_ops" for name in _OF_TYPES.split())
"""Operator classes of PostgreSQL, and of pg_trgm, which compare every two values of their type."""


@decides(CreateIndex)
def create_index(operation: CreateIndex, given: Given) -> Verdict:
    index = operation.index
    subject = f"{operation.table}.{index.name}" if index.name else str(operation.table)
    if given.known.is_new_table(operation.table):
        return apply_rule("new-table", subject)
    unknown = _unknown_kind(index, given)
    if unknown is not None:
        return apply_rule(
            "unknown-option",
            subject,
            f"It is not known which rows {unknown} refuses.",
            "Declare the operation as additive in the script, with the reason.",
        )
    if index.expressions and given.product == "mysql":
        return apply_rule(
            "create-expression-index",
            subject,
            "The server refuses LOCK=NONE for an index on an expression: writes of old code wait until it is"
            " built, and one fails if the expression raises an error for its row.",
            "Add a virtual column of the expression, and index it in a statement of its own.",
        )
    if _can_fail(index, given):
        return apply_rule(
            "create-expression-index",
            subject,
            "An INSERT or UPDATE of old code fails if the expression or the condition raises an"
            " error for its row.",
            "Index a column; or declare the operation as additive in the script, with the reason.",
        )
    objection = _blocks_writers(subject, index, given) or _too_long(subject, operation, given)
    if objection is not None and not index.unique:
        return objection
    if not index.unique:
        return apply_rule("create-index", subject)
    values = values_of_new_columns(operation.table, index.columns, given)
    if left_null(index.columns, values) and not index.nulls_not_distinct:
        return objection or apply_rule("create-harmless-unique-index", subject)
    return apply_rule(
        "create-unique-index",
        subject,
        "An INSERT or UPDATE of old code that repeats a value fails: duplicate key.",
        "Remove the duplicates by a data migration, and create the index in the contract script.",
    )


def _unknown_kind(index: Index, given: Given) -> str | None:
    """Returns the method or the operator class of an index that is not known."""
    if index.method is not None and index.method not in _METHODS[given.product]:
        return f"the index method {index.method}"
    unknown = [name for name in index.operator_classes if name not in _OPERATOR_CLASSES]
    return f"an index with the operator class {unknown[0]}" if unknown else None


_BLOCKING = frozenset({"fulltext", "spatial", "vector", "rtree"})


def _blocks_writers(subject: str, index: Index, given: Given) -> Verdict | None:
    if given.product not in ("mysql", "mariadb") or index.method not in _BLOCKING:
        return None
    return apply_rule(
        "create-blocking-index",
        subject,
        f"The server refuses LOCK=NONE for a {index.method.upper()} index: writes of old code wait until it"
        " is built.",
        "Create it with its table; or, if the writers of the table may wait, declare it as additive and name"
        " the table in rebuilds.",
    )


def _too_long(subject: str, operation: CreateIndex, given: Given) -> Verdict | None:
    index = operation.index
    entry = Entry(operation.table, index.columns, index.expressions, index.included, index.method)
    return objection_to_entry(subject, entry, given)


def _can_fail(index: Index, given: Given) -> bool:
    parts = [*index.expressions, *([index.where] if index.where is not None else [])]
    if index.columns.count(None) > len(index.expressions):
        return True
    return not all(cannot_fail(part, given.product) for part in parts)


@decides(DropIndex)
def drop_index(operation: DropIndex, given: Given) -> Verdict:
    if operation.table is not None and given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.index)
    return apply_rule(
        "drop-index",
        operation.index,
        "Old code relies on it: queries become slow, USE INDEX fails, and ON CONFLICT needs the"
        " unique index.",
        "Move it to the contract script.",
    )


_HARMLESS_CHANGES = (
    "visible",
    "not ignored",
    "storage parameter",
    "statistics",
    "attach partition",
    "comment",
)
_HIDING_CHANGES = ("invisible", "ignored")
_CONTRACT_CHANGES = ("tablespace", "set tablespace", "depends on extension", "no depends on extension")


@decides(AlterIndex)
def alter_index(operation: AlterIndex, given: Given) -> Verdict:
    change = operation.change
    if operation.table is not None and given.known.is_new_table(operation.table):
        return apply_rule("new-table", operation.index)
    if change.startswith(_HARMLESS_CHANGES):
        return apply_rule("alter-index", operation.index)
    if change.startswith(_HIDING_CHANGES):
        reason = "A statement of old code with USE INDEX or FORCE INDEX fails with error 1176."
        return apply_rule("hide-index", operation.index, reason, "Move it to the contract script.")
    if change.startswith("rename"):
        reason = "A statement of old code that names the index fails: USE INDEX, ON CONFLICT ON CONSTRAINT."
        hint = "Keep the name, or rename the index in the contract script."
        return apply_rule("rename-index", operation.index, reason, hint)
    if change.startswith(_CONTRACT_CHANGES):
        reason = "The index is copied under a lock, or goes with its extension; statements of old code wait."
        return apply_rule("change-index", operation.index, reason, "Move it to the contract script.")
    return apply_rule(
        "unknown-option",
        operation.index,
        f"The effect of the change {change} of an index on old code is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )
