"""Functions that fail as a whole on one row, and have no data migration of single rows beside them."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.lines import argument_of_data_migration, line_of_data_migration
from online_migrate.lint.rule import tree_rule
from online_migrate.lint.tree import Tree
from online_migrate.lint.violation import Finding, Severity


@tree_rule(
    "function-without-backfill",
    severity=Severity.NOTICE,
    reason="Function {migration} fails as a whole on one row that it cannot migrate: the rows after it stay "
    "as they are, and the engine can only call the function with fewer rows.",
    replacement="{migration}_rows = Backfill(table={table}, values={{...}}, pending={pending})   beside it, "
    "which tries each row for itself; or a row_migration with the same pending",
)
def function_without_backfill(tree: Tree) -> Iterator[Finding]:
    by_row = {_table(one) for one in tree.data_migrations.values() if not one.commits_by_itself}
    for name, migration in tree.data_migrations.items():
        table = _table(migration)
        if not migration.commits_by_itself or (table is not None and table in by_row):
            continue
        pending = argument_of_data_migration(migration.path, name, "pending")
        yield Finding(
            path=migration.path,
            line=line_of_data_migration(migration.path, name),
            object=name,
            facts={
                "migration": name,
                "table": "..." if table is None else f'"{table}"',
                "pending": pending or "...",
            },
        )


def _table(migration: object) -> str | None:
    table = getattr(migration, "table", None)
    return None if table is None else str(getattr(table, "name", table))
