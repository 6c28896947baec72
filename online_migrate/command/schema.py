"""The commands on the schema: ``expand``, ``gate``, ``contract``, ``stamp``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.command import run
from online_migrate.command.revisions import (
    installed_tool,
    refuse_half_rolled_back,
    refuse_long_ids,
    refuse_not_additive,
    require_ddl_connections,
    revision_runner,
    target_of,
)
from online_migrate.context import CommandContext
from online_migrate.contract import gate as gates
from online_migrate.contract import graph_blockers
from online_migrate.contract import runner as contracts
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.locked_verification import missing_in
from online_migrate.contract.restore import restore_dropped
from online_migrate.contract.sync_blockers import DROPPED
from online_migrate.contract.sync_rows import OUT_OF_STEP
from online_migrate.ddl.session import connect, ddl_session
from online_migrate.expand import bootstrap
from online_migrate.expand import runner as expands
from online_migrate.kinds.base import DataMigration
from online_migrate.migrate.options import MigrateOptions
from online_migrate.migrate.status import Outcome
from online_migrate.runtime import stamping
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.rendering import renderer
from online_migrate.script.declarations import by_default_note
from online_migrate.script.graph import Phase
from online_migrate.services.squashed import folded_into, squashed_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_RESUMED = (DROPPED, OUT_OF_STEP)
"""Blockers of a sync that a half-applied revision has dropped: contract first creates it again."""


def expand(
    context: CommandContext,
    target: str | None = None,
    *,
    release: str | None = None,
    statement_done: bool | None = None,
    kill_blockers: float | None = None,
    ddl_tool: str | None = None,
) -> list[str]:
    """Applies the expand branch up to *target*, or to its head. Returns the applied revisions.

    *release*: instead of *target*: the release up to whose last revision the branch is applied.
    *statement_done*: True if the statement was executed that an earlier run reported by
    :class:`~online_migrate.exceptions.StatementUndecided`, False if it was not. *kill_blockers*: seconds
    after which a session that blocks a statement is ended. *ddl_tool*: the name of the tool that executes an
    ALTER TABLE that would block writers. None: the setting is used.
    """
    graph = context.project.graph
    up_to = target_of(context, target, release, Phase.EXPAND)
    context.require_guard()  # before the lock is acquired
    if up_to.nothing:
        return []
    wanted = up_to.revision
    installed_tool(context, ddl_tool)  # its errors are raised before anything is changed
    refuse_half_rolled_back(context)
    refuse_long_ids(context, expands.plan(graph, context.applied(), wanted))
    try:
        refuse_not_additive(context, expands.plan(graph, context.applied(), wanted))
    except exceptions.NotAdditive:
        # Another expand may be applying the same revisions: what it has created is then not old.
        with ddl_session(context.engine, context.project.settings, clock=context.clock, stop=context.stop):
            refuse_not_additive(context, expands.plan(graph, context.applied(), wanted))
    require_ddl_connections(context, "expand")
    context.ensure_state_tables()
    with revision_runner(context, kill_blockers=kill_blockers, ddl_tool=ddl_tool) as runner:
        refuse_half_rolled_back(context)  # again: a rollback may have been interrupted before this lock
        revisions = expands.plan(graph, runner.applied(), wanted)
        if statement_done is not None:
            runner.answer(revisions, done=statement_done, command="expand")
        expands.run(runner, revisions)
    return revisions


def gate(
    context: CommandContext,
    target: str | None = None,
    *,
    release: str | None = None,
    attest: str | None = None,
) -> list[exceptions.Blocker]:
    """Returns the blockers of contract, up to *target* or to the head of the branch.

    *release*: see :func:`expand`. *attest*: see :func:`contract`; here it is not recorded.
    """
    return list(gate_report(context, target, release=release, attest=attest).blockers)


def gate_report(
    context: CommandContext,
    target: str | None = None,
    *,
    release: str | None = None,
    attest: str | None = None,
) -> gates.GateReport:
    """Returns the blockers of :func:`gate`, and whether services were checked."""
    graph = context.project.graph
    up_to = target_of(context, target, release, Phase.CONTRACT)
    services = LiveServices.of(context.project, attest=attest)
    applied = context.applied()
    revisions = [] if up_to.nothing else graph_blockers.to_contract(graph, applied, up_to.revision)
    for revision, requires in context.project.requires_by_default.items():
        if revision in revisions:
            context.echo(f"gate {revision}: {by_default_note(requires)}")
    return context.read(lambda read: _gate(context, read, applied, services).report(revisions))


def _gate(
    context: CommandContext,
    connection: Connection,
    applied: frozenset[str],
    services: LiveServices,
    **soaks: bool,
) -> gates.Gate:
    project = context.project
    timeout = project.settings.gate_timeout
    return gates.Gate(
        project.graph,
        project.data_migrations,
        connection,
        applied,
        timeout,
        services,
        renderer(project, connection),
        **soaks,
    )


@dataclasses.dataclass(frozen=True)
class Contracted:
    """The result of contract: the applied revisions, and the blockers that stopped it."""

    revisions: tuple[str, ...]
    blockers: tuple[exceptions.Blocker, ...] = ()


def contract(
    context: CommandContext,
    target: str | None = None,
    *,
    release: str | None = None,
    available: bool = False,
    statement_done: bool | None = None,
    kill_blockers: float | None = None,
    ddl_tool: str | None = None,
    attest: str | None = None,
    end_soak: bool = False,
) -> Contracted:
    """Applies the contract branch up to *target*, or to its head, if the gate is open for all its revisions.

    *available*: applies the revisions before the first one whose gate is closed. Without it, raises
    :class:`~online_migrate.exceptions.GateClosed` before anything is changed. *release*, *statement_done*,
    *kill_blockers*, *ddl_tool*: see :func:`expand`. *attest*: what the operator vouches for where a declared
    service does not report; it is recorded with each revision. *end_soak*: drops what soaks, before its time
    is over; see :func:`~online_migrate.command.soaking.soak`.
    """
    services = LiveServices.of(context.project, attest=attest)
    up_to = target_of(context, target, release, Phase.CONTRACT)
    if up_to.nothing:
        return Contracted(())
    return contract_with(
        context,
        up_to.revision,
        services,
        available=available,
        statement_done=statement_done,
        kill_blockers=kill_blockers,
        ddl_tool=ddl_tool,
        end_soak=end_soak,
    )


def contract_with(
    context: CommandContext,
    wanted: str | None,
    services: LiveServices,
    *,
    available: bool = False,
    statement_done: bool | None = None,
    kill_blockers: float | None = None,
    ddl_tool: str | None = None,
    end_soak: bool = False,
) -> Contracted:
    """Does the same as :func:`contract`, up to the contract revision *wanted*, or to the head.

    *services*: what is required of the services.
    """
    graph = context.project.graph
    context.require_guard()
    revisions = graph_blockers.to_contract(graph, context.applied(), wanted)
    _withdraw_left_behind(context)
    if not available:
        refuse_closed(context, revisions, services, before_resume=True, end_soak=end_soak)
    refuse_long_ids(context, revisions)
    installed_tool(context, ddl_tool)  # its errors are raised before anything is changed
    require_ddl_connections(context, "contract")
    context.ensure_state_tables()
    if statement_done is not None:
        with revision_runner(context) as runner:
            runner.answer(revisions, done=statement_done, command="contract")
    _resume(context, revisions, _unfinished(context))
    with revision_runner(context, kill_blockers=kill_blockers, ddl_tool=ddl_tool) as runner:
        revisions = graph_blockers.to_contract(graph, runner.applied(), wanted)
        if not available:
            refuse_closed(context, revisions, services, end_soak=end_soak)
        return _contract_each(context, runner, revisions, services, available=available, end_soak=end_soak)


def _withdraw_left_behind(context: CommandContext) -> None:
    """Withdraws the announcement of a killed contract, which refuses old code although the gate is closed."""
    with connect(context.engine) as connection:
        announced = state.contracted_revisions(connection) if bootstrap.is_current(connection) else []
    if any(one.state == state.ContractState.CONTRACTING for one in announced):
        with revision_runner(context):
            pass  # the announcements are corrected when the runner is opened


def _contract_each(
    context: CommandContext,
    runner: RevisionRunner,
    revisions: Sequence[str],
    services: LiveServices,
    *,
    available: bool,
    end_soak: bool,
) -> Contracted:
    done: list[str] = []
    for revision in revisions:
        try:
            if available:
                refuse_closed(context, [revision], services, end_soak=end_soak)
            contracts.run(runner, revision, services)
        except exceptions.GateClosed as closed:
            if not available:
                raise
            return Contracted(tuple(done), closed.blockers)
        done.append(revision)
    return Contracted(tuple(done))


def _unfinished(context: CommandContext) -> frozenset[str]:
    """Returns the data migrations that half-applied contract revisions require.

    Their pending rows do not close the gate: :func:`_resume` migrates them.
    """
    with connect(context.engine) as connection:
        if not state.exists(connection):
            return frozenset()
        names: set[str] = set()
        for revision in state.open_revisions(connection):
            if revision in context.project.graph and context.project.graph.phase(revision) is Phase.CONTRACT:
                required = context.project.graph.revisions[revision].requires
                names |= set(required) if isinstance(required, tuple) else set()
        return frozenset(names)


def refuse_closed(
    context: CommandContext,
    revisions: Sequence[str],
    services: LiveServices,
    *,
    before_resume: bool = False,
    **soaks: bool,
) -> None:
    """Raises :class:`~online_migrate.exceptions.GateClosed` if the gate of one of *revisions* is closed.

    *before_resume*: the rows that :func:`_resume` migrates, and the syncs that it creates again, are no
    reason. *soaks*: fields of the gate.
    """
    applied = context.applied()
    with connect(context.engine) as connection:
        found = _gate(context, connection, applied, services, **soaks).blockers(revisions)
    blockers = found
    if before_resume:
        unfinished = _unfinished(context)
        blockers = [one for one in found if one.object not in unfinished and one.id not in _RESUMED]
    if blockers:
        half = (
            "a contract revision is half applied (online-migrate status); resolve the blockers, "
            "then: online-migrate contract"
        )
        raise exceptions.GateClosed(blockers, hint=half if _unfinished(context) else None)


def _resume(context: CommandContext, revisions: Sequence[str], unfinished: frozenset[str]) -> None:
    """Prepares half-applied contract revisions for their next statement.

    The triggers that such a revision dropped are recreated; then the rows that the old version wrote without
    them are migrated. *unfinished*: the data migrations of revisions with an open journal. It may hold the
    intent alone: the run that recreated the triggers was killed before it migrated the rows.
    """
    names = set(unfinished)
    with revision_runner(context) as runner:
        for revision in contracts.half_applied(runner, revisions):
            context.echo(f"contract {revision}: half applied; continuing")
            for statement in restore_dropped(runner, revision):
                context.echo(
                    f"contract {revision}: reverted until its pending rows are migrated: {statement}"
                )
    chosen = _readable(context, [m for name, m in context.project.data_migrations.items() if name in names])
    if not chosen:
        return
    with run.run_context(context, MigrateOptions()) as opened:
        for result in run.results(context, opened, chosen, context.applied()):
            if result.outcome is not Outcome.COMPLETE:
                context.echo(f"{result.name}: {result.error or result.outcome.value}")


def _readable(context: CommandContext, migrations: Sequence[DataMigration]) -> list[DataMigration]:
    found = []
    with connect(context.engine) as connection:
        for migration in migrations:
            with contextlib.suppress(exceptions.PendingUnreadable):
                subject = migration.subject(connection)
                if subject.pending is not None and missing_in(connection, subject) is None:
                    found.append(migration)
    return found


def stamp(context: CommandContext, targets: Sequence[str]) -> tuple[str, ...]:
    """Records that the database is at *targets*, without running a script. Returns the new version rows.

    The position on a branch without a target does not change. Raises
    :class:`~online_migrate.exceptions.Refused` for a revision that soaks.
    """
    graph = context.project.graph
    environment = context.environment
    context.run_environment_writes()  # refuses an env.py without guard()
    with ddl_session(
        context.engine, context.project.settings, clock=context.clock, stop=context.stop
    ) as session:
        connection = session.connection
        rows = state.version_rows(connection, environment.version_table, environment.version_schema)
        connection.rollback()
        new = stamping.rows_after(graph, graph.applied(rows), targets)
        if bootstrap.is_current(connection):
            _refuse_soaking(connection, graph.applied(new))
            connection.rollback()
        with session.dialect.write_transaction(connection):
            stamping.write(connection, context.project, environment, new)
            if bootstrap.is_current(connection):
                _announce_stamped(connection, context, graph.applied(new))
    return new


def _refuse_soaking(connection: Connection, applied: frozenset[str]) -> None:
    """Refuses to stamp a revision that soaks: its columns would keep their soaked names."""
    soaking = sorted(applied & set(state.soaks(connection)))
    if soaking:
        raise exceptions.Refused(
            reason=f"contract revision {soaking[0]} soaks",
            hint="online-migrate contract --unsoak   (or drop it: online-migrate contract --end-soak)",
        )


def _announce_stamped(connection: Connection, context: CommandContext, applied: frozenset[str]) -> None:
    """Records, for the services, the contract revisions that the database now counts as having."""
    contracts = frozenset(context.project.graph.of(Phase.CONTRACT))
    squashed = squashed_of(context.project.settings)
    folded, scripts = folded_into(squashed), contracts | set(squashed)
    half = {*state.open_revisions(connection), *state.soaks(connection)} & contracts
    known = state.contracted_revisions(connection)
    changes = state.contracted_changes(known, applied & contracts, half, scripts=scripts, folded=folded)
    for revision, now in changes.items():
        state.set_contracted(connection, revision, now, folded=folded.get(revision, ()))
    connection.commit()
