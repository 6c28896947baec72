"""Applies one revision, resumably; used by expand and by contract."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep

from online_migrate import exceptions
from online_migrate.ddl.executor import AllowAll, Executor, Guard
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.session import Session, server_down
from online_migrate.driver_errors import (
    CLEANUP_ERRORS,
    DATABASE_ERRORS,
    error_message,
    find_cause,
    statement_of,
)
from online_migrate.runtime.environment import Environment, applied_revisions
from online_migrate.runtime.recording import rehearse
from online_migrate.runtime.veto import refuse_contract_steps
from online_migrate.script.graph import Phase
from online_migrate.script.project import Project
from online_migrate.sql.statement import identifiers, shorten
from online_migrate.waiting import Clock, Stop, backoff

LONGEST_PAUSE = 10.0
"""The longest pause between two attempts, in seconds.

It is below the session timeout, so that the server does not end the session during a pause.
"""


class GuardFactory(contextlib.AbstractContextManager[Guard], Protocol):
    """A context manager that sets up a guard before the first statement of a revision.

    It releases the guard's locks after the last statement.
    """


@dataclasses.dataclass(frozen=True)
class RevisionRunner:
    """Applies revisions with the project, the session and the environment of one command."""

    project: Project
    environment: Environment
    session: Session
    clock: Clock
    stop: Stop
    echo: Callable[[str], None]

    def applied(self) -> frozenset[str]:
        """Returns the revisions that are applied to the database now."""
        applied = applied_revisions(self.session.connection, self.project, self.environment)
        self.session.connection.rollback()
        return applied

    def journal(self, revision: str) -> Journal:
        """Returns the journal of a revision, with the entries of earlier runs."""
        journal = self._journal(revision, self.session.journal_connection)
        journal.open()
        if self.session.journal_connection is None:
            self.session.connection.rollback()
        return journal

    def _journal(self, revision: str, side: sa.Connection | None) -> Journal:
        phase = self.project.graph.phase(revision)
        command = "upgrade" if phase is Phase.BASE else str(phase)
        return Journal(revision, self.session.dialect, self.session.connection, side, command=command)

    def answer(self, revisions: Sequence[str], *, done: bool, command: str) -> None:
        """Records the operator's answer for the one statement of *revisions* that was asked about.

        *done*: the statement was executed. *command*: the command for the error message. Raises
        :class:`~online_migrate.exceptions.NothingAsked` if there is no such statement.
        """
        for revision in revisions:
            entry = self.journal(revision).answer(done=done)
            if entry is not None:
                said = "recorded as done" if done else "recorded as not done; it is sent again"
                self.echo(f"{revision}: {said}: {shorten(entry.statement)}")
                return
        raise exceptions.NothingAsked(command=command)

    def apply(
        self,
        revision: str,
        *,
        watch: Callable[[Journal], GuardFactory] | None = None,
        finish: Callable[[], None] | None = None,
        tables: Sequence[str] = (),
    ) -> None:
        """Applies *revision*, and tries again after a lock timeout.

        *watch*: makes the guard of its statements; None: every statement is authorized. *finish*: called in
        the transaction that writes the version row. *tables*: the tables whose blocking sessions are listed
        after a lock timeout; without it, the names in the statement that failed. Raises
        :class:`~online_migrate.exceptions.LockGivenUp`, :class:`~online_migrate.exceptions.RevisionFailed`,
        :class:`~online_migrate.exceptions.ServerDown`, :class:`~online_migrate.exceptions.Stopped` if a stop
        was requested before the start, or what the guard raises.
        """
        if self.stop.requested:
            raise exceptions.Stopped(reason=self.stop.reason, revision=revision)
        settings = self.project.settings
        pauses = backoff(
            waited=self.session.dialect.lock_wait(settings.lock_timeout),
            attempts=settings.lock_attempts,
            longest=LONGEST_PAUSE,
            jitter=random.Random(),
        )
        attempt = 0
        while True:
            attempt += 1
            try:
                self._attempt(revision, watch, finish)
            except Exception as error:
                self._reset()
                self._forget_intent(revision)
                if not self._is_lock_timeout(error):
                    raise self._explained(revision, error) from error
                self._pause(revision, attempt, pauses, tables, error)
            else:
                return

    def _attempt(
        self,
        revision: str,
        watch: Callable[[Journal], GuardFactory] | None,
        finish: Callable[[], None] | None,
    ) -> None:
        connection, dialect = self.session.connection, self.session.dialect
        journal = self._journal(revision, self.session.journal_connection)
        script = self.project.script
        step: Any = MigrationStep.upgrade_from_script(script.revision_map, script.get_revision(revision))
        upgrade = step.migration_fn

        def run(**keywords: Any) -> None:
            rehearse(self.session, self.environment, step, revision)
            journal.open()
            guarded = contextlib.nullcontext(AllowAll()) if watch is None else watch(journal)
            accepted = self.project.graph.revisions[revision].batch_losses
            with dialect.around_revision(connection, accepted_losses=accepted), guarded as guard:
                if watch is None and not journal.begun:
                    journal.record_intent()
                with Executor(dialect, connection, journal, guard).active():
                    upgrade(**keywords)
            if finish is not None:
                finish()
            journal.close(connection)

        run.__name__ = upgrade.__name__  # for Alembic's log line "Running upgrade"
        step.migration_fn = run
        with dialect.write_transaction(connection):
            with self._context(lambda heads, context: [step]) as context:
                context.run_migrations()
            # Alembic commits its own transaction; this ends the one in which the version table was read.
            connection.commit()

    @contextlib.contextmanager
    def _context(self, steps: Callable[[Any, Any], Any]) -> Iterator[EnvironmentContext]:
        project, dialect = self.project, self.session.dialect
        function = refuse_contract_steps(steps, project.config, project.script)
        with EnvironmentContext(project.config, project.script, fn=function) as context:
            options = self.environment.options | {
                "transaction_per_migration": True,
                "transactional_ddl": dialect.transactional_ddl,
            }
            context.configure(connection=self.session.connection, **options)
            yield context

    def _forget_intent(self, revision: str) -> None:
        """Deletes an intent without a begun statement: the revision must not count as half applied."""
        side = self.session.journal_connection
        if side is None:
            return
        with contextlib.suppress(*CLEANUP_ERRORS):
            journal = self._journal(revision, side)
            journal.open()
            if not journal.begun:
                journal.close(side)
                side.commit()

    def _reset(self) -> None:
        for connection in (self.session.connection, self.session.journal_connection):
            if connection is not None:
                with contextlib.suppress(*CLEANUP_ERRORS):
                    connection.rollback()

    def _is_lock_timeout(self, error: Exception) -> bool:
        return isinstance(error, CLEANUP_ERRORS) and self.session.dialect.is_lock_timeout(error)

    def _pause(
        self, revision: str, attempt: int, pauses: Iterator[float], tables: Sequence[str], error: Exception
    ) -> None:
        statement = statement_of(error) or ""
        blockers = self._blockers(tables or identifiers(statement, self.session.dialect.name))
        pause = next(pauses, None)
        if pause is None or self.stop.requested:
            raise exceptions.LockGivenUp(
                what=", ".join(tables) or shorten(statement, 60) or f"the objects of revision {revision}",
                attempts=attempt,
                timeout=self.session.dialect.lock_wait(self.project.settings.lock_timeout),
                blockers="".join(f"\n  held by {line}" for line in blockers),
            ) from error
        waited = self.session.dialect.lock_wait(self.project.settings.lock_timeout)
        self.echo(
            f"{revision}: no lock after {waited:g} s"
            f"{' (' + blockers[0] + ')' if blockers else ''}; next try in {pause:.1f} s"
        )
        self.clock.wait(pause, self.stop)

    def _blockers(self, tables: Sequence[str]) -> list[str]:
        # The journal connection may have an open transaction, which must not be listed.
        self._reset()
        try:
            return self.session.dialect.blocking_sessions(self.session.connection, tables)
        except CLEANUP_ERRORS:
            # The list is additional information; the user may lack the privilege to read other sessions.
            return []
        finally:
            self._reset()

    def _explained(self, revision: str, error: Exception) -> Exception:
        refusal = find_cause(error, exceptions.OnlineMigrateError)
        if refusal is not None:
            return refusal
        if isinstance(error, DATABASE_ERRORS):
            if self.session.dialect.is_connection_lost(error):
                return server_down(self.session.connection.engine.url, error)
            return exceptions.RevisionFailed(revision=revision, reason=error_message(error))
        return exceptions.RevisionFailed(
            revision=revision, reason=f"{type(error).__name__}: {' '.join(str(error).split())}"
        )
