"""Reads queries and writes from the syntax tree of PostgreSQL's parser. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from online_migrate.sql.operations.operation import ChangeRows, CreateTable, Operation, Query, RunCode
from online_migrate.sql.operations.pglast_nodes import (
    is_node,
    kind_of,
    range_name,
    unknown_calls,
    walk,
)

_VERBS = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete", "MergeStmt": "merge"}


def read_query(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of a query or a write, and of the writes inside it."""
    calls = unknown_calls(node)
    writes = list(_writes(node))
    if writes:
        return tuple(
            ChangeRows(
                verb=_VERBS[kind_of(write)],
                table=range_name(write.relation),
                calls=calls,
                selects=kind_of(write) == "InsertStmt" and _reads(write.selectStmt),
            )
            for write in writes
        )
    into = next((found.intoClause for found in walk(node) if getattr(found, "intoClause", None)), None)
    locks = any(kind_of(found) == "LockingClause" for found in walk(node))
    if into is None:
        return (Query(calls=calls, locks_rows=locks),)
    created = CreateTable(table=range_name(into.rel), selects=True, temporary=into.rel.relpersistence == "t")
    return (created, Query(calls=calls)) if calls else (created,)


def _reads(node: Any) -> bool:
    """Returns True if the rows of an INSERT are not only those of VALUES."""
    return any(kind_of(found) == "SelectStmt" and not found.valuesLists for found in walk(node))


def _writes(node: Any) -> Iterator[Any]:
    """Yields the writes in the order of the text: those of WITH before the statement that uses them."""
    is_write = kind_of(node) in _VERBS
    if is_write and node.withClause is not None:
        yield from _writes_below(node.withClause)
        yield node
        for attribute in node:
            if attribute != "withClause":
                yield from _writes_below(getattr(node, attribute))
        return
    if is_write:
        yield node
    for attribute in node:
        yield from _writes_below(getattr(node, attribute))


def _writes_below(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for item in value:
            yield from _writes_below(item)
    elif is_node(value):
        yield from _writes(value)


def read_truncate(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of a TRUNCATE."""
    tables = [range_name(table) for table in node.relations]
    cascades = [None] if node.behavior.name == "DROP_CASCADE" else []
    return tuple(ChangeRows(verb="truncate", table=table) for table in (*tables, *cascades))


def read_copy(node: Any) -> tuple[Operation, ...]:
    """Returns the operations of a COPY."""
    if node.is_from and not node.is_program:
        calls = unknown_calls(node.whereClause)
        return (ChangeRows(verb="copy", table=range_name(node.relation), calls=calls),)
    if node.filename is not None or node.is_program:
        return (RunCode(verb="copy"),)
    return read_query(node.query) if node.query is not None else (Query(),)
