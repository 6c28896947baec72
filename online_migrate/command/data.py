"""The commands on rows: ``migrate``, and those that control a run of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.command import run
from online_migrate.context import CommandContext
from online_migrate.ddl.session import connect
from online_migrate.kinds.base import DataMigration
from online_migrate.migrate import control
from online_migrate.migrate.options import MigrateOptions, require_connections_of
from online_migrate.migrate.run import runner
from online_migrate.migrate.status import Result
from online_migrate.script import releases

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def migrate(
    context: CommandContext,
    names: Sequence[str] = (),
    limits: MigrateOptions | None = None,
    *,
    release: str | None = None,
) -> list[Result]:
    """Runs the data migrations *names*, or all of them, until no row is pending or a limit is reached.

    *release*: instead of *names*: those of this release and of the releases before it. Raises
    :class:`~online_migrate.exceptions.ExpandMissing`, before anything is changed, if a revision that one of
    them requires is not applied.
    """
    chosen = _chosen(context, names, release)
    context.require_guard()
    applied = context.applied()
    run.refuse_unexpanded(chosen, applied, context.project.graph)
    with connect(context.engine) as connection:
        contracted = run.contracted(context, connection, applied)
    runner.check(context.engine, [migration for migration in chosen if migration.name not in contracted])
    limits = limits or MigrateOptions()
    require_connections_of(context.engine, limits.apply_to(context.project.settings))
    context.ensure_state_tables()
    return run.run_each(context, chosen, applied, limits)


def _chosen(context: CommandContext, names: Sequence[str], release: str | None) -> list[DataMigration]:
    project = context.project
    if release is None:
        return [project.data_migration(name) for name in names] or list(project.data_migrations.values())
    if names:
        raise exceptions.UsageError(
            message=f"both names ({', '.join(names)}) and --release {release} were given"
        )
    steps = releases.steps_up_to(project.graph, project.data_migrations, release)
    return [project.data_migrations[name] for step in steps for name in step.migrations]


def pause(context: CommandContext, name: str) -> control.ControlResult:
    """Pauses data migration *name*: its workers, on all hosts, finish their chunk and wait."""
    return _control(context, name, control.pause)


def resume(context: CommandContext, name: str) -> control.ControlResult:
    """Resumes a paused or cancelled data migration."""
    return _control(context, name, control.resume)


def cancel(context: CommandContext, name: str) -> control.ControlResult:
    """Cancels data migration *name*: its workers finish their chunk and exit.

    It cannot be started again before :func:`resume`.
    """
    return _control(context, name, control.cancel)


def retry(context: CommandContext, name: str) -> control.ControlResult:
    """Marks the failed rows of data migration *name* for another attempt.

    Active workers retry them. Without active workers, call :func:`migrate`.
    """
    has_pending = context.project.data_migration(name).has_pending
    return _control(context, name, functools.partial(control.retry, has_pending=has_pending))


def _control(
    context: CommandContext, name: str, verb: Callable[[Engine, str, float], control.ControlResult]
) -> control.ControlResult:
    context.project.data_migration(name)
    context.ensure_state_tables()
    return verb(context.engine, name, context.project.settings.lease)
