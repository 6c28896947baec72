"""Whether an index of PostgreSQL can refuse a value of old code, because its entry would be too long. Pure.

An entry of a btree has at most 2,704 bytes, and a long value is refused: "index row size exceeds btree
version 4 maximum". The server compresses a value first, but a text of random characters stays as long as it
is. So the type of each column that old code writes must limit its length: ``varchar(n)`` counts four bytes
for each character. A column of which the type is not known counts as long. A new column is short: old code
leaves NULL or the default in it.

Seen on PostgreSQL 15: btree, gist, brin, and gin on an array refuse a text of 12,800 characters; hash,
spgist, and gin on jsonb or with trigrams do not. A number counts with 1,000 digits, the greatest precision
that a type can declare.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from online_migrate.phases.expressions import tree_of
from online_migrate.phases.given import Given
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.types import BUILT_IN
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.parts import Column, Expression, Name, SqlType

if TYPE_CHECKING:
    from sqlglot import exp

_LIMITS: dict[str, float] = {"btree": 2704, "gist": 8152, "brin": 4076, "gin": 2704, "spgist": 2704}
"""The greatest length of an entry; brin stores two values."""
_HASHES = frozenset({"hash", "spgist"})
"""Methods without a limit for the columns of the key."""
_OVERHEAD = 16
_OVERHEAD_OF_A_VALUE = 8
_BYTES_OF_A_CHARACTER = 4
_OF_ANY_LENGTH = frozenset(
    {"text", "citext", "varchar", "char", "bpchar", "bytea", "json", "jsonb", "xml", "varbit", "bit"}
    | {"hstore", "ltree", "path", "polygon", "tsquery", "vector", "geometry", "geography"}
)
"""Built-in types whose values have any length, unless a parameter limits it."""
_SIGNATURES = frozenset(
    {"tsvector", "tsquery", "hstore", "ltree", "geometry", "geography", "path", "polygon"}
    | {f"{name}multirange" for name in ("int4", "int8", "num", "ts", "tstz", "date")}
)
"""Types of which gist stores a summary of fixed length."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What an index of PostgreSQL stores of a row of *table*."""

    table: Name
    columns: Sequence[str | None]
    expressions: Sequence[Expression] = ()
    included: Sequence[str] = ()
    method: str | None = None


def objection_to_entry(subject: str, entry: Entry, given: Given) -> Verdict | None:
    """Returns a verdict if the index may refuse a value of old code."""
    if given.product != "postgresql":
        return None
    method = entry.method or "btree"
    lengths = list(_lengths(entry, method, given))
    unknown = [name for name, length in lengths if length is None]
    if unknown:
        return apply_rule(
            "create-index-on-long-values",
            subject,
            f"The type of {', '.join(unknown)} is not known, so a value of old code may be too long for an"
            " entry of the index.",
            "Judge the script with all revisions before it; or declare the operation as additive, with the"
            " reason.",
        )
    long = [name for name, length in lengths if length is not None and math.isinf(length)]
    length = _OVERHEAD + sum(_OVERHEAD_OF_A_VALUE + (length or 0) for _, length in lengths)
    if length <= _LIMITS.get(method, math.inf):
        return None
    names = ", ".join(long or [name for name, _ in lengths])
    return apply_rule(
        "create-index-on-long-values",
        subject,
        f"An INSERT or UPDATE of old code fails if its value of {names} is too long for an entry of the"
        f" index, which has at most {_LIMITS[method]:,.0f} bytes: index row size exceeds maximum.",
        "Index a part of the value, left(column, 200) or md5(column), or use an index USING hash; or, if"
        " all values are short, declare the operation as additive, with the reason.",
    )


def _lengths(entry: Entry, method: str, given: Given) -> Iterator[tuple[str, float | None]]:
    """Yields the name and the greatest length of each value in an entry; None if it is not known."""
    if method not in _HASHES:
        for name in entry.columns:
            if name is not None:
                yield name, _length_of(name, entry.table, method, given)
        for expression in entry.expressions:
            yield expression.text, _length_of_expression(expression, entry.table, given)
    for name in entry.included:
        yield name, _length_of(name, entry.table, "btree", given)


def _length_of(name: str, table: Name, method: str, given: Given) -> float | None:
    if given.known.is_new_column(table, name):
        return 0
    column = given.known.column(table, name)
    return None if column is None or column.type is None else _length_in(column, column.type, method, given)


def _length_in(column: Column, type: SqlType, method: str, given: Given) -> float:
    if method == "gin":
        element = dataclasses.replace(type, array=False)
        return _length_in(column, element, "btree", given) if type.array else 0
    if method == "gist" and type.name in _SIGNATURES:
        return 0
    if type.array:
        return math.inf
    if type.name in BUILT_IN:
        return _length_of_built_in(type)
    # Any other type, for example a composite type, may contain a text.
    return 64 if given.known.type_kind(type) == "enum" else math.inf


def _length_of_built_in(type: SqlType) -> float:
    limit = type.parameters[0] if type.parameters else ""
    if type.name == "numeric":
        return 1000 / 2
    if type.name == "char" and not limit:
        return 1
    if type.name in _OF_ANY_LENGTH or type.name == "tsvector" or type.name.endswith("multirange"):
        return int(limit) * _BYTES_OF_A_CHARACTER if limit.isdigit() else math.inf
    return 64


# --- expressions ----------------------------------------------------------------------------------


def _length_of_expression(expression: Expression, table: Name, given: Given) -> float | None:
    tree = tree_of(expression.text, given.product)
    return math.inf if tree is None else _length_of_tree(tree, table, given)


def _length_of_tree(tree: exp.Expr, table: Name, given: Given) -> float | None:
    from sqlglot import exp

    if isinstance(tree, exp.Column):
        return _length_of(tree.name, table, "btree", given)
    if isinstance(tree, exp.Literal):
        return len(tree.this) * _BYTES_OF_A_CHARACTER
    if isinstance(tree, exp.Left) and isinstance(tree.expression, exp.Literal):
        return int(tree.expression.this) * _BYTES_OF_A_CHARACTER
    if isinstance(tree, exp.MD5):
        return 32
    if isinstance(tree, exp.Predicate | exp.Not | exp.And | exp.Or | exp.Boolean | exp.Null):
        return 1
    if isinstance(tree, exp.Lower | exp.Upper):
        # A character may become three, for example in upper('\\u0390').
        inner = _length_of_tree(tree.this, table, given)
        return None if inner is None else inner * 1.5
    if isinstance(tree, exp.Trim | exp.Paren) and tree.args.get("expression") is None:
        return _length_of_tree(tree.this, table, given)
    return math.inf
