"""What belongs to a previous release, while the scripts of the new one are installed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate.script.graph import Graph, Phase
from online_migrate.script.releases import ReleaseStep, release_steps
from online_migrate.status.migration_state import CONTRACTED, WAITS_FOR_EXPAND

if TYPE_CHECKING:
    from online_migrate.kinds.base import DataMigration
    from online_migrate.status.migration_state import MigrationState
    from online_migrate.status.report import Report


def unfinished(report: Report, graph: Graph, migrations: Mapping[str, DataMigration]) -> list[MigrationState]:
    """Returns the data migrations of previous releases that have pending rows, or are not complete.

    The newest release is the last one that the scripts name. To a previous one belongs also what its contract
    revisions require. Without releases: all whose expand revision is applied. Pending rows that cannot be
    counted count as pending.
    """
    named = _releases(graph, migrations)
    names = _of_steps(graph, named[:-1]) if named else set(migrations)
    return [
        one
        for one in report.migrations
        if one.name in names
        and _is_unfinished(one, migrations[one.name])
        and (named or one.status != WAITS_FOR_EXPAND)
    ]


def contract_target(
    graph: Graph, applied: frozenset[str], migrations: Mapping[str, DataMigration]
) -> str | None:
    """Returns the revision up to which the next contract goes; None if nothing is left to contract.

    It is that of the first release that is not contracted; without releases, the head of the branch.
    """
    targets = [step.contract for step in _releases(graph, migrations)]
    left = [target for target in [*targets, graph.heads.get(Phase.CONTRACT)] if target is not None]
    return next((target for target in left if target not in applied), None)


def _of_steps(graph: Graph, steps: Sequence[ReleaseStep]) -> set[str]:
    """Returns the data migrations of *steps*, and those that the contract revisions up to there require."""
    contracts = [step.contract for step in steps if step.contract is not None]
    required = graph.requirements(revision for last in contracts for revision in graph.ancestors(last))
    return {name for step in steps for name in step.migrations} | set(required)


def _is_unfinished(one: MigrationState, migration: DataMigration) -> bool:
    if not one.has_ended and migration.needs_record:
        return True
    if one.pending is None and migration.has_pending:
        # They are not counted before expand and after contract, and cannot be counted otherwise.
        return one.status not in (WAITS_FOR_EXPAND, CONTRACTED)
    return bool(one.pending)


def _releases(graph: Graph, migrations: Mapping[str, DataMigration]) -> list[ReleaseStep]:
    return [step for step in release_steps(graph, migrations) if step.release is not None]
