"""``verify``: creates the barrier of a data migration, checks every row of it, and drops the barrier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.command import run
from online_migrate.command.revisions import require_ddl_connections, revision_runner
from online_migrate.context import CommandContext
from online_migrate.contract import barrier_ddl
from online_migrate.contract.barrier import (
    BARRIER_GONE,
    NoBarrier,
    bad_row,
    barrier_blocker,
    barrier_of,
    expressions_text,
    live_barrier,
)
from online_migrate.contract.gate import Gate
from online_migrate.contract.live_services import LiveServices
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.visibility import require_visible
from online_migrate.migrate.options import MigrateOptions, require_connections_of
from online_migrate.migrate.verification import RowVerifier, VerificationTaken, VerifyOutcome, VerifyResult
from online_migrate.runtime.rendering import renderer
from online_migrate.script.graph import UNDECLARED, Graph, Phase
from online_migrate.state import BarrierState, Verification, VerifyStatus

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_ROWS = ("pending-rows", "unverified-rows")
"""The blockers that a verification of the rows reports itself."""
_MENDED = (*BARRIER_GONE, "not-counted")
"""The blockers that a new barrier and the verification after it remove."""


def verify(
    context: CommandContext,
    names: Sequence[str] = (),
    limits: MigrateOptions | None = None,
    *,
    barrier: bool = False,
    attest: str | None = None,
) -> list[VerifyResult]:
    """Creates the barriers of the data migrations *names*, and checks every row of their tables.

    Without *names*: those that the contract revisions require that are not applied. *limits*: as for
    :func:`~online_migrate.command.data.migrate`. *barrier*: says that no live code writes pending rows, in a
    project that declares no services. *attest*: see :func:`~online_migrate.command.schema.contract`.

    Raises :class:`~online_migrate.exceptions.GateClosed` if a live service would be refused, or the data
    migration is not complete.
    """
    limits = limits or MigrateOptions()
    applied, graph = context.applied(), context.project.graph
    chosen = [context.project.data_migration(name) for name in names or _required(graph, applied)]
    context.require_guard()
    run.refuse_unexpanded(chosen, applied, graph)
    _refuse_contracted(context, chosen, applied)
    require_connections_of(context.engine, limits.apply_to(context.project.settings))
    require_ddl_connections(context, "verify")
    context.ensure_state_tables()
    services = LiveServices.of(context.project, attest=attest)
    found = []
    for migration in chosen:
        one = _Verifying(context, migration, applied, services, explicit=barrier)
        found.append(one.run(limits))
    return found


def drop_barrier(context: CommandContext, name: str) -> bool:
    """Drops the barrier of data migration *name*; returns False if it has none.

    Needed before a version of the application is started again that writes pending rows.
    """
    context.project.data_migration(name)
    context.ensure_state_tables()
    with revision_runner(context) as runner:
        recorded = state.get_verification(runner.session.connection, name)
        runner.session.connection.rollback()
        if recorded is None or recorded.barrier is None:
            return False
        barrier_ddl.drop_barrier(runner, recorded)
        return True


def _requiring(graph: Graph, applied: frozenset[str], name: str) -> list[str]:
    """Returns the contract revisions that are not applied and require data migration *name*."""
    found = []
    for revision in graph.of(Phase.CONTRACT):
        required = graph.revisions[revision].requires
        if revision not in applied and required is not UNDECLARED and name in required:
            found.append(revision)
    return found


def _required(graph: Graph, applied: frozenset[str]) -> list[str]:
    """Returns the data migrations that contract revisions require which are not applied, each once."""
    names: dict[str, None] = {}
    for revision in graph.of(Phase.CONTRACT):
        required = graph.revisions[revision].requires
        if revision not in applied and required is not UNDECLARED:
            names |= dict.fromkeys(required)
    return list(names)


def _refuse_contracted(
    context: CommandContext, chosen: Sequence[DataMigration], applied: frozenset[str]
) -> None:
    with connect(context.engine) as connection:
        over = run.contracted(context, connection, applied)
    for migration in chosen:
        if migration.name in over and not _requiring(context.project.graph, applied, migration.name):
            raise exceptions.Refused(
                reason=f"data migration {migration.name} is over: contract revision {over[migration.name]} "
                "is applied",
                hint="online-migrate status",
            )


class _Verifying:
    """The verification of one data migration. *explicit*: a barrier was asked for."""

    def __init__(
        self,
        context: CommandContext,
        migration: DataMigration,
        applied: frozenset[str],
        services: LiveServices,
        *,
        explicit: bool,
    ) -> None:
        self._context = context
        self._migration = migration
        self._applied = applied
        self._services = services
        self._explicit = explicit
        self._revisions = _requiring(context.project.graph, applied, migration.name)

    def run(self, limits: MigrateOptions) -> VerifyResult:
        """Creates the barrier if there is none, checks the rows, and lets the server check them."""
        recorded, usable = self._recorded()
        if recorded is not None and recorded.barrier_state in (BarrierState.CREATING, BarrierState.REMOVING):
            self._drop(recorded)
            recorded = None
        note = None
        if not usable:
            note = self._why_no_barrier()
            if note is None:
                self._create(recorded)
                recorded, usable = self._recorded()
            elif recorded is not None and recorded.barrier is not None:
                raise self._unusable(recorded, note)
        if recorded is None or not usable or recorded.status is not VerifyStatus.COMPLETE:
            outcome = self._walk(recorded, limits, usable)
        else:
            outcome = VerifyOutcome.COMPLETE
        if outcome is VerifyOutcome.COMPLETE and usable:
            with revision_runner(self._context) as runner:
                barrier_ddl.validate_barrier(runner, self._migration)
        return self._result(outcome, note)

    def _result(self, outcome: VerifyOutcome, note: str | None) -> VerifyResult:
        recorded, usable = self._recorded()
        assert recorded is not None
        return VerifyResult(
            self._migration.name,
            outcome,
            checked=recorded.checked,
            failing=recorded.failing,
            keys=recorded.failing_keys,
            barrier=recorded.barrier if usable else None,
            note=note,
        )

    def _unusable(self, recorded: Verification, note: str) -> exceptions.Refused:
        """Returns the error for a barrier that is not usable, and cannot be created again."""
        name = self._migration.name
        return exceptions.Refused(
            reason=f"barrier {recorded.barrier} is not in place for the conditions of {name}, and no new one "
            f"is created: {note}",
            hint=f"online-migrate verify {name} --drop-barrier",
        )

    def _recorded(self) -> tuple[Verification | None, bool]:
        """Returns what is recorded, and whether the barrier is in place and has today's condition."""
        with connect(self._context.engine) as connection:
            recorded = state.get_verification(connection, self._migration.name)
            if recorded is None or recorded.barrier_state is not BarrierState.CREATED:
                return recorded, False
            subject = self._migration.subject(connection)
            live = live_barrier(connection, recorded)
            in_place = live is not None and barrier_blocker(recorded, live) is None
            same_table = live is not None and live.has_table_version(recorded.definition)
            same_condition = recorded.expressions == expressions_text(connection, subject)
            return recorded, in_place and same_table and same_condition

    # --- the barrier -----------------------------------------------------------------------------

    def _why_no_barrier(self) -> str | None:
        """Returns why the rows are verified without a barrier; None: it is to be created.

        Raises :class:`~online_migrate.contract.barrier.NoBarrier` if a barrier was asked for explicitly, and
        :class:`~online_migrate.exceptions.GateClosed`.
        """
        if not self._revisions:
            return "no contract revision that is not applied requires it"
        with connect(self._context.engine) as connection:
            try:
                barrier_of(connection, self._migration, self._migration.subject(connection))
            except NoBarrier as refusal:
                if self._explicit:
                    raise
                return str(refusal.reason)
            finally:
                connection.rollback()
        if not self._services_allow() and not self._explicit:
            return (
                "the project declares no services, so it is unknown whether code of the old version runs; "
                "if none does: --barrier"
            )
        return self._rows_in_the_way()

    def _services_allow(self) -> bool:
        """Returns False if no service is declared, and none has reported.

        Raises :class:`~online_migrate.exceptions.GateClosed` if a live service would be refused.
        """
        with connect(self._context.engine) as connection:
            check = self._services.check(connection, self._revisions)
        if check.blockers:
            raise exceptions.GateClosed(
                check.blockers, hint="no barrier was created: it would refuse what a live service writes"
            )
        return check.checked

    def _rows_in_the_way(self) -> str | None:
        """Returns why no barrier is created: rows are pending, or fail ``verify``; None: none does.

        Raises :class:`~online_migrate.exceptions.GateClosed` for another blocker of the data migration.
        """
        project = self._context.project
        with self._context.read_connection() as connection:
            gate = Gate(
                project.graph,
                project.data_migrations,
                connection,
                self._applied,
                project.settings.gate_timeout,
                self._services,
                renderer(project, connection),
            )
            found = gate.of_migration(self._migration.name, self._revisions[0])
        left = [blocker for blocker in found if blocker.id not in _MENDED]
        others = [blocker for blocker in left if blocker.id not in _ROWS]
        if others:
            raise exceptions.GateClosed(others, hint=f"no barrier was created; {others[0].hint}")
        return left[0].reason if left else None

    def _create(self, recorded: Verification | None) -> None:
        if recorded is not None and recorded.barrier is not None:
            self._drop(recorded)
        with revision_runner(self._context) as runner:
            self._context.echo(f"verify {self._migration.name}: creating the barrier")
            barrier_ddl.create_barrier(runner, self._migration, self._require_services)

    def _require_services(self) -> None:
        """Refuses, in the moment before the barrier is created, a service that has started since."""
        self._services_allow()

    def _drop(self, recorded: Verification) -> None:
        with revision_runner(self._context) as runner:
            barrier_ddl.drop_barrier(runner, recorded)

    # --- the rows --------------------------------------------------------------------------------

    def _walk(
        self, recorded: Verification | None, limits: MigrateOptions, has_barrier: bool
    ) -> VerifyOutcome:
        """Checks the rows, from the checkpoint of *recorded* if its conditions are those of today."""
        with connect(self._context.engine) as connection:
            subject = self._migration.subject(connection)
            require_visible(connection, self._migration, subject)
            new = Verification(
                self._migration.name,
                subject.table.name,
                subject.table.schema,
                expressions_text(connection, subject),
            )
            connection.rollback()
            if not has_barrier and (recorded is None or recorded.expressions != new.expressions):
                self._replace(connection, recorded, new)
        with run.run_context(self._context, limits) as opened:
            verifier = RowVerifier(opened, self._migration.name, subject.table, bad_row(subject))
            return verifier.run(new.expressions)

    def _replace(self, connection: Connection, recorded: Verification | None, new: Verification) -> None:
        """Records *new* in place of *recorded*, which was read before.

        Raises :class:`~online_migrate.migrate.verification.VerificationTaken` if another process has recorded
        a barrier since: without its record nothing would drop it.
        """
        with dialect_of(connection).write_transaction(connection):
            found = state.get_verification(connection, new.name, for_update=True)
            if (
                found is not None
                and found.barrier is not None
                and (recorded is None or recorded.barrier != found.barrier)
            ):
                connection.rollback()
                raise VerificationTaken(name=new.name)
            state.put_verification(connection, new)
            connection.commit()
