"""Whether the value that the server computes for a new column always fits its type. Pure.

Seen on the servers: PostgreSQL checks a default of SET DEFAULT only when a row is inserted, so an INSERT of
old code fails: "value too long for type character varying(3)". MySQL and MariaDB compute a virtual column in
every INSERT, and a value that its type does not hold is an error. PostgreSQL 18 computes it in ``SELECT *``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from online_migrate.phases.expressions import Scalar, evaluate, tree_of
from online_migrate.phases.given import Given
from online_migrate.phases.types import TypeChange, compare_types
from online_migrate.sql.operations.parts import Column, Expression, Name, SqlType, Value

if TYPE_CHECKING:
    from sqlglot import exp

_LIMITED = frozenset({"varchar", "char", "bpchar", "numeric", "bit", "varbit", "binary", "varbinary"})
_TEXTS = frozenset({"varchar", "char", "bpchar"})
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "integer": 32, "bigint": 64}
_UUID = re.compile(r"\(?\s*(gen_random_)?uuid\s*\(\s*\)\s*\)?(::\s*(text|varchar))?", re.IGNORECASE)
_LENGTH_OF_UUID = 36
_WHOLE = frozenset({"text", "longtext"})


def default_fits(column: Column, product: str) -> bool:
    """Returns True if the default is known to fit the type, or the server checks it when it is defined."""
    default, type = column.default, column.type
    if default is None or type is None or product == "sqlite" or default.form is Value.NULL:
        return True
    if default.form is not Value.CONSTANT:
        return not (type.parameters and type.name in _LIMITED) or _is_uuid_in_text(default, type)
    if product != "postgresql":
        return True
    tree = tree_of(default.text, product)
    return tree is None or _constant_fits(evaluate(tree, {}), type)


def _is_uuid_in_text(default: Expression, type: SqlType) -> bool:
    is_long = type.parameters[0].isdigit() and int(type.parameters[0]) >= _LENGTH_OF_UUID
    return is_long and type.name in _TEXTS and _UUID.fullmatch(default.text.strip()) is not None


def _constant_fits(value: Scalar, type: SqlType) -> bool:
    if isinstance(value, Decimal) and type.name in _BITS:
        return _in_range(value, type)
    if not type.parameters or type.name not in _LIMITED:
        return True
    if type.name in _TEXTS and isinstance(value, str | Decimal) and type.parameters[0].isdigit():
        return len(str(value)) <= int(type.parameters[0])
    if type.name == "numeric" and isinstance(value, Decimal):
        precision, scale = (*(int(part) for part in type.parameters), 0)[:2]
        return bool(round(abs(value), max(scale, 0)) < Decimal(10) ** (precision - scale))
    return False


def _in_range(value: Decimal, type: SqlType) -> bool:
    bits = _BITS[type.name]
    low, high = (0, 2**bits) if type.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return bool(low <= value.to_integral_value() < high)


# --- generated columns ----------------------------------------------------------------------------


def generated_value_fits(table: Name, column: Column, generated: Expression, given: Given) -> bool:
    """Returns True if every value of the expression is known to fit the type of the column."""
    tree = tree_of(generated.text, given.product)
    if tree is None or column.type is None or given.product == "sqlite":
        return tree is not None
    return all(_result_fits(part, table, column.type, given) for part in _results(tree))


def _results(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Yields the parts of which one is the value of the expression."""
    from sqlglot import exp

    if isinstance(tree, exp.Paren):
        yield from _results(tree.this)
    elif isinstance(tree, exp.If):
        for part in (tree.args.get("true"), tree.args.get("false")):
            yield from () if part is None else _results(part)
    elif isinstance(tree, exp.Case):
        for part in (*tree.args["ifs"], *filter(None, [tree.args.get("default")])):
            yield from _results(part)
    elif isinstance(tree, exp.Coalesce):
        for part in (tree.this, *tree.expressions):
            yield from _results(part)
    else:
        yield tree


def _result_fits(tree: exp.Expr, table: Name, type: SqlType, given: Given) -> bool:
    from sqlglot import exp

    if isinstance(tree, exp.Null):
        return True
    if isinstance(tree, exp.Predicate | exp.Not | exp.And | exp.Or | exp.Boolean):
        return type.name in _BITS or type.name == "boolean"
    if isinstance(tree, exp.Literal):
        value = evaluate(tree, {})
        if isinstance(value, str):
            return type.name in _WHOLE or (type.name in _TEXTS and _constant_fits(value, type))
        return isinstance(value, Decimal) and type.name in _BITS and _in_range(value, type)
    if not isinstance(tree, exp.Column):
        return type.name in _WHOLE
    source = given.known.column(table, tree.name)
    if source is None or source.type is None:
        return False
    fitting = (TypeChange.SAME, TypeChange.WIDER, TypeChange.COPIED)
    return compare_types(source.type, type, given.product) in fitting
