"""``contract --soak`` and ``contract --unsoak``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from online_migrate import exceptions, state
from online_migrate.command.revisions import (
    require_ddl_connections,
    revision_runner,
    target_of,
    target_revision,
)
from online_migrate.command.schema import refuse_closed
from online_migrate.context import CommandContext
from online_migrate.contract import graph_blockers
from online_migrate.contract import soak as soaks
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.runner import half_applied
from online_migrate.contract.soak_plan import soak_plans
from online_migrate.contract.unsoak import NotNullOwed
from online_migrate.contract.unsoak import unsoak as bring_back
from online_migrate.ddl.session import connect
from online_migrate.expand import bootstrap
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script.graph import Phase


@dataclasses.dataclass(frozen=True)
class Soaked:
    """The result of a soak: the revisions of which columns or tables soak now."""

    revisions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Unsoaked:
    """The result of an unsoak: the revisions, and what is not as it was before the soak.

    *owed*: columns that cannot be NOT NULL again yet. *out_of_step*: rows whose old and new columns differ.
    """

    revisions: tuple[str, ...]
    owed: tuple[NotNullOwed, ...] = ()
    out_of_step: tuple[exceptions.Blocker, ...] = ()


def soak(
    context: CommandContext,
    target: str | None = None,
    *,
    release: str | None = None,
    soak_time: float | None = None,
    attest: str | None = None,
    kill_blockers: float | None = None,
) -> Soaked:
    """Renames the columns and tables that contract would drop, up to *target* or to the head of the branch.

    The gate must be open, as for contract: code that uses them fails from now on. *soak_time*: seconds before
    contract may drop them, also of what soaks already; None: what is recorded, or the setting. For the
    other arguments see :func:`~online_migrate.command.contract`. Raises
    :class:`~online_migrate.exceptions.GateClosed`, also for rows that a killed soak left out of step, and
    :class:`~online_migrate.exceptions.Refused` if contract has begun one of the revisions.
    """
    services = LiveServices.of(context.project, attest=attest)
    up_to = target_of(context, target, release, Phase.CONTRACT)
    if up_to.nothing:
        return Soaked(())
    graph = context.project.graph
    context.require_guard()
    revisions = graph_blockers.to_contract(graph, context.applied(), up_to.revision)
    if not _is_begun(context, revisions):
        # The rows of a soak that was begun are checked once its triggers are created again.
        refuse_closed(context, revisions, services, for_soak=True)
    require_ddl_connections(context, "contract")
    context.ensure_state_tables()
    with revision_runner(context, kill_blockers=kill_blockers) as runner:
        revisions = graph_blockers.to_contract(graph, runner.applied(), up_to.revision)
        _refuse_half_applied(runner, revisions)
        _resume(runner, revisions)
        refuse_closed(context, revisions, services, for_soak=True)
        plans = soak_plans(runner, revisions)
        done = [
            revision
            for revision in revisions
            if soaks.begin(runner, revision, services, plans[revision], soak_time=soak_time)
        ]
    return Soaked(tuple(done))


def _is_begun(context: CommandContext, revisions: Sequence[str]) -> bool:
    """Returns True if the soak of one of *revisions* was begun and not finished."""
    with connect(context.engine) as connection:
        known = state.soaks(connection) if bootstrap.is_current(connection) else {}
    return any(known[one].state is state.SoakState.BEGUN for one in revisions if one in known)


def _refuse_half_applied(runner: RevisionRunner, revisions: Sequence[str]) -> None:
    """Refuses a revision whose statements contract has begun: they are not brought back by an unsoak."""
    for revision in half_applied(runner, revisions):
        raise exceptions.Refused(
            reason=f"contract {revision} was begun and not finished, so what it drops cannot soak",
            hint="online-migrate contract   (continues it)",
        )


def _resume(runner: RevisionRunner, revisions: Sequence[str]) -> None:
    """Prepares the soaks that earlier runs began. Raises GateClosed if rows are out of step."""
    blockers = [blocker for revision in revisions for blocker in soaks.resume(runner, revision)]
    if blockers:
        raise exceptions.GateClosed(
            blockers, hint="nothing was renamed; resolve the blockers, then: online-migrate contract --soak"
        )


def unsoak(context: CommandContext, target: str | None = None) -> Unsoaked:
    """Brings back what soaks: the revision *target* and those after it, or all.

    Raises :class:`~online_migrate.exceptions.GateClosed` if a name is taken, and
    :class:`~online_migrate.exceptions.Refused` if nothing soaks, or contract has begun to drop it.
    """
    graph = context.project.graph
    named = target_revision(graph, target, Phase.CONTRACT)
    context.require_guard()
    with connect(context.engine) as connection:
        known = state.soaks(connection) if bootstrap.is_current(connection) else {}
    order = [revision for revision in graph.of(Phase.CONTRACT) if revision in known]
    if named is not None and named not in order:
        raise exceptions.Refused(reason=f"nothing of {named} soaks", hint="online-migrate status")
    chosen = order if named is None else order[order.index(named) :]
    done: list[str] = []
    owed: list[NotNullOwed] = []
    out_of_step: list[exceptions.Blocker] = []
    with revision_runner(context) as runner:
        for revision in reversed(chosen):
            soak = state.soaks(runner.session.connection).get(revision)
            runner.session.connection.rollback()
            if soak is not None:
                left = bring_back(runner, soak)
                owed += left.not_null
                out_of_step += left.out_of_step
                done.append(revision)
    if not done:
        raise exceptions.Refused(reason="nothing soaks", hint="online-migrate status")
    return Unsoaked(tuple(done), tuple(owed), tuple(out_of_step))
