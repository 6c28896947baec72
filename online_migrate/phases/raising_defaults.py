"""Whether a default that the server evaluates in an INSERT can raise an error there. Pure.

SET DEFAULT does not evaluate its expression. PostgreSQL and MySQL accept ``1/0``, and each INSERT of old code
fails afterwards. ADD COLUMN evaluates the expression at once, and fails itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_migrate.phases.expressions import tree_of
from online_migrate.sql.operations.parts import Expression, Value

if TYPE_CHECKING:
    from sqlglot import exp

_LEAVES_TEXT = """
    CurrentTimestamp CurrentDate CurrentTime Localtime Localtimestamp CurrentUser SessionUser Uuid Rand
    Literal Null Boolean Array
"""
_LEAVES = frozenset(_LEAVES_TEXT.split())
"""The classes of sqlglot's tree whose value is never an error; an array may contain only literals."""
_STRICT = frozenset({"Paren", "Lower", "Upper", "MD5", "DPipe", "Concat", "TimestampTrunc"})
"""Classes that raise no error if their arguments do not."""
_FUNCTIONS = frozenset(
    {"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timezone", "uuid_to_bin"}
    | {"uuid_generate_v1", "uuid_generate_v4", "uuidv4", "uuidv7", "unix_timestamp", "jsonb_build_object"}
    | {"jsonb_build_array", "json_build_object", "json_build_array", "json_array", "json_object"}
)
_ZONES = frozenset({"utc", "gmt", "+00:00"})


def may_raise(default: Expression | None, product: str) -> bool:
    """Returns True unless the default is known to have a value in each INSERT."""
    if default is None or default.form in (Value.NULL, Value.NOW) or product == "sqlite":
        return False
    tree = tree_of(default.text, product)
    return tree is None or not _has_value(tree)


def _has_value(tree: exp.Expr) -> bool:
    from sqlglot import exp

    kind = type(tree).__name__
    if kind in _LEAVES:
        return all(isinstance(part, exp.Literal) for part in tree.expressions)
    if isinstance(tree, exp.Neg):
        return isinstance(tree.this, exp.Literal)
    if isinstance(tree, exp.Cast):
        # The server converts a text when it reads the statement; a number only when it evaluates it.
        inner = tree.this
        return type(inner).__name__ in _LEAVES and not (isinstance(inner, exp.Literal) and inner.is_number)
    if isinstance(tree, exp.AtTimeZone):
        return _has_value(tree.this) and tree.args["zone"].name.lower() in _ZONES
    if isinstance(tree, exp.Add | exp.Sub):
        return _has_value(tree.this) and _is_interval(tree.expression)
    if isinstance(tree, exp.Anonymous):
        return tree.name.lower() in _FUNCTIONS and _has_harmless_arguments(tree)
    parts = [part for part in tree.iter_expressions() if not isinstance(part, exp.Var)]
    return kind in _STRICT and all(_has_value(part) for part in parts)


def _is_interval(tree: exp.Expr) -> bool:
    from sqlglot import exp

    if isinstance(tree, exp.Cast):
        return isinstance(tree.this, exp.Literal) and tree.to.is_type("interval")
    return isinstance(tree, exp.Interval) and isinstance(tree.this, exp.Literal)


def _has_harmless_arguments(call: exp.Expr) -> bool:
    arguments = call.expressions
    if call.name.lower() == "timezone" and arguments[0].name.lower() not in _ZONES:
        return False
    return all(_has_value(argument) for argument in arguments)
