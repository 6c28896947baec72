"""A run of data migrations: which of them can run, the throttlers, and one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.context import CommandContext
from online_migrate.ddl.session import connect
from online_migrate.engine_options import EngineOptions
from online_migrate.kinds.base import DataMigration
from online_migrate.migrate.budget import Budget
from online_migrate.migrate.options import MigrateOptions, pace_of
from online_migrate.migrate.run import runner
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.run.counted import run_counted
from online_migrate.migrate.status import Outcome, Result
from online_migrate.script.graph import Graph, expand_hint
from online_migrate.throttle.opening import open_throttling

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def refuse_unexpanded(migrations: Sequence[DataMigration], applied: frozenset[str], graph: Graph) -> None:
    """Raises :class:`~online_migrate.exceptions.ExpandMissing` if a revision that one requires is missing."""
    contracted = graph.requirements(applied)
    left = [migration for migration in migrations if migration.name not in contracted]
    missing = [m for m in left if m.revision is not None and m.revision not in applied]
    if missing:
        first = missing[0]
        hint = expand_hint(graph, str(first.revision))
        others = [migration.name for migration in left if migration not in missing]
        if others:
            hint += f"   (or run the others only: online-migrate migrate {' '.join(others)})"
        raise exceptions.ExpandMissing(name=first.name, revision=first.revision, hint=hint)


def contracted(context: CommandContext, connection: Connection, applied: frozenset[str]) -> dict[str, str]:
    """Returns the data migrations whose source columns are dropped, with the contract revision.

    The contract revision may be half applied, or the columns may soak.
    """
    found = dict(context.project.graph.requirements(applied))
    begun = state.open_revisions(connection) if state.exists(connection) else []
    for revision in [*begun, *state.soaks(connection)]:
        # Imported here: no other part of a run needs it, and a half-applied revision is rare.
        from online_migrate.contract.locked_verification import is_removed, verified_facts

        for name, verified in verified_facts(connection, revision).items():
            migration = context.project.data_migrations.get(name)
            if migration is not None and is_removed(connection, migration, verified):
                found.setdefault(name, revision)
    return found


def run_each(
    context: CommandContext,
    chosen: Sequence[DataMigration],
    applied: frozenset[str],
    limits: MigrateOptions | None = None,
) -> list[Result]:
    """Runs *chosen* with throttlers of their own, and returns the results; see :func:`results`."""
    with run_context(context, limits or MigrateOptions()) as opened:
        return runner.each(results(context, opened, chosen, applied), context.listener)


@contextlib.contextmanager
def run_context(context: CommandContext, limits: MigrateOptions) -> Iterator[RunContext]:
    """Opens the throttlers, and yields the context in which data migrations run."""
    settings = limits.apply_to(context.project.settings)
    deadline = None if limits.max_time is None else context.clock.monotonic() + limits.max_time

    def abort(reason: str) -> None:
        if not context.stop.requested:
            context.echo(f"stopping after the current chunk: {reason}")
            context.stop.request(reason)

    pace, named = pace_of(settings), context.database_source.database
    with open_throttling(
        context.engine,
        settings,
        context.config_file.parent,
        clock=context.clock,
        share=pace.share,
        shortest=pace.shortest,
        adaptive=pace.adaptive,
        abort=abort,
        echo=context.echo,
    ) as throttling:
        yield RunContext(
            engine=context.engine,
            budget=Budget(limits.max_count, deadline=deadline, clock=context.clock),
            clock=context.clock,
            stop=context.stop,
            listener=context.listener,
            pace=pace,
            workers=settings.workers,
            lease=settings.lease,
            max_failures=settings.max_failures,
            throttling=throttling,
            engine_options=EngineOptions() if named is None else named.options,
        )


def results(
    context: CommandContext, opened: RunContext, chosen: Sequence[DataMigration], applied: frozenset[str]
) -> Iterator[Result]:
    """Runs *chosen* in order, and yields their results.

    A failure blocks only the data migrations that name it in ``after``. *opened*: see :func:`run_context`.
    *applied*: the applied revisions.
    """
    with connect(context.engine) as connection:
        over = contracted(context, connection, applied)
        complete = set(over) | {
            name
            for name, record in state.all_records(connection).items()
            if record.status is state.Status.COMPLETE
        }
    complete -= {migration.name for migration in chosen if migration.name not in over}
    for migration in chosen:
        waits_for = [name for name in migration.after if name not in complete]
        if migration.name in over:
            yield Result(migration.name, Outcome.CONTRACTED)
        elif waits_for:
            yield Result(migration.name, Outcome.WAITING, error=f"waits for {', '.join(waits_for)}")
        else:
            result = _run_one(opened, migration)
            if result.outcome is Outcome.COMPLETE:
                complete.add(migration.name)
            yield result


def _run_one(context: RunContext, migration: DataMigration) -> Result:
    if migration.commits_by_itself:
        return run_counted(context, migration)
    return runner.run_one(context, migration)
