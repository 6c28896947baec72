"""Data migrations whose code may be removed, because their release says so."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.lines import line_of_data_migration
from online_migrate.lint.rule import tree_rule
from online_migrate.lint.tree import Tree
from online_migrate.lint.violation import Finding, Severity
from online_migrate.script.releases import in_order


@tree_rule(
    "removable-data-migration",
    severity=Severity.NOTICE,
    reason="The code of data migration {migration} may be removed since release {release}, which it names in "
    "removable_in.",
    replacement='{migration} = Removed(table=..., pending=..., removed_in="{release}")   while a contract '
    "script requires it; else nothing",
)
def removable_data_migration(tree: Tree) -> Iterator[Finding]:
    if tree.graph is None:
        return
    releases = in_order(tree.graph)
    for name, migration in tree.data_migrations.items():
        if migration.removable_in in releases:
            yield Finding(
                path=migration.path,
                line=line_of_data_migration(migration.path, name),
                object=name,
                facts={"migration": name, "release": migration.removable_in},
            )
