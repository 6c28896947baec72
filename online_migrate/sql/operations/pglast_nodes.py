"""Names, types, expressions and queries in the syntax tree of PostgreSQL's parser. Pure.

The nodes are those of pglast; this file reads their attributes and does not import pglast, except to write an
expression as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from online_migrate.sql.classification.harmless_functions import HARMLESS
from online_migrate.sql.operations.parts import Expression, Name, SqlType, Value
from online_migrate.sql.operations.types import INTERNAL, SERIALS

_NOW = frozenset({"now", "transaction_timestamp", "statement_timestamp"})
_NOT_NOW = ("USER", "ROLE", "CATALOG", "SCHEMA")


def kind_of(node: Any) -> str:
    """Returns the name of the node's class."""
    return type(node).__name__


def is_node(value: Any) -> bool:
    """Returns True for a node of the tree, and False for a text, a number, None and so on."""
    return type(value).__module__ == "pglast.ast"


def walk(value: Any) -> Iterator[Any]:
    """Yields *value* and every node below it."""
    if isinstance(value, tuple):
        for item in value:
            yield from walk(item)
    elif is_node(value):
        yield value
        for attribute in value:
            yield from walk(getattr(value, attribute))


def range_name(node: Any) -> Name:
    """Returns the name of a table, view, index or sequence."""
    return Name(node.relname, node.schemaname)


def list_name(names: Any) -> Name:
    """Returns the name that a list of texts spells, without a catalog."""
    parts = [part.sval for part in names]
    return Name(parts[-1], parts[-2] if len(parts) > 1 else None)


# --- types ----------------------------------------------------------------------------------------


def type_of(node: Any) -> tuple[SqlType, bool]:
    """Returns the type in normal form, and whether it is serial."""
    name = list_name(node.names)
    parameters = tuple(_parameter(parameter) for parameter in node.typmods or ())
    own = name.schema is None
    if own and name.name in SERIALS:
        return SqlType(SERIALS[name.name]), True
    if name.schema == "pg_catalog":
        plain = INTERNAL.get(name.name, name.name)
        plain = "char" if plain == "bpchar" and parameters else plain
    else:
        plain = INTERNAL.get(name.name, name.name) if own else str(name)
    if plain == "interval":
        parameters = parameters[1:]
    return SqlType(plain, parameters, array=bool(node.arrayBounds)), False


def _parameter(node: Any) -> str:
    value = getattr(node, "val", None)
    for attribute in ("ival", "fval", "sval"):
        found = getattr(value, attribute, None)
        if found is not None:
            return f"'{found}'" if attribute == "sval" else str(found)
    return text_of(node)


# --- expressions ----------------------------------------------------------------------------------


def text_of(node: Any) -> str:
    """Returns the node as SQL."""
    from pglast.stream import RawStream

    return str(RawStream()(node))


def expression(node: Any) -> Expression:
    """Returns the expression that the node is."""
    return Expression(_form(node), text_of(node), calls(node))


def calls(node: Any) -> tuple[str, ...]:
    """Returns the functions that are called by name, in the order of their first call."""
    found = sorted(_named_calls(node), key=lambda call: call.location or 0)
    return tuple(dict.fromkeys(call.funcname[-1].sval.lower() for call in found))


def unknown_calls(node: Any) -> tuple[str, ...]:
    """Returns the functions that are called and not known to be harmless."""
    found = []
    for call in sorted(_named_calls(node), key=lambda call: call.location or 0):
        name = list_name(call.funcname)
        known = name.schema in (None, "pg_catalog") and name.name.upper() in HARMLESS["postgresql"]
        if not known:
            found.append(name.name.lower())
    return tuple(dict.fromkeys(found))


def _named_calls(node: Any) -> Iterator[Any]:
    for found in walk(node):
        if kind_of(found) == "FuncCall" and found.funcformat.name != "COERCE_SQL_SYNTAX":
            yield found


def columns_in(node: Any) -> tuple[str, ...]:
    """Returns the columns that a condition names, in the order of their first use."""
    found = [column for column in walk(node) if kind_of(column) == "ColumnRef"]
    found.sort(key=lambda column: column.location or 0)
    return tuple(dict.fromkeys(c.fields[-1].sval for c in found if kind_of(c.fields[-1]) == "String"))


def _form(node: Any) -> Value:
    kind = kind_of(node)
    if kind == "A_Const":
        return Value.NULL if node.isnull else Value.CONSTANT
    if kind == "TypeCast":
        inner = _form(node.arg)
        return inner if inner in (Value.NULL, Value.CONSTANT) else Value.EXPRESSION
    if kind == "A_Expr" and node.lexpr is None and node.name[-1].sval in ("-", "+"):
        return Value.CONSTANT if _form(node.rexpr) is Value.CONSTANT else Value.EXPRESSION
    if kind == "SQLValueFunction":
        named = any(word in node.op.name for word in _NOT_NOW)
        return Value.EXPRESSION if named else Value.NOW
    if kind == "FuncCall" and not node.args and node.funcname[-1].sval in _NOW and len(node.funcname) == 1:
        return Value.NOW
    return Value.EXPRESSION


# --- queries --------------------------------------------------------------------------------------


def selected_columns(query: Any) -> tuple[str, ...] | None:
    """Returns the names in the select list; None if one of them is not known."""
    while getattr(query, "larg", None) is not None:
        query = query.larg
    targets = getattr(query, "targetList", None)
    if not targets:
        return None
    names = [_target_name(target) for target in targets]
    return None if None in names else tuple(name for name in names if name is not None)


def _target_name(target: Any) -> str | None:
    if target.name is not None:
        return str(target.name)
    if kind_of(target.val) == "ColumnRef" and kind_of(target.val.fields[-1]) == "String":
        return str(target.val.fields[-1].sval)
    return None
