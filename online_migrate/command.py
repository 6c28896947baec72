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
from online_migrate.contract import gate as gates
from online_migrate.contract import runner as contracts
from online_migrate.contract.locked_verification import is_removed, missing_in, verified_facts
from online_migrate.ddl.session import connect, migrator, require_connections
from online_migrate.dialects import dialect_of, safe_url
from online_migrate.expand import runner as expands
from online_migrate.migrate import control, counted, runner
from online_migrate.migrate.crew import Workplace
from online_migrate.migrate.limits import Limits, pace_of, require_connections_of, watched
from online_migrate.migrate.run import Budget, Outcome, Result, exit_code
from online_migrate.revision import init as projects
from online_migrate.revision import pair, releases, stamping
from online_migrate.revision.data_migration import CountedMigration, DataMigration
from online_migrate.revision.graph import Graph, Phase
from online_migrate.revision.stepping import Stepper
from online_migrate.site import Site
from online_migrate.status import report as reports
from online_migrate.status.plan import Plan, make_plan

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["Limits", "Outcome", "Result", "Site", "exit_code"]


# --- stage 1: it is written ----------------------------------------------------------------------


def init(site: Site, folder: str = "migrations") -> projects.Written:
    """Writes a new project. Overwrites nothing."""
    return projects.init(site.config_file, folder)


def adopt(site: Site) -> projects.Written:
    """Takes over an existing linear Alembic project."""
    return projects.adopt(site.config_file)


def revision(
    site: Site, message: str, *, release: str | None = None, rev_ids: Sequence[str] = ()
) -> list[Path]:
    """Writes an expand script and the contract script that depends on it.

    *rev_ids*: their ids, instead of random ones.
    """
    return pair.write_pair(site.project, message, release=release, rev_ids=rev_ids)


# --- stage 2: the schema expands -----------------------------------------------------------------


def expand(site: Site, target: str | None = None, *, statement_done: bool | None = None) -> list[str]:
    """Applies the expand branch, up to *target* or to its end; gives the revisions applied.

    *statement_done*: the answer for the statement that an earlier run asked about, by
    :class:`~online_migrate.exceptions.StatementUndecided`.
    """
    graph = site.project.graph
    wanted = _target(graph, target, Phase.EXPAND)
    site.environment  # noqa: B018 - read before the lock is taken
    site.refuse_long_ids(expands.plan(graph, site.applied(), wanted))
    _require_connections(site, "expand")
    site.prepare()
    with site.stepper() as stepper:
        revisions = expands.plan(graph, stepper.applied(), wanted)
        if statement_done is not None:
            stepper.answer(revisions, done=statement_done, command="expand")
        expands.run(stepper, revisions)
    return revisions


def _require_connections(site: Site, command: str) -> None:
    """The schema changes, their records where these need a session of their own, and reading beside them."""
    with connect(site.engine) as connection:
        dialect = dialect_of(connection)
    if not dialect.single_writer:
        require_connections(site.engine, 2 if dialect.transactional_ddl else 3, command)


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
    site: Site,
    names: Sequence[str] = (),
    limits: Limits | None = None,
) -> list[Result]:
    """Runs data migrations, all or the named ones, to their end or up to one of the *limits*.

    Raises :class:`~online_migrate.exceptions.ExpandMissing` before
    anything is done if a revision that one of them needs is not applied.
    """
    chosen = [site.project.data_migration(name) for name in names] or list(
        site.project.data_migrations.values()
    )
    applied = site.applied()
    _refuse_unexpanded(chosen, applied, site.project.graph)
    over = _over(site, applied)
    runner.check(site.engine, [migration for migration in chosen if migration.name not in over])
    limits = limits or Limits()
    require_connections_of(site.engine, limits.over(site.project.settings))
    site.prepare()
    with _at_work(site, limits) as place:
        return runner.each(_run_all(site, place, chosen, applied), site.listener)


@contextlib.contextmanager
def _at_work(site: Site, limits: Limits) -> Iterator[Workplace]:
    """Where data migrations are run, and everything that says "wait" is asked."""
    settings = limits.over(site.project.settings)
    deadline = None if limits.max_time is None else site.clock.monotonic() + limits.max_time

    def give_up(reason: str) -> None:
        if not site.stop.requested:
            site.say(f"stopping after this chunk: {reason}")
            site.stop.request(reason)

    folder = site.config_file.parent
    with watched(site.engine, settings, folder, clock=site.clock, give_up=give_up, say=site.say) as watching:
        yield Workplace(
            engine=site.engine,
            budget=Budget(limits.max_count, deadline=deadline, clock=site.clock),
            clock=site.clock,
            stop=site.stop,
            listener=site.listener,
            pace=pace_of(settings),
            workers=settings.workers,
            lease=settings.lease,
            max_failures=settings.max_failures,
            watched=watching,
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
    site: Site, place: Workplace, chosen: Sequence[DataMigration], applied: frozenset[str]
) -> Iterator[Result]:
    """Runs them in their order; one that fails keeps only those waiting that come after it."""
    over = _over(site, applied)
    complete = set(over)
    with connect(site.engine) as connection:
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


def _over(site: Site, applied: frozenset[str]) -> dict[str, str]:
    """Data migration -> the contract revision that has taken away what it reads, wholly applied or not."""
    over = dict(site.project.graph.requirements(applied))
    with connect(site.engine) as connection:
        for revision in state.open_revisions(connection) if state.exists(connection) else ():
            for name, verified in verified_facts(connection, revision).items():
                migration = site.project.data_migrations.get(name)
                if migration is not None and is_removed(connection, migration, verified):
                    over.setdefault(name, revision)
    return over


def _run_one(place: Workplace, migration: DataMigration) -> Result:
    if isinstance(migration, CountedMigration):
        return counted.run_counted(place, migration)
    return runner.run_one(place, migration)


def pause(site: Site, name: str) -> control.Said:
    """Workers of data migration *name*, wherever they run, finish their chunk and hold on."""
    return _control(site, name, control.pause)


def resume(site: Site, name: str) -> control.Said:
    """A data migration that was paused or cancelled may go on."""
    return _control(site, name, control.resume)


def cancel(site: Site, name: str) -> control.Said:
    """Workers of data migration *name* finish their chunk and leave; nobody starts it until resume."""
    return _control(site, name, control.cancel)


def retry(site: Site, name: str) -> control.Said:
    """Rows that failed are tried again.

    Where nobody is at it, :func:`migrate` has to be called for that.
    """
    has_pending = site.project.data_migration(name).has_pending
    return _control(site, name, functools.partial(control.retry, has_pending=has_pending))


def _control(site: Site, name: str, verb: Callable[[Engine, str, float], control.Said]) -> control.Said:
    site.project.data_migration(name)
    site.prepare()
    return verb(site.engine, name, site.project.settings.lease)


# --- stage 4: the gate opens and the schema contracts --------------------------------------------


def gate(site: Site, target: str | None = None) -> list[exceptions.Blocker]:
    """Every blocker that stands before contract, up to *target* or to the end of the branch."""
    graph = site.project.graph
    wanted = _target(graph, target, Phase.CONTRACT)
    applied = site.applied()
    with site.reading() as connection:
        return _gate(site, connection, applied).blockers(gates.to_contract(graph, applied, wanted))


def _gate(site: Site, connection: Connection, applied: frozenset[str]) -> gates.Gate:
    project = site.project
    return gates.Gate(
        project.graph, project.data_migrations, connection, applied, project.settings.gate_timeout
    )


@dataclasses.dataclass(frozen=True)
class Contracted:
    """What contract did: the revisions applied, and what stopped it, if something did."""

    revisions: tuple[str, ...]
    blockers: tuple[exceptions.Blocker, ...] = ()


def contract(
    site: Site, target: str | None = None, *, available: bool = False, statement_done: bool | None = None
) -> Contracted:
    """Applies the contract branch, up to *target* or to its end, if the gate is open for all of it.

    *available*: applies up to the first revision whose gate is closed. Otherwise raises
    :class:`~online_migrate.exceptions.GateClosed`, and has changed nothing. *statement_done*: as for
    :func:`expand`.
    """
    graph = site.project.graph
    wanted = _target(graph, target, Phase.CONTRACT)
    revisions = gates.to_contract(graph, site.applied(), wanted)
    if not available:
        _refuse_closed(site, revisions, unfinished=_unfinished(site))
    site.refuse_long_ids(revisions)
    _require_connections(site, "contract")
    site.prepare()
    if statement_done is not None:
        with site.stepper() as stepper:
            stepper.answer(revisions, done=statement_done, command="contract")
    _resume(site, revisions)
    with site.stepper() as stepper:
        revisions = gates.to_contract(graph, stepper.applied(), wanted)
        if not available:
            _refuse_closed(site, revisions)
        return _contract_each(site, stepper, revisions, available=available)


def _contract_each(site: Site, stepper: Stepper, revisions: Sequence[str], *, available: bool) -> Contracted:
    done: list[str] = []
    for revision in revisions:
        try:
            if available:
                _refuse_closed(site, [revision])
            contracts.run(stepper, revision)
        except exceptions.GateClosed as closed:
            if not available:
                raise
            return Contracted(tuple(done), closed.blockers)
        done.append(revision)
    return Contracted(tuple(done))


def _unfinished(site: Site) -> frozenset[str]:
    """The data migrations of revisions that are half applied: their rows are moved when it goes on."""
    with connect(site.engine) as connection:
        if not state.exists(connection):
            return frozenset()
        names: set[str] = set()
        for revision in state.open_revisions(connection):
            if revision in site.project.graph and site.project.graph.phase(revision) is Phase.CONTRACT:
                required = site.project.graph.revisions[revision].requires
                names |= set(required) if isinstance(required, tuple) else set()
        return frozenset(names)


def _blockers(site: Site, revisions: Sequence[str]) -> list[exceptions.Blocker]:
    applied = site.applied()
    with connect(site.engine) as connection:
        return _gate(site, connection, applied).blockers(revisions)


def _refuse_closed(site: Site, revisions: Sequence[str], unfinished: frozenset[str] = frozenset()) -> None:
    blockers = [b for b in _blockers(site, revisions) if b.object not in unfinished]
    if blockers:
        half = "a contract revision is half applied (online-migrate status); it goes on when the gate is open"
        raise exceptions.GateClosed(blockers, hint=half if _unfinished(site) else None)


def _resume(site: Site, revisions: Sequence[str]) -> None:
    """Brings half-applied contract revisions to where they can go on.

    What the old version wrote while such a revision lay there is migrated, after the triggers that kept
    it in step are back.
    """
    names: set[str] = set()
    with site.stepper() as stepper:
        for revision in contracts.half_applied(stepper, revisions):
            site.say(f"contract {revision}: was begun and not finished; going on")
            for statement in contracts.put_back(stepper, revision):
                site.say(f"contract {revision}: undone until the rows are in step: {statement}")
            required = site.project.graph.revisions[revision].requires
            names |= set(required) if isinstance(required, tuple) else set()
    chosen = _readable(site, [m for name, m in site.project.data_migrations.items() if name in names])
    if not chosen:
        return
    with _at_work(site, Limits()) as place:
        for result in _run_all(site, place, chosen, site.applied()):
            if result.outcome is not Outcome.COMPLETE:
                site.say(f"{result.name}: {result.error or result.outcome.value}")


def _readable(site: Site, migrations: Sequence[DataMigration]) -> list[DataMigration]:
    found = []
    with connect(site.engine) as connection:
        for migration in migrations:
            with contextlib.suppress(exceptions.PendingUnreadable):
                subject = migration.subject(connection)
                if subject.pending is not None and missing_in(connection, subject) is None:
                    found.append(migration)
    return found


# --- the whole way -------------------------------------------------------------------------------


def upgrade(site: Site, *, statement_done: bool | None = None) -> list[Result]:
    """Takes a database the whole way: release by release where releases are given, else all expands,
    the data migrations in their order, all contracts.

    For a fresh database, or one that no service uses. Functions are not called where there is no row.
    Raises :class:`~online_migrate.exceptions.GateClosed` where rows are left that cannot be migrated.
    *statement_done*: as for :func:`expand`.
    """
    graph = site.project.graph
    applied = site.applied()
    fresh = not applied
    left = [revision for revision in graph.revisions if revision not in applied]
    site.refuse_long_ids(left)
    site.prepare()
    if statement_done is not None:
        with site.stepper() as stepper:
            stepper.answer(left, done=statement_done, command="upgrade")
    results: list[Result] = []
    for leg in releases.legs(graph, site.project.data_migrations):
        with site.stepper() as stepper:
            expands.run(stepper, expands.plan(graph, stepper.applied(), leg.expand, with_base=True))
        chosen = [site.project.data_migrations[name] for name in leg.migrations]
        results += _upgrade_data(site, chosen, fresh=fresh)
        if exit_code(results):
            return results
        if leg.contract is not None:
            contract(site, leg.contract)
    return results


def _upgrade_data(site: Site, chosen: Sequence[DataMigration], *, fresh: bool) -> list[Result]:
    applied = site.applied()
    _refuse_unexpanded(chosen, applied, site.project.graph)
    empty = [m for m in chosen if isinstance(m, CountedMigration) and _is_empty(site, m, fresh=fresh)]
    for migration in empty:
        with connect(site.engine) as connection, connection.begin():
            state.start_record(connection, migration.name)
            state.set_status(connection, migration.name, state.Status.COMPLETE)
    others = [migration for migration in chosen if migration not in empty]
    with _at_work(site, Limits()) as place:
        return runner.each(_run_all(site, place, others, applied), site.listener)


def _is_empty(site: Site, migration: CountedMigration, *, fresh: bool) -> bool:
    """True if there is no row that the function could be called for."""
    if migration.table is None:
        return fresh
    with connect(site.engine) as connection:
        table = migration.subject(connection).table
        return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None


# --- what a person wants to see ------------------------------------------------------------------


def status(site: Site) -> reports.Report:
    """Where the database stands. Reads only."""
    site.project.data_migrations  # noqa: B018 - a broken project is said first
    applied = site.applied()
    with site.reading() as connection:
        return reports.make_report(connection, site.project, applied, url=safe_url(site.engine.url))


def plan(site: Site) -> Plan:
    """The SQL of what each phase would do to this database. Executes none of it."""
    applied = site.applied()
    with site.reading() as connection:
        return make_plan(connection, site.project, site.environment, applied)


@dataclasses.dataclass(frozen=True)
class HistoryLine:
    """One revision, for ``history`` and ``heads``."""

    revision: str
    phase: Phase
    doc: str
    release: str | None
    head: bool
    parents: tuple[str, ...]


def history(site: Site) -> list[HistoryLine]:
    """Every revision, the oldest first. Needs no database."""
    graph = site.project.graph
    heads = set(graph.heads.values()) - _branch_point(graph)
    return [
        HistoryLine(r.id, graph.phase(r.id), r.doc, r.release, r.id in heads, r.down)
        for r in graph.revisions.values()
    ]


def _branch_point(graph: Graph) -> set[str]:
    """The end of the base, where branches have grown out of it."""
    grown = Phase.EXPAND in graph.heads or Phase.CONTRACT in graph.heads
    return {graph.heads[Phase.BASE]} if grown and Phase.BASE in graph.heads else set()


def current(site: Site) -> dict[Phase, reports.PhaseState]:
    """The effective position on each branch, by ancestry."""
    graph, applied = site.project.graph, site.applied()
    return {
        phase: reports.PhaseState(
            graph.position(applied, phase),
            graph.heads.get(phase),
            tuple(revision for revision in graph.of(phase) if revision not in applied),
        )
        for phase in Phase
        if phase in graph.heads
    }


def stamp(site: Site, targets: Sequence[str]) -> tuple[str, ...]:
    """Writes down that the database is at *targets*, without running anything; gives the new rows.

    The position on the branch that is not named stays as it is.
    """
    graph = site.project.graph
    environment = site.environment
    site.run_environment_writes()
    with migrator(site.engine, site.project.settings, clock=site.clock, stop=site.stop) as session:
        connection = session.connection
        rows = state.version_rows(connection, environment.version_table, environment.version_schema)
        connection.rollback()
        new = stamping.rows_after(graph, graph.applied(rows), targets)
        with session.dialect.writing(connection):
            stamping.write(connection, site.project, environment, new)
    return new
