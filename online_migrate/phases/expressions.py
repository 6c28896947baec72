"""Whether a condition holds for the row that old code writes, and whether an expression can fail. Pure.

Both answers are proofs over the syntax tree: a part that is not listed makes the answer "not known".
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations.parts import Column, Expression, SqlType, Value
from online_migrate.sql.parse import Unreadable, parse

if TYPE_CHECKING:
    from sqlglot import exp


class Unknown(enum.Enum):
    """The mark of a value that is not known."""

    UNKNOWN = enum.auto()


UNKNOWN = Unknown.UNKNOWN
Scalar = Decimal | str | bool | None | Unknown
"""A value as SQL has it; None is NULL."""


def tree_of(text: str, product: str) -> exp.Expr | None:
    """Returns the syntax tree of an expression; None if the text is not one expression."""
    from sqlglot import exp

    try:
        trees = parse(f"SELECT {text}", product)
    except Unreadable:
        return None
    if len(trees) != 1 or not isinstance(trees[0], exp.Select) or len(trees[0].expressions) != 1:
        return None
    given = {name for name, value in trees[0].args.items() if value}
    tree: exp.Expr = trees[0].expressions[0]
    return tree if given == {"expressions"} else None


def left_by_old_code(column: Column, product: str) -> Scalar:
    """Returns the value of a new column in a row of old code, which does not name the column."""
    if column.generated is not None or column.identity:
        return UNKNOWN
    if column.default is None or column.default.form is Value.NULL:
        return None if column.nullable else UNKNOWN
    if column.default.form is not Value.CONSTANT:
        return UNKNOWN
    tree = tree_of(column.default.text, product)
    value = UNKNOWN if tree is None else evaluate(tree, {})
    return value if _is_stored_unchanged(value, column.type) else UNKNOWN


_TEXT_TYPES = frozenset({"varchar", "text", "char", "enum", "citext", "tinytext", "mediumtext", "longtext"})


def _is_stored_unchanged(value: Scalar, type: SqlType | None) -> bool:
    """Returns False if the type of the column may round the number, or convert the text."""
    if type is None:
        return False
    if isinstance(value, str):
        return type.name in _TEXT_TYPES
    return not isinstance(value, Decimal) or value == value.to_integral_value()


def passes(condition: Expression | None, values: Mapping[str, Scalar], product: str) -> bool:
    """Returns True if a row with *values* is known to pass a check; the other columns have any value."""
    tree = None if condition is None else tree_of(condition.text, product)
    if tree is None:
        return False
    if evaluate(tree, values) in (True, None):
        return _is_safe(tree, values, product)
    return _is_never_false(tree, values, product)


def _is_safe(tree: exp.Expr, values: Mapping[str, Scalar], product: str) -> bool:
    """Returns True if no part of a condition can raise an error: an operator with NULL does not."""
    from sqlglot import exp

    arithmetic = exp.Add | exp.Sub | exp.Mul | exp.Div | exp.Mod
    parts = [part for part in tree.iter_expressions() if not isinstance(part, exp.Identifier | exp.DataType)]
    if isinstance(tree, exp.Or) and evaluate(tree.this, values) is True:
        return _is_safe(tree.this, values, product)  # the other side is not evaluated
    if isinstance(tree, exp.And) and evaluate(tree.this, values) is False:
        return _is_safe(tree.this, values, product)
    known = all(column.name in values for column in tree.find_all(exp.Column))
    decisive = parts
    if product in MYSQL:
        # A comparison converts its first operand before it looks at the second one, arithmetic both of them:
        # 'abc' > NULL and NULL + 'abc' are errors.
        decisive = [] if isinstance(tree, arithmetic) else parts[:1]
    strict = any(evaluate(part, values) is None for part in decisive)
    if not (known or strict or type(tree).__name__ in _TOTAL[product]):
        return False
    return all(_is_safe(part, values, product) for part in parts)


def _is_never_false(tree: exp.Expr, values: Mapping[str, Scalar], product: str) -> bool:
    """Returns True for an OR with NULL on one side, and on the other one an expression that cannot fail."""
    from sqlglot import exp

    if isinstance(tree, exp.Paren):
        return _is_never_false(tree.this, values, product)
    if not isinstance(tree, exp.Or):
        return False
    sides = ((tree.this, tree.expression), (tree.expression, tree.this))
    return any(
        evaluate(null, values) is None
        and _is_safe(null, values, product)
        and _is_total_condition(other, product)
        for null, other in sides
    )


_ARGUMENTS = frozenset({"this", "expression", "expressions"})
_MORE_ARGUMENTS = {
    "Column": {"table"},
    "Literal": {"is_string"},
    "Is": {"negate"},
    "Between": {"low", "high"},
    "Cast": {"to"},
    "Div": {"typed", "safe"},
    "Length": {"binary"},
}
"""The parts of a node of sqlglot's tree that the evaluation takes into account, by class."""


def evaluate(tree: exp.Expr, values: Mapping[str, Scalar]) -> Scalar:
    """Returns the value of an expression, in the three-valued logic of SQL."""
    from sqlglot import exp

    given = {name for name, part in tree.args.items() if part}
    if not given <= _ARGUMENTS | _MORE_ARGUMENTS.get(type(tree).__name__, set()):
        return UNKNOWN
    if isinstance(tree, exp.Paren | exp.Cast):
        return evaluate(tree.this, values)
    if isinstance(tree, exp.Column):
        return values.get(tree.name, UNKNOWN)
    if isinstance(tree, exp.Null):
        return None
    if isinstance(tree, exp.Boolean):
        return bool(tree.this)
    if isinstance(tree, exp.Literal):
        return str(tree.this) if tree.is_string else Decimal(tree.this)
    if isinstance(tree, exp.Neg):
        value = evaluate(tree.this, values)
        return -value if isinstance(value, Decimal) else None if value is None else UNKNOWN
    return _logic(tree, values)


def _logic(tree: exp.Expr, values: Mapping[str, Scalar]) -> Scalar:
    from sqlglot import exp

    if isinstance(tree, exp.And | exp.Or):
        decisive = isinstance(tree, exp.Or)
        return _connect([evaluate(tree.this, values), evaluate(tree.expression, values)], decisive)
    if isinstance(tree, exp.Not):
        value = evaluate(tree.this, values)
        return not value if isinstance(value, bool) else None if value is None else UNKNOWN
    if isinstance(tree, exp.Is) and isinstance(tree.expression, exp.Null):
        value = evaluate(tree.this, values)
        return UNKNOWN if value is UNKNOWN else (value is None) is not bool(tree.args.get("negate"))
    if isinstance(tree, exp.In) and {key for key, part in tree.args.items() if part} == {
        "this",
        "expressions",
    }:
        value = evaluate(tree.this, values)
        return _connect([_compare(exp.EQ, value, evaluate(e, values)) for e in tree.expressions], True)
    if isinstance(tree, exp.Between):
        value = evaluate(tree.this, values)
        bounds = (exp.GTE, evaluate(tree.args["low"], values)), (exp.LTE, evaluate(tree.args["high"], values))
        return _connect([_compare(kind, value, bound) for kind, bound in bounds], False)
    return _strict(tree, values)


def _connect(parts: list[Scalar], decisive: bool) -> Scalar:
    """Returns the AND (*decisive* is False) or the OR (*decisive* is True) of the parts."""
    if any(part is decisive for part in parts):
        return decisive
    if any(not (part is None or isinstance(part, bool)) for part in parts):
        return UNKNOWN
    return None if None in parts else not decisive


def _strict(tree: exp.Expr, values: Mapping[str, Scalar]) -> Scalar:
    """Returns the value of an operator or function whose result is NULL if an argument is NULL."""
    from sqlglot import exp

    if isinstance(tree, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE):
        return _compare(type(tree), evaluate(tree.this, values), evaluate(tree.expression, values))
    if isinstance(tree, exp.Add | exp.Sub | exp.Mul | exp.Div | exp.Mod | exp.Like | exp.ILike):
        parts = [evaluate(tree.this, values), evaluate(tree.expression, values)]
        return None if None in parts else UNKNOWN
    if isinstance(tree, exp.Length | exp.Lower | exp.Upper | exp.Trim | exp.Abs):
        return None if evaluate(tree.this, values) is None else UNKNOWN
    return UNKNOWN


def _compare(kind: type[exp.Expr], left: Scalar, right: Scalar) -> Scalar:
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        # Different texts may be equal in a collation.
        return kind.__name__ in ("EQ", "GTE", "LTE") if left == right else UNKNOWN
    if not isinstance(left, Decimal | bool) or not isinstance(right, Decimal | bool):
        return UNKNOWN
    first, second = Decimal(left), Decimal(right)
    results = {
        "EQ": first == second,
        "NEQ": first != second,
        "GT": first > second,
        "GTE": first >= second,
        "LT": first < second,
        "LTE": first <= second,
    }
    return results[kind.__name__]


_NULL_TESTS = "Column Identifier Literal Null Boolean Paren Is Not And Or Case If Coalesce"
_COMPARISONS = f"{_NULL_TESTS} EQ NEQ GT GTE LT LTE In Between Lower Upper Trim"
_TOTAL = {
    "postgresql": frozenset(f"{_COMPARISONS} Left MD5".split()),
    "sqlite": frozenset(f"{_COMPARISONS} Length".split()),
    # A comparison converts its operands, which is an error in an INSERT in strict mode.
    "mysql": frozenset(_NULL_TESTS.split()),
    "mariadb": frozenset(_NULL_TESTS.split()),
}
"""The classes of sqlglot's tree that give a value for every row, by server."""


def cannot_fail(expression: Expression, product: str) -> bool:
    """Returns True if the expression is known to have a value for every row of a table."""
    tree = tree_of(expression.text, product)
    return tree is not None and _is_total(tree, product)


def _is_total(tree: exp.Expr, product: str) -> bool:
    if not all(type(node).__name__ in _TOTAL[product] for node in tree.walk()):
        return False
    return product not in MYSQL or all(_is_condition(node) for node in _conditions(tree))


def _is_total_condition(tree: exp.Expr, product: str) -> bool:
    return _is_total(tree, product) and (product not in MYSQL or _is_condition(tree))


def _is_condition(tree: exp.Expr) -> bool:
    """Returns True if MySQL and MariaDB need not convert the value to a number, which a text may refuse."""
    from sqlglot import exp

    if isinstance(tree, exp.Paren):
        return _is_condition(tree.this)
    if isinstance(tree, exp.Is):
        return isinstance(tree.expression, exp.Null)
    return isinstance(tree, exp.Not | exp.And | exp.Or | exp.Boolean | exp.Null)


def _conditions(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Yields each part that is evaluated as a condition."""
    from sqlglot import exp

    for node in tree.walk():
        if isinstance(node, exp.Not | exp.If | exp.Case) and node.this is not None:
            yield node.this  # CASE with an operand compares it, so it is no condition
        elif isinstance(node, exp.And | exp.Or):
            yield from (node.this, node.expression)
        elif isinstance(node, exp.Is):
            yield node


def names_columns(expression: Expression, product: str) -> bool:
    """Returns True if the expression names a column, or may do so."""
    from sqlglot import exp

    tree = tree_of(expression.text, product)
    return tree is None or tree.find(exp.Column, exp.Subquery, exp.Select) is not None
