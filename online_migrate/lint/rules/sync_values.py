"""Values of a sync that do not fit into the type of their column, or that each server rounds differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.syncs import sync_values
from online_migrate.lint.value_ranges import misfit
from online_migrate.lint.violation import Finding
from online_migrate.phases.expressions import tree_of
from online_migrate.sql.lexer import MYSQL

if TYPE_CHECKING:
    from sqlglot import exp

_WHOLE = frozenset({"tinyint", "smallint", "mediumint", "integer", "bigint"})


@script_rule(
    "sync-values-do-not-fit",
    servers={"postgresql": "", "mysql": "", "mariadb": ""},
    reason="A value of sync {sync} may not fit: {misfit}. A write of the version that does not know the "
    "column then fails; a server that is not strict cuts the value.",
    replacement="a wider type for {column}, or a cast: sa.cast(sa.column(...), sa.BigInteger)",
)
def sync_values_do_not_fit(script: Script) -> Iterator[Finding]:
    for one in sync_values(script):
        found = misfit(one.given, one.column, one.source, script.server.product)
        if found is not None:
            # The sentence names the table that is read.
            sentence = found.replace(
                f"{one.source.name}.{one.column.name} ", f"{one.table.name}.{one.column.name} "
            )
            yield one.step.finding(
                f"{one.sync}: {one.column.name}", sync=one.sync, column=one.column.name, misfit=sentence
            )


@script_rule(
    "sync-rounds",
    servers={"postgresql": "", "mysql": "", "mariadb": ""},
    reason="Sync {sync} divides, and {column} has whole numbers: this server rounds 1.5 to 2, and others cut "
    "it to 1. The other version reads more than was written.",
    replacement="floor(...), or DIV on MySQL and MariaDB",
)
def sync_rounds(script: Script) -> Iterator[Finding]:
    for one in sync_values(script):
        if one.column.type is None or one.column.type.name not in _WHOLE:
            continue
        tree = tree_of(one.text, script.server.product)
        if tree is not None and _is_rounded(tree, script.server.product):
            yield one.step.finding(f"{one.sync}: {one.column.name}", sync=one.sync, column=one.column.name)


def _is_rounded(tree: exp.Expr, product: str) -> bool:
    """Returns True if the value is certainly the result of a division with a fraction."""
    from sqlglot import exp

    if isinstance(tree, exp.Paren | exp.Neg):
        return _is_rounded(tree.this, product)
    if isinstance(tree, exp.Add | exp.Sub | exp.Mul):
        return _is_rounded(tree.this, product) or _is_rounded(tree.expression, product)
    if not isinstance(tree, exp.Div):
        return False
    if product in MYSQL:
        return True
    # PostgreSQL divides whole numbers without a fraction.
    parts = [part.this if isinstance(part, exp.Paren) else part for part in (tree.this, tree.expression)]
    return any(_has_fraction(part) for part in parts)


def _has_fraction(tree: exp.Expr) -> bool:
    from sqlglot import exp

    if isinstance(tree, exp.Literal):
        return not tree.is_string and "." in str(tree.this)
    return isinstance(tree, exp.Cast) and tree.to.this in (
        exp.DataType.Type.DECIMAL,
        exp.DataType.Type.DOUBLE,
        exp.DataType.Type.FLOAT,
    )
