"""The command that applies all phases: ``upgrade``."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.command import run
from online_migrate.command.revisions import (
    installed_tool,
    refuse_half_rolled_back,
    refuse_long_ids,
    refuse_not_additive,
    revision_runner,
)
from online_migrate.command.schema import contract_with
from online_migrate.context import CommandContext
from online_migrate.contract.live_services import LiveServices
from online_migrate.ddl.session import connect
from online_migrate.expand import runner as expands
from online_migrate.kinds.base import DataMigration
from online_migrate.migrate.status import Result, exit_code
from online_migrate.script import releases


def upgrade(
    context: CommandContext,
    *,
    release: str | None = None,
    statement_done: bool | None = None,
    kill_blockers: float | None = None,
    ddl_tool: str | None = None,
) -> list[Result]:
    """Applies all phases: release by release if the scripts have releases, else all expand revisions, the
    data migrations in order, all contract revisions.

    For a new database, or one that no service uses. Functions are not called for a table without rows.
    Raises :class:`~online_migrate.exceptions.GateClosed` if rows are left that cannot be migrated.
    *release*: the last release whose step is done. *statement_done*, *kill_blockers*, *ddl_tool*: see
    :func:`expand`.
    """
    graph, migrations = context.project.graph, context.project.data_migrations
    steps = releases.release_steps(graph, migrations)
    if release is not None:
        steps = releases.steps_up_to(graph, migrations, release)
    context.require_guard()
    # No declared service has to report: none uses the database. One that does report is checked.
    services = LiveServices.of(context.project, unused=True)
    applied = context.applied()
    fresh = not applied
    left = [revision for revision in graph.revisions if revision not in applied]
    refuse_long_ids(context, left)
    installed_tool(context, ddl_tool)  # its errors are raised before anything is changed
    _refuse_live(context, services, graph.contracts_in_history(left))
    context.ensure_state_tables()
    if statement_done is not None:
        with revision_runner(context) as runner:
            runner.answer(left, done=statement_done, command="upgrade")
    results: list[Result] = []
    for step in steps:
        # In the last step None stands for the head of the branch, or of the linear base.
        if step.expand is not None or step.release is None:
            refuse_not_additive(context, expands.plan(graph, context.applied(), step.expand, with_base=True))
            with revision_runner(context, kill_blockers=kill_blockers, ddl_tool=ddl_tool) as runner:
                refuse_half_rolled_back(context)
                expands.run(runner, expands.plan(graph, runner.applied(), step.expand, with_base=True))
        chosen = [migrations[name] for name in step.migrations]
        results += _upgrade_data(context, chosen, fresh=fresh)
        if exit_code(results):
            return results
        if step.contract is not None:
            contract_with(context, step.contract, services, kill_blockers=kill_blockers, ddl_tool=ddl_tool)
    return results


def _refuse_live(context: CommandContext, services: LiveServices, revisions: Sequence[str]) -> None:
    """Refuses destructive scripts that are declared as history while a service runs that uses the old shape.

    Raises :class:`~online_migrate.exceptions.GateClosed`.
    """
    with connect(context.engine) as connection:
        blockers = services.check(connection, revisions).blockers
    if blockers:
        raise exceptions.GateClosed(blockers)


def _upgrade_data(context: CommandContext, chosen: Sequence[DataMigration], *, fresh: bool) -> list[Result]:
    applied = context.applied()
    run.refuse_unexpanded(chosen, applied, context.project.graph)
    with connect(context.engine) as connection:
        over = run.contracted(context, connection, applied)
    calls = [m for m in chosen if m.commits_by_itself and m.name not in over]
    empty = [m for m in calls if _is_empty(context, m, fresh=fresh)]
    for migration in empty:
        with connect(context.engine) as connection, connection.begin():
            state.start_record(connection, migration.name)
            state.set_status(connection, migration.name, state.Status.COMPLETE)
    others = [migration for migration in chosen if migration not in empty]
    return run.run_each(context, others, applied)


def _is_empty(context: CommandContext, migration: DataMigration, *, fresh: bool) -> bool:
    """True if there is no row for which the function could be called."""
    if migration.table is None:
        return fresh
    with connect(context.engine) as connection:
        table = migration.subject(connection).table
        return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None
