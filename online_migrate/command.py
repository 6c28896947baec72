"""One function for each command. The parts of the package are connected here and nowhere else.

Each function takes a :class:`~online_migrate.context.CommandContext` with the project and the database. The
functions raise the errors of :mod:`online_migrate.exceptions`; their ``exit_code`` is the exit code of the
command line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.context import CommandContext
from online_migrate.contract import gate as gates
from online_migrate.contract import runner as contracts
from online_migrate.contract.locked_verification import is_removed, missing_in, verified_facts
from online_migrate.ddl.session import connect, ddl_session, require_connections
from online_migrate.dialects import dialect_of, safe_url
from online_migrate.expand import runner as expands
from online_migrate.kinds.base import DataMigration
from online_migrate.migrate import control
from online_migrate.migrate.budget import Budget
from online_migrate.migrate.options import MigrateOptions, pace_of, require_connections_of
from online_migrate.migrate.run import counted, runner
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.status import Outcome, Result, exit_code
from online_migrate.runtime import stamping
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script import create, releases
from online_migrate.script import init as projects
from online_migrate.script.graph import Graph, Phase
from online_migrate.status import report as reports
from online_migrate.status.plan import Plan, make_plan
from online_migrate.throttle.opening import open_throttling

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["CommandContext", "MigrateOptions", "Outcome", "Result", "exit_code"]


# --- writing scripts -----------------------------------------------------------------------------


def init(context: CommandContext, folder: str = "migrations") -> projects.Written:
    """Writes a new project in *folder*. Overwrites nothing."""
    return projects.init(context.config_file, folder)


def adopt(context: CommandContext) -> projects.Written:
    """Adopts an existing linear Alembic project."""
    return projects.adopt(context.config_file)


def revision(
    context: CommandContext, message: str, *, release: str | None = None, rev_ids: Sequence[str] = ()
) -> list[Path]:
    """Writes an expand script and the contract script that depends on it.

    *rev_ids*: the ids of the two scripts; default: random ids. Returns the paths of the scripts.
    """
    return create.write_pair(context.project, message, release=release, rev_ids=rev_ids)


# --- expand --------------------------------------------------------------------------------------


def expand(
    context: CommandContext, target: str | None = None, *, statement_done: bool | None = None
) -> list[str]:
    """Applies the expand branch up to *target*, or to its head. Returns the applied revisions.

    *statement_done*: True if the statement was executed that an earlier run reported by
    :class:`~online_migrate.exceptions.StatementUndecided`, False if it was not.
    """
    graph = context.project.graph
    wanted = _target(graph, target, Phase.EXPAND)
    context.environment  # noqa: B018 - is read before the lock is acquired
    context.refuse_long_ids(expands.plan(graph, context.applied(), wanted))
    _require_connections(context, "expand")
    context.ensure_state_tables()
    with context.revision_runner() as runner:
        revisions = expands.plan(graph, runner.applied(), wanted)
        if statement_done is not None:
            runner.answer(revisions, done=statement_done, command="expand")
        expands.run(runner, revisions)
    return revisions


def _require_connections(context: CommandContext, command: str) -> None:
    """Refuses the command if too few connections are available.

    A command needs one connection for DDL, one for reads, and one for the journal where DDL is not
    transactional.
    """
    with connect(context.engine) as connection:
        dialect = dialect_of(connection)
    if not dialect.single_writer:
        require_connections(context.engine, 2 if dialect.transactional_ddl else 3, command)


def _target(graph: Graph, target: str | None, phase: Phase) -> str | None:
    if target is None:
        return None
    revision = graph.resolve(target)
    if graph.phase(revision) is not phase:
        raise exceptions.UnknownRevision(
            revision=target, hint=f"{revision} is on the {graph.phase(revision)} branch, not on {phase}"
        )
    return revision


# --- migrate -------------------------------------------------------------------------------------


def migrate(
    context: CommandContext,
    names: Sequence[str] = (),
    limits: MigrateOptions | None = None,
) -> list[Result]:
    """Runs the data migrations *names*, or all of them, until no row is pending or a limit is reached.

    Raises :class:`~online_migrate.exceptions.ExpandMissing`, before anything is changed, if a revision that
    one of them requires is not applied.
    """
    chosen = [context.project.data_migration(name) for name in names] or list(
        context.project.data_migrations.values()
    )
    applied = context.applied()
    _refuse_unexpanded(chosen, applied, context.project.graph)
    over = _over(context, applied)
    runner.check(context.engine, [migration for migration in chosen if migration.name not in over])
    limits = limits or MigrateOptions()
    require_connections_of(context.engine, limits.apply_to(context.project.settings))
    context.ensure_state_tables()
    with _run_context(context, limits) as place:
        return runner.each(_run_all(context, place, chosen, applied), context.listener)


@contextlib.contextmanager
def _run_context(context: CommandContext, limits: MigrateOptions) -> Iterator[RunContext]:
    """Opens the throttlers and yields the context in which data migrations run."""
    settings = limits.apply_to(context.project.settings)
    deadline = None if limits.max_time is None else context.clock.monotonic() + limits.max_time

    def abort(reason: str) -> None:
        if not context.stop.requested:
            context.echo(f"stopping after the current chunk: {reason}")
            context.stop.request(reason)

    pace = pace_of(settings)
    with open_throttling(
        context.engine,
        settings,
        context.config_file.parent,
        clock=context.clock,
        share=pace.share,
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
        )


def _refuse_unexpanded(migrations: Sequence[DataMigration], applied: frozenset[str], graph: Graph) -> None:
    over = graph.requirements(applied)
    left = [migration for migration in migrations if migration.name not in over]
    missing = [m for m in left if m.revision is not None and m.revision not in applied]
    if missing:
        first = missing[0]
        hint = gates.expand_hint(graph, str(first.revision))
        others = [migration.name for migration in left if migration not in missing]
        if others:
            hint += f"   (or run the others only: online-migrate migrate {' '.join(others)})"
        raise exceptions.ExpandMissing(name=first.name, revision=first.revision, hint=hint)


def _run_all(
    context: CommandContext, run_context: RunContext, chosen: Sequence[DataMigration], applied: frozenset[str]
) -> Iterator[Result]:
    """Runs *chosen* in order. A failure blocks only the data migrations that name it in ``after``."""
    over = _over(context, applied)
    complete = set(over)
    with connect(context.engine) as connection:
        complete |= {
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
            result = _run_one(run_context, migration)
            if result.outcome is Outcome.COMPLETE:
                complete.add(migration.name)
            yield result


def _over(context: CommandContext, applied: frozenset[str]) -> dict[str, str]:
    """Returns the data migrations whose source columns are dropped, with the contract revision.

    The contract revision may be half applied.
    """
    over = dict(context.project.graph.requirements(applied))
    with connect(context.engine) as connection:
        for revision in state.open_revisions(connection) if state.exists(connection) else ():
            for name, verified in verified_facts(connection, revision).items():
                migration = context.project.data_migrations.get(name)
                if migration is not None and is_removed(connection, migration, verified):
                    over.setdefault(name, revision)
    return over


def _run_one(place: RunContext, migration: DataMigration) -> Result:
    if migration.commits_by_itself:
        return counted.run_counted(place, migration)
    return runner.run_one(place, migration)


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


# --- gate and contract ---------------------------------------------------------------------------


def gate(context: CommandContext, target: str | None = None) -> list[exceptions.Blocker]:
    """Returns the blockers of contract, up to *target* or to the head of the branch."""
    graph = context.project.graph
    wanted = _target(graph, target, Phase.CONTRACT)
    applied = context.applied()
    with context.read_connection() as connection:
        return _gate(context, connection, applied).blockers(gates.to_contract(graph, applied, wanted))


def _gate(context: CommandContext, connection: Connection, applied: frozenset[str]) -> gates.Gate:
    project = context.project
    return gates.Gate(
        project.graph, project.data_migrations, connection, applied, project.settings.gate_timeout
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
    available: bool = False,
    statement_done: bool | None = None,
) -> Contracted:
    """Applies the contract branch up to *target*, or to its head, if the gate is open for all its revisions.

    *available*: applies the revisions before the first one whose gate is closed. Without it, raises
    :class:`~online_migrate.exceptions.GateClosed` before anything is changed. *statement_done*: see
    :func:`expand`.
    """
    graph = context.project.graph
    wanted = _target(graph, target, Phase.CONTRACT)
    revisions = gates.to_contract(graph, context.applied(), wanted)
    if not available:
        _refuse_closed(context, revisions, unfinished=_unfinished(context))
    context.refuse_long_ids(revisions)
    _require_connections(context, "contract")
    context.ensure_state_tables()
    if statement_done is not None:
        with context.revision_runner() as runner:
            runner.answer(revisions, done=statement_done, command="contract")
    _resume(context, revisions, _unfinished(context))
    with context.revision_runner() as runner:
        revisions = gates.to_contract(graph, runner.applied(), wanted)
        if not available:
            _refuse_closed(context, revisions)
        return _contract_each(context, runner, revisions, available=available)


def _contract_each(
    context: CommandContext, runner: RevisionRunner, revisions: Sequence[str], *, available: bool
) -> Contracted:
    done: list[str] = []
    for revision in revisions:
        try:
            if available:
                _refuse_closed(context, [revision])
            contracts.run(runner, revision)
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


def _blockers(context: CommandContext, revisions: Sequence[str]) -> list[exceptions.Blocker]:
    applied = context.applied()
    with connect(context.engine) as connection:
        return _gate(context, connection, applied).blockers(revisions)


def _refuse_closed(
    context: CommandContext, revisions: Sequence[str], unfinished: frozenset[str] = frozenset()
) -> None:
    blockers = [b for b in _blockers(context, revisions) if b.object not in unfinished]
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
    with context.revision_runner() as runner:
        for revision in contracts.half_applied(runner, revisions):
            context.echo(f"contract {revision}: half applied; continuing")
            for statement in contracts.restore_dropped(runner, revision):
                context.echo(
                    f"contract {revision}: reverted until its pending rows are migrated: {statement}"
                )
    chosen = _readable(context, [m for name, m in context.project.data_migrations.items() if name in names])
    if not chosen:
        return
    with _run_context(context, MigrateOptions()) as place:
        for result in _run_all(context, place, chosen, context.applied()):
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


# --- upgrade -------------------------------------------------------------------------------------


def upgrade(context: CommandContext, *, statement_done: bool | None = None) -> list[Result]:
    """Applies all phases: release by release if the scripts have releases, else all expand revisions, the
    data migrations in order, all contract revisions.

    For a new database, or one that no service uses. Functions are not called for a table without rows.
    Raises :class:`~online_migrate.exceptions.GateClosed` if rows are left that cannot be migrated.
    *statement_done*: see :func:`expand`.
    """
    graph = context.project.graph
    applied = context.applied()
    fresh = not applied
    left = [revision for revision in graph.revisions if revision not in applied]
    context.refuse_long_ids(left)
    context.ensure_state_tables()
    if statement_done is not None:
        with context.revision_runner() as runner:
            runner.answer(left, done=statement_done, command="upgrade")
    results: list[Result] = []
    for inflight in releases.release_steps(graph, context.project.data_migrations):
        with context.revision_runner() as runner:
            expands.run(runner, expands.plan(graph, runner.applied(), inflight.expand, with_base=True))
        chosen = [context.project.data_migrations[name] for name in inflight.migrations]
        results += _upgrade_data(context, chosen, fresh=fresh)
        if exit_code(results):
            return results
        if inflight.contract is not None:
            contract(context, inflight.contract)
    return results


def _upgrade_data(context: CommandContext, chosen: Sequence[DataMigration], *, fresh: bool) -> list[Result]:
    applied = context.applied()
    _refuse_unexpanded(chosen, applied, context.project.graph)
    empty = [m for m in chosen if m.commits_by_itself and _is_empty(context, m, fresh=fresh)]
    for migration in empty:
        with connect(context.engine) as connection, connection.begin():
            state.start_record(connection, migration.name)
            state.set_status(connection, migration.name, state.Status.COMPLETE)
    others = [migration for migration in chosen if migration not in empty]
    with _run_context(context, MigrateOptions()) as place:
        return runner.each(_run_all(context, place, others, applied), context.listener)


def _is_empty(context: CommandContext, migration: DataMigration, *, fresh: bool) -> bool:
    """True if there is no row for which the function could be called."""
    if migration.table is None:
        return fresh
    with connect(context.engine) as connection:
        table = migration.subject(connection).table
        return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None


# --- reports -------------------------------------------------------------------------------------


def status(context: CommandContext) -> reports.Report:
    """Returns the status report of the database. Changes nothing."""
    context.project.data_migrations  # noqa: B018 - errors of the project are raised before the database is read
    applied = context.applied()
    with context.read_connection() as connection:
        return reports.make_report(connection, context.project, applied, url=safe_url(context.engine.url))


def plan(context: CommandContext) -> Plan:
    """Returns the SQL that each phase would run on this database. Executes none of it."""
    applied = context.applied()
    with context.read_connection() as connection:
        return make_plan(connection, context.project, context.environment, applied)


@dataclasses.dataclass(frozen=True)
class HistoryLine:
    """One revision in the output of ``history`` and ``heads``."""

    revision: str
    phase: Phase
    doc: str
    release: str | None
    head: bool
    parents: tuple[str, ...]


def history(context: CommandContext) -> list[HistoryLine]:
    """Returns all revisions, the oldest first. Does not connect to the database."""
    graph = context.project.graph
    heads = set(graph.heads.values()) - _branch_point(graph)
    return [
        HistoryLine(r.id, graph.phase(r.id), r.doc, r.release, r.id in heads, r.down)
        for r in graph.revisions.values()
    ]


def _branch_point(graph: Graph) -> set[str]:
    """The head of the base, if the expand and contract branches start there."""
    grown = Phase.EXPAND in graph.heads or Phase.CONTRACT in graph.heads
    return {graph.heads[Phase.BASE]} if grown and Phase.BASE in graph.heads else set()


def current(context: CommandContext) -> dict[Phase, reports.PhaseState]:
    """Returns the effective position on each branch, by ancestry."""
    graph, applied = context.project.graph, context.applied()
    return {
        phase: reports.PhaseState(
            graph.position(applied, phase),
            graph.heads.get(phase),
            tuple(revision for revision in graph.of(phase) if revision not in applied),
        )
        for phase in Phase
        if phase in graph.heads
    }


def stamp(context: CommandContext, targets: Sequence[str]) -> tuple[str, ...]:
    """Records that the database is at *targets*, without running a script. Returns the new version rows.

    The position on a branch without a target does not change.
    """
    graph = context.project.graph
    environment = context.environment
    context.run_environment_writes()
    with ddl_session(
        context.engine, context.project.settings, clock=context.clock, stop=context.stop
    ) as session:
        connection = session.connection
        rows = state.version_rows(connection, environment.version_table, environment.version_schema)
        connection.rollback()
        new = stamping.rows_after(graph, graph.applied(rows), targets)
        with session.dialect.write_transaction(connection):
            stamping.write(connection, context.project, environment, new)
    return new
