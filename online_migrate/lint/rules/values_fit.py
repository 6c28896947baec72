"""Values of a Backfill that do not fit into the type of their column."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.backfills import misfits
from online_migrate.lint.lines import line_of_data_migration
from online_migrate.lint.rule import tree_rule
from online_migrate.lint.tree import Tree
from online_migrate.lint.violation import Finding


@tree_rule(
    "values-do-not-fit",
    servers={"postgresql": "", "mysql": "", "mariadb": ""},
    reason="A value may not fit: {misfit}. A strict server refuses such a row, and its UPDATE fails; another "
    "cuts the value.",
    replacement="a wider type for {column}, or a cast in values: sa.cast(t.c...., sa.BigInteger)",
)
def values_do_not_fit(tree: Tree) -> Iterator[Finding]:
    for migration, column, misfit in misfits(tree):
        path = tree.data_migrations[migration].path
        yield Finding(
            path=path,
            line=line_of_data_migration(path, migration),
            object=f"{migration}: {column}",
            facts={"misfit": misfit, "column": column},
        )
