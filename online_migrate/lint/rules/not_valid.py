"""A NOT VALID constraint on a column before its data migration has run (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.backfills import columns_filled
from online_migrate.lint.rule import POSTGRESQL, tree_rule
from online_migrate.lint.tree import Tree
from online_migrate.lint.violation import Finding
from online_migrate.script.graph import Phase
from online_migrate.sql.operations.operation import AddConstraint
from online_migrate.sql.operations.parts import ConstraintKind


@tree_rule(
    "not-valid-before-backfill",
    servers=POSTGRESQL,
    reason="NOT VALID spares the rows that exist, but every UPDATE of one checks it: until data migration "
    "{migration} has filled {columns}, an UPDATE of another column by the old code fails.",
    replacement="move the constraint to the contract script, after the data migration",
)
def not_valid_before_backfill(tree: Tree) -> Iterator[Finding]:
    filled = columns_filled(tree)
    for script in tree.of_phase(Phase.EXPAND):
        for step, operation in script.on_existing(AddConstraint):
            constraint = operation.constraint
            if constraint.kind is not ConstraintKind.CHECK or not constraint.not_valid:
                continue
            for migration, (table, columns) in filled.items():
                named = sorted(columns & set(constraint.columns))
                if table == operation.table.name and named:
                    finding = step.finding(
                        constraint.name or str(operation.table),
                        migration=migration,
                        columns=", ".join(named),
                    )
                    yield finding.of(script.path)
