"""Data migrations whose pending rows no index finds."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.backfills import columns_pending
from online_migrate.lint.lines import line_of_data_migration
from online_migrate.lint.rule import tree_rule
from online_migrate.lint.tree import Tree
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations.parts import Name


@tree_rule(
    "pending-without-index",
    severity=Severity.WARNING,
    reason="No index of {table} starts with a column of pending ({columns}) of data migration {migration}: "
    "the "
    "gate, and contract under its lock, read the whole table to see that no row is pending.",
    replacement='op.create_index("ix_{table}_{first}", "{table}", ["{first}"])   in the expand script, '
    "dropped in "
    "the contract script",
)
def pending_without_index(tree: Tree) -> Iterator[Finding]:
    for migration, (table, columns) in columns_pending(tree).items():
        known = tree.schema.table(Name(table))
        if known is None or not known.complete or not columns:
            continue
        if not any(key[:1] and key[0] in columns for key in known.key_columns()):
            path = tree.data_migrations[migration].path
            yield Finding(
                path=path,
                line=line_of_data_migration(path, migration),
                object=migration,
                facts={
                    "table": table,
                    "columns": ", ".join(sorted(columns)),
                    "first": sorted(columns)[0],
                    "migration": migration,
                },
            )
