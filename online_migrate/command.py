"""One function a verb, and the only place where the parts are wired together.

Every function takes a :class:`Site`, which says where and how; they raise the errors of
:mod:`online_migrate.exceptions`, whose ``exit_code`` the command line answers with.
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
from online_migrate.kinds.definition import CountedMigration, DataMigration
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


# --- stage 1: it is written ----------------------------------------------------------------------


def init(context: CommandContext, folder: str = "migrations") -> projects.Written:
    """Writes a new project. Overwrites nothing."""
    return projects.init(context.config_file, folder)


def adopt(context: CommandContext) -> projects.Written:
    """Takes over an existing linear Alembic project."""
    return projects.adopt(context.config_file)


def revision(
    context: CommandContext, message: str, *, release: str | None = None, rev_ids: Sequence[str] = ()
) -> list[Path]:
    """Writes an expand script and the contract script that depends on it.

    *rev_ids*: their ids, instead of random ones.
    """
    return create.write_pair(context.project, message, release=release, rev_ids=rev_ids)


# --- stage 2: the schema expands -----------------------------------------------------------------


def expand(
    context: CommandContext, target: str | None = None, *, statement_done: bool | None = None
) -> list[str]:
    """Applies the expand branch, up to *target* or to its end; gives the revisions applied.

    *statement_done*: the answer for the statement that an earlier run asked about, by
    :class:`~online_migrate.exceptions.StatementUndecided`.
    """
    graph = context.project.graph
    wanted = _target(graph, target, Phase.EXPAND)
    context.environment  # noqa: B018 - read before the lock is taken
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
    """The schema changes, their records where these need a session of their own, and reading beside them."""
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


# --- stage 3: rows move --------------------------------------------------------------------------


def migrate(
    context: CommandContext,
    names: Sequence[str] = (),
    limits: MigrateOptions | None = None,
) -> list[Result]:
    """Runs data migrations, all or the named ones, to their end or up to one of the *limits*.

    Raises :class:`~online_migrate.exceptions.ExpandMissing` before
    anything is done if a revision that one of them needs is not applied.
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
    """Where data migrations are run, and everything that says "wait" is asked."""
    settings = limits.apply_to(context.project.settings)
    deadline = None if limits.max_time is None else context.clock.monotonic() + limits.max_time

    def abort(reason: str) -> None:
        if not context.stop.requested:
            context.echo(f"stopping after this chunk: {reason}")
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
            hint += f"   (or, without it: online-migrate migrate {' '.join(others)})"
        raise exceptions.ExpandMissing(name=first.name, revision=first.revision, hint=hint)


def _run_all(
    context: CommandContext, place: RunContext, chosen: Sequence[DataMigration], applied: frozenset[str]
) -> Iterator[Result]:
    """Runs them in their order; one that fails keeps only those waiting that come after it."""
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
            result = _run_one(place, migration)
            if result.outcome is Outcome.COMPLETE:
                complete.add(migration.name)
            yield result


def _over(context: CommandContext, applied: frozenset[str]) -> dict[str, str]:
    """Data migration -> the contract revision that has taken away what it reads, wholly applied or not."""
    over = dict(context.project.graph.requirements(applied))
    with connect(context.engine) as connection:
        for revision in state.open_revisions(connection) if state.exists(connection) else ():
            for name, verified in verified_facts(connection, revision).items():
                migration = context.project.data_migrations.get(name)
                if migration is not None and is_removed(connection, migration, verified):
                    over.setdefault(name, revision)
    return over


def _run_one(place: RunContext, migration: DataMigration) -> Result:
    if isinstance(migration, CountedMigration):
        return counted.run_counted(place, migration)
    return runner.run_one(place, migration)


def pause(context: CommandContext, name: str) -> control.ControlResult:
    """Workers of data migration *name*, wherever they run, finish their chunk and hold on."""
    return _control(context, name, control.pause)


def resume(context: CommandContext, name: str) -> control.ControlResult:
    """A data migration that was paused or cancelled may go on."""
    return _control(context, name, control.resume)


def cancel(context: CommandContext, name: str) -> control.ControlResult:
    """Workers of data migration *name* finish their chunk and leave; nobody starts it until resume."""
    return _control(context, name, control.cancel)


def retry(context: CommandContext, name: str) -> control.ControlResult:
    """Rows that failed are tried again.

    Where nobody is at it, :func:`migrate` has to be called for that.
    """
    has_pending = context.project.data_migration(name).has_pending
    return _control(context, name, functools.partial(control.retry, has_pending=has_pending))


def _control(
    context: CommandContext, name: str, verb: Callable[[Engine, str, float], control.ControlResult]
) -> control.ControlResult:
    context.project.data_migration(name)
    context.ensure_state_tables()
    return verb(context.engine, name, context.project.settings.lease)


# --- stage 4: the gate opens and the schema contracts --------------------------------------------


def gate(context: CommandContext, target: str | None = None) -> list[exceptions.Blocker]:
    """Every blocker that stands before contract, up to *target* or to the end of the branch."""
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
    """What contract did: the revisions applied, and what stopped it, if something did."""

    revisions: tuple[str, ...]
    blockers: tuple[exceptions.Blocker, ...] = ()


def contract(
    context: CommandContext,
    target: str | None = None,
    *,
    available: bool = False,
    statement_done: bool | None = None,
) -> Contracted:
    """Applies the contract branch, up to *target* or to its end, if the gate is open for all of it.

    *available*: applies up to the first revision whose gate is closed. Otherwise raises
    :class:`~online_migrate.exceptions.GateClosed`, and has changed nothing. *statement_done*: as for
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
    """The data migrations of revisions that are half applied: their rows are moved when it goes on."""
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
        half = "a contract revision is half applied (online-migrate status); it goes on when the gate is open"
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
            context.echo(f"contract {revision}: was begun and not finished; going on")
            for statement in contracts.restore_dropped(runner, revision):
                context.echo(f"contract {revision}: undone until the rows are in step: {statement}")
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


# --- the whole way -------------------------------------------------------------------------------


def upgrade(context: CommandContext, *, statement_done: bool | None = None) -> list[Result]:
    """Takes a database the whole way: release by release where releases are given, else all expands,
    the data migrations in their order, all contracts.

    For a fresh database, or one that no service uses. Functions are not called where there is no row.
    Raises :class:`~online_migrate.exceptions.GateClosed` where rows are left that cannot be migrated.
    *statement_done*: as for :func:`expand`.
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
    empty = [m for m in chosen if isinstance(m, CountedMigration) and _is_empty(context, m, fresh=fresh)]
    for migration in empty:
        with connect(context.engine) as connection, connection.begin():
            state.start_record(connection, migration.name)
            state.set_status(connection, migration.name, state.Status.COMPLETE)
    others = [migration for migration in chosen if migration not in empty]
    with _run_context(context, MigrateOptions()) as place:
        return runner.each(_run_all(context, place, others, applied), context.listener)


def _is_empty(context: CommandContext, migration: CountedMigration, *, fresh: bool) -> bool:
    """True if there is no row that the function could be called for."""
    if migration.table is None:
        return fresh
    with connect(context.engine) as connection:
        table = migration.subject(connection).table
        return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None


# --- what a person wants to see ------------------------------------------------------------------


def status(context: CommandContext) -> reports.Report:
    """Where the database stands. Reads only."""
    context.project.data_migrations  # noqa: B018 - a broken project is said first
    applied = context.applied()
    with context.read_connection() as connection:
        return reports.make_report(connection, context.project, applied, url=safe_url(context.engine.url))


def plan(context: CommandContext) -> Plan:
    """The SQL of what each phase would do to this database. Executes none of it."""
    applied = context.applied()
    with context.read_connection() as connection:
        return make_plan(connection, context.project, context.environment, applied)


@dataclasses.dataclass(frozen=True)
class HistoryLine:
    """One revision, for ``history`` and ``heads``."""

    revision: str
    phase: Phase
    doc: str
    release: str | None
    head: bool
    parents: tuple[str, ...]


def history(context: CommandContext) -> list[HistoryLine]:
    """Every revision, the oldest first. Needs no database."""
    graph = context.project.graph
    heads = set(graph.heads.values()) - _branch_point(graph)
    return [
        HistoryLine(r.id, graph.phase(r.id), r.doc, r.release, r.id in heads, r.down)
        for r in graph.revisions.values()
    ]


def _branch_point(graph: Graph) -> set[str]:
    """The end of the base, where branches have grown out of it."""
    grown = Phase.EXPAND in graph.heads or Phase.CONTRACT in graph.heads
    return {graph.heads[Phase.BASE]} if grown and Phase.BASE in graph.heads else set()


def current(context: CommandContext) -> dict[Phase, reports.PhaseState]:
    """The effective position on each branch, by ancestry."""
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
    """Writes down that the database is at *targets*, without running anything; gives the new rows.

    The position on the branch that is not named stays as it is.
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
