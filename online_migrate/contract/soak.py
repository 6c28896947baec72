"""Renames what a contract revision drops, so that no code reaches it, and leaves it for a time.

Invariants:

* The objects are renamed under the lock and the verification of contract: from that moment code that uses
  them fails, as it does after contract.
* What is renamed is recorded before the first statement. Where DDL commits implicitly the statements are in
  the journal, under a name of their own, and a run that was killed is continued or undone.
* The drop of contract names the objects by their soaked names. They never have their own names again before
  they are gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from online_migrate import exceptions, state
from online_migrate.contract.announcement import Announcement
from online_migrate.contract.before_lock import Targets
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.locked_verification import verified_facts
from online_migrate.contract.not_null import NotNullProofs
from online_migrate.contract.runner import ContractGuard, required_by
from online_migrate.contract.soak_plan import SoakPlan, soak_plan
from online_migrate.ddl.executor import AllowAll, Executor, Guard
from online_migrate.ddl.forms import SafeForms
from online_migrate.ddl.journal import Journal
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.soaked import SoakStep
from online_migrate.state import SoakState


def begin(runner: RevisionRunner, revision: str, services: LiveServices, *, soak_time: float) -> bool:
    """Makes the objects of *revision* soak; the gate has checked it. Returns False if it drops none.

    A soak that has begun is completed; one that is complete is left as it is. Raises what
    :func:`~online_migrate.contract.runner.run` raises, and :class:`~online_migrate.exceptions.GateClosed`
    for what cannot soak.
    """
    known = state.soaks(runner.session.connection).get(revision)
    runner.session.connection.rollback()
    if known is not None and known.state is SoakState.SOAKING:
        runner.echo(f"contract {revision}: already soaks")
        return True
    if known is not None:
        runner.echo(f"contract {revision}: its soak was begun; continuing")
    plan = soak_plan(runner, revision) if known is None else SoakPlan(known.plan, known.steps)
    if not plan.soaking.objects:
        runner.echo(f"contract {revision}: drops no column and no table, so nothing soaks")
        return False
    _Soak(runner, revision, services, plan, int(soak_time), is_known=known is not None).run()
    for one in plan.soaking.objects:
        runner.echo(f"contract {revision}: {one} is now named {one.soaked}")
    return True


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
    """One soak of one revision. *is_known*: an earlier run has begun it."""

    def __init__(
        self,
        runner: RevisionRunner,
        revision: str,
        services: LiveServices,
        plan: SoakPlan,
        soak_time: int,
        *,
        is_known: bool,
    ) -> None:
        self._runner = runner
        self._revision = revision
        self._services = services
        self._plan = plan
        self._soak_time = soak_time
        self._is_known = is_known
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
            journal.open()
            self._record()
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
                with guard:
                    self._send(journal, guard, [s for s in self._plan.steps if s.locked])
            queue.limit(self._runner.project.settings.lock_timeout)
            self._finish(journal)
            connection.commit()

    def _record(self) -> None:
        """Records what is about to be renamed; each attempt does, because a transaction is rolled back."""
        if self._revision not in state.soaks(self._records):
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
        )
        journal.close(self._records)
        self._commit()

    def _commit(self) -> None:
        if self._records is not self._session.connection:
            self._records.commit()

    def _has_begun(self) -> bool:
        journal = journal_of(self._runner, self._revision)
        journal.open()
        self._session.connection.rollback()
        return journal.begun

    def _forget_if_not_begun(self) -> None:
        """Deletes the record of a soak of which no statement was executed, where it was committed."""
        if self._records is self._session.connection or self._is_known:
            return
        with contextlib.suppress(*CLEANUP_ERRORS):
            # After a lost connection the record stays, and the next command tells how to go on.
            self._records.rollback()
            soak = state.soaks(self._records).get(self._revision)
            if soak is not None and soak.state is SoakState.BEGUN and not self._has_begun():
                state.end_soak(self._records, self._revision)
                state.close_journal(self._records, state.soak_name_of(self._revision))
            self._records.commit()

    def _what_is_done(self) -> str:
        if not self._has_begun():
            return "nothing was changed"
        return (
            "the soak is begun and recorded; resolve the blockers, then: online-migrate contract --soak; "
            "or bring everything back: online-migrate contract --unsoak"
        )
