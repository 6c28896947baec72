"""``rollback``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from online_migrate import state
from online_migrate.command.revisions import require_ddl_connections, revision_runner, target_revision
from online_migrate.context import CommandContext
from online_migrate.contract.live_services import LiveServices
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.expand import bootstrap
from online_migrate.rollback.choice import to_undo
from online_migrate.rollback.losses import Loss
from online_migrate.rollback.new_code import NewCode
from online_migrate.rollback.undo import (
    Undo,
    Undoing,
    refuse_barriers,
    refuse_losses,
    refuse_workers,
    rows_of,
    undo,
)
from online_migrate.script.graph import Phase

NOT_CHECKED = "no service reports, so it is not checked whether a running one uses what is removed"


@dataclasses.dataclass(frozen=True)
class RolledBack:
    """The result of a rollback: the revisions that were undone, the last one first."""

    revisions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class PlannedUndo:
    """What a rollback would do to one revision, and what it would lose now."""

    revision: str
    doc: str
    statements: tuple[str, ...]
    losses: tuple[Loss, ...]


def rollback(
    context: CommandContext,
    target: str | None = None,
    *,
    accept_loss: int = 0,
    kill_blockers: float | None = None,
) -> RolledBack:
    """Undoes the last expand revision, or all of its release, or all down to *target*.

    *accept_loss*: the number of rows that may lose something; 0: none. A service whose code survives the
    contract must not run. Everything is checked before the first statement, and again under the lock of each
    revision.

    Raises :class:`~online_migrate.exceptions.RollbackRefused`, and
    :class:`~online_migrate.exceptions.Refused` for a revision that is contracted or not applied.
    """
    context.require_guard()
    services = LiveServices.of(context.project, unused=True)
    chosen = _chosen(context, context.applied(), target)
    new_code = NewCode(services, context.project.graph, chosen)
    with context.read_connection() as connection:
        checked = new_code.refuse(connection)
    _check(context, chosen, accept_loss)
    require_ddl_connections(context, "rollback")
    context.ensure_state_tables()
    if not checked:
        context.echo(f"rollback: {NOT_CHECKED}")
    with revision_runner(context, kill_blockers=kill_blockers) as runner:
        chosen = _chosen(context, runner.applied(), target)
        found = _check(context, chosen, accept_loss)
        total = sum(rows for _one, rows in found)
        for one, rows in found:
            new_code = NewCode(services, context.project.graph, [one.revision])
            undo(runner, one, new_code, accepted=accept_loss - (total - rows))
    return RolledBack(tuple(chosen))


def rollback_plan(context: CommandContext, target: str | None = None) -> list[PlannedUndo]:
    """Returns what :func:`rollback` would do. Changes nothing. Raises what it raises, except for losses."""
    chosen = _chosen(context, context.applied(), target)
    graph = context.project.graph
    with context.read_connection() as connection:
        undoing = Undoing(context.project, context.environment, connection)
        found = [undoing.of(revision) for revision in chosen]
        return [
            PlannedUndo(
                one.revision,
                graph.revisions[one.revision].doc,
                one.statements,
                tuple(undoing.losses(one)),
            )
            for one in found
        ]


def _chosen(context: CommandContext, applied: frozenset[str], target: str | None) -> Sequence[str]:
    graph = context.project.graph
    named = target_revision(graph, target, Phase.EXPAND)
    with connect(context.engine) as connection:
        current = bootstrap.is_current(connection)
        begun = state.open_revisions(connection) if current else []
        soaking = state.soaks(connection) if current else {}
    return to_undo(graph, applied, named, begun=begun, soaking=soaking)


def _check(context: CommandContext, chosen: Sequence[str], accept_loss: int) -> list[tuple[Undo, int]]:
    """Returns what is done to each revision, and the rows that it loses, unless one is refused."""
    with context.read_connection() as connection:
        undoing = Undoing(context.project, context.environment, connection)
        found = [undoing.of(revision) for revision in chosen]
        lost = {one.revision: undoing.losses(one) for one in found}
        refuse_losses(lost, accept_loss)
        for one in found:
            refuse_barriers(connection, one.migrations, one.tables)
            if state.exists(connection) and state.has_workers(connection):
                lease = context.project.settings.lease
                refuse_workers(connection, dialect_of(connection), one.migrations, lease)
    return [(one, rows_of(lost[one.revision])) for one in found]
