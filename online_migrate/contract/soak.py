"""Renames what a contract revision drops, so that no code reaches it, and leaves it for a time.

Invariants:

* The objects are renamed under the lock and the verification of contract: from that moment code that uses
  them fails, as it does after contract.
* What is renamed is recorded before the first statement. Where DDL commits implicitly the statements are in
  the journal, under a name of their own, and a run that was killed is continued or undone.
* A run that was killed between two renames is continued from the beginning: its names and triggers are
  brought back, the rows that were written without the triggers are compared, and all statements are executed
  again. So the last rename and the drop of the triggers are always in one run, under its lock.
* The drop of contract names the objects by their soaked names. They never have their own names again before
  they are gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from online_migrate import exceptions, state
from online_migrate.contract.announcement import Announcement
from online_migrate.contract.before_lock import Targets
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.locked_verification import verified_facts
from online_migrate.contract.not_null import NotNullProofs
from online_migrate.contract.runner import ContractGuard, required_by
from online_migrate.contract.soak_plan import SoakPlan
from online_migrate.contract.soak_return import NamesBack, rows_out_of_step
from online_migrate.ddl.executor import AllowAll, Executor, Guard
from online_migrate.ddl.forms import SafeForms
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.ddl.journal import Journal
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.exceptions import Blocker
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.soaked import SoakStep
from online_migrate.state import Soak, SoakState

_THEN = "online-migrate contract --soak"


def resume(runner: RevisionRunner, revision: str) -> tuple[Blocker, ...]:
    """Prepares a soak that an earlier run began or brought back; returns the rows that are out of step.

    What a killed run has renamed is brought back, unless it has renamed everything. Changes nothing for a
    revision that does not soak, or soaks. Raises :class:`~online_migrate.exceptions.GateClosed` if a name is
    taken.
    """
    known = state.soaks(runner.session.connection).get(revision)
    runner.session.connection.rollback()
    if known is None or known.state not in (SoakState.BEGUN, SoakState.RETURNED):
        return ()
    if known.state is SoakState.BEGUN:
        names = NamesBack(runner, known)
        if len(names.soaked()) == len(known.plan.objects):
            return ()
        runner.echo(f"contract {revision}: its soak was begun; continuing from its first statement")
        records = runner.session.journal_connection or runner.session.connection
        journal = journal_of(runner, revision)

        def undone() -> None:
            journal.close(records)
            if records is not runner.session.connection:
                records.commit()

        names.run(lambda: None, undone, then=_THEN)
    return rows_out_of_step(runner, known, then=_THEN)


def begin(
    runner: RevisionRunner, revision: str, services: LiveServices, plan: SoakPlan, *, soak_time: float | None
) -> bool:
    """Makes the objects of *revision* soak; the gate has checked it. Returns False if it drops none.

    A soak that has begun is completed; of one that is complete only the time is changed. *soak_time*: None:
    the recorded one, or the setting. Raises what :func:`~online_migrate.contract.runner.run` raises.
    """
    connection = runner.session.connection
    known = state.soaks(connection).get(revision)
    connection.rollback()
    if known is not None and known.state is SoakState.SOAKING:
        _keep(runner, known, soak_time)
        return True
    if not plan.soaking.objects:
        runner.echo(f"contract {revision}: drops no column and no table, so nothing soaks")
        return False
    _Soak(runner, revision, services, plan, known, soak_time).run()
    for one in plan.soaking.objects:
        runner.echo(f"contract {revision}: {one} is now named {one.soaked}")
    return True


def _keep(runner: RevisionRunner, soak: Soak, soak_time: float | None) -> None:
    """Leaves a complete soak as it is; gives it another time if one is given."""
    connection = runner.session.connection
    if soak_time is not None and int(soak_time) != soak.soak_time:
        with runner.session.dialect.write_transaction(connection):
            state.set_soak(connection, soak.revision, soak.state, soak_time=int(soak_time))
            connection.commit()
    runner.echo(f"contract {soak.revision}: already soaks")


def journal_of(runner: RevisionRunner, revision: str) -> Journal:
    """Returns the journal of the soak of a revision, with the entries of earlier runs."""
    session = runner.session
    name = state.soak_name_of(revision)
    return Journal(name, session.dialect, session.connection, session.journal_connection, command="contract")


class _SoakGuard(ContractGuard):
    """Authorizes the statements of a soak, which are the engine's own."""

    def _say_if_additive(self, statement: str) -> None:
        """Prints nothing: no script has the statement."""


class _Soak:
    """One soak of one revision. *known*: what an earlier run has begun, or brought back."""

    def __init__(
        self,
        runner: RevisionRunner,
        revision: str,
        services: LiveServices,
        plan: SoakPlan,
        known: Soak | None,
        soak_time: float | None,
    ) -> None:
        self._runner = runner
        self._revision = revision
        self._services = services
        self._plan = plan
        self._known = known
        self._continues = known is not None and known.state is SoakState.BEGUN
        if soak_time is None:
            soak_time = runner.project.settings.soak_time
            soak_time = known.soak_time if known is not None and self._continues else soak_time
        self._soak_time = int(soak_time)
        self._session = runner.session
        self._records = runner.session.journal_connection or runner.session.connection
        self._required = required_by(runner.project.graph, revision)
        self._targets = Targets(runner, revision, self._required)
        self._applied = runner.applied()
        self._announcement = Announcement(
            runner, revision, attestation=services.attestation, begun=self._has_begun
        )

    def run(self) -> None:
        with self._announcement:
            try:
                self._runner.repeat(
                    self._revision, self._attempt, before=self._before, tables=self._targets.names
                )
            except exceptions.GateClosed as closed:
                raise exceptions.GateClosed(closed.blockers, hint=self._what_is_done()) from closed
            finally:
                self._forget_if_not_begun()

    def _before(self) -> None:
        self._services = self._services.before_lock(self._session.connection)

    def _attempt(self, queue_limit: float) -> None:
        connection, dialect, queue = self._session.connection, self._session.dialect, self._session.queue
        journal = journal_of(self._runner, self._revision)
        with dialect.write_transaction(connection):
            self._record()
            journal.open()
            queue.limit(queue_limit)
            with dialect.around_revision(connection):
                self._send(journal, AllowAll(), [s for s in self._plan.steps if not s.locked])
                self._announcement.begin()
                proofs = NotNullProofs(self._runner, self._revision, self._required, self._applied, ())
                guard = _SoakGuard(
                    self._runner,
                    self._revision,
                    self._required,
                    journal,
                    self._targets.named,
                    self._applied,
                    proofs,
                    self._services,
                )
                with guard, self._locked():
                    self._send(journal, guard, [s for s in self._plan.steps if s.locked])
            queue.limit(self._runner.project.settings.lock_timeout)
            self._finish(journal)
            connection.commit()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Locks the tables if the guard locks none, because the revision requires no data migration.

        Without a lock a row could be written between the drop of its triggers and the rename.
        """
        plan = self._plan.soaking
        if self._required or not plan.dropped:
            yield
            return
        dialect = self._session.dialect
        targets = sorted({dialect.target_of(one, soaked=False) for one in plan.objects}, key=str)
        lock = HeldLock(dialect, self._session.connection, self._session.queue, targets)
        try:
            yield
        finally:
            lock.free()

    def _record(self) -> None:
        """Records what is about to be renamed; each attempt does, because a transaction is rolled back."""
        soak = state.soaks(self._records).get(self._revision)
        if soak is not None and soak.state is SoakState.RETURNED:
            state.end_soak(self._records, self._revision)
            state.close_journal(self._records, state.soak_name_of(self._revision))
            soak = None
        if soak is None:
            state.begin_soak(
                self._records,
                self._revision,
                self._plan.soaking,
                self._plan.steps,
                soak_time=self._soak_time,
            )
        self._commit()

    def _send(self, journal: Journal, guard: Guard, steps: Sequence[SoakStep]) -> None:
        if not steps:
            return
        connection, dialect = self._session.connection, self._session.dialect
        forms = SafeForms(dialect, self._records, commit=self._records is not connection)
        safe = None if all(step.locked for step in steps) else forms
        executor = Executor(dialect, connection, self._session.queue, journal, guard, safe)
        with executor.active():
            for step in steps:
                connection.exec_driver_sql(step.sql, execution_options={"no_parameters": True})

    def _finish(self, journal: Journal) -> None:
        facts = {name: one.as_fact() for name, one in verified_facts(self._records, self._revision).items()}
        state.set_soak(
            self._records,
            self._revision,
            SoakState.SOAKING,
            verified=facts,
            soaked_at=state.server_epoch(self._records),
            soak_time=self._soak_time,
        )
        journal.close(self._records)
        self._commit()

    def _commit(self) -> None:
        if self._records is not self._session.connection:
            self._records.commit()

    def _has_begun(self) -> bool:
        if self._continues:
            return True
        journal = journal_of(self._runner, self._revision)
        journal.open()
        self._session.connection.rollback()
        return journal.begun

    def _forget_if_not_begun(self) -> None:
        """Makes the record as it was, if it was committed and no statement of the soak was executed."""
        if self._records is self._session.connection or self._continues:
            return
        with contextlib.suppress(*CLEANUP_ERRORS):
            # After a lost connection the record stays, and the next command tells how to go on.
            self._records.rollback()
            soak = state.soaks(self._records).get(self._revision)
            if soak is not None and soak.state is SoakState.BEGUN and not self._has_begun():
                state.end_soak(self._records, self._revision)
                state.close_journal(self._records, state.soak_name_of(self._revision))
                if self._known is not None:
                    state.put_soak(self._records, self._known)
            self._records.commit()

    def _what_is_done(self) -> str:
        if not self._has_begun():
            return "nothing was changed"
        return (
            "the soak is begun and recorded; resolve the blockers, then: online-migrate contract --soak; "
            "or bring everything back: online-migrate contract --unsoak"
        )
