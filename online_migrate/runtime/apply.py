"""Applies one revision, resumably; used by expand and by contract."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep

from online_migrate import exceptions, state
from online_migrate.ddl.edited_script import source_digest
from online_migrate.ddl.executor import AllowAll, Executor, Guard, Translate
from online_migrate.ddl.forms import SafeForms
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.session import Session, server_down
from online_migrate.ddl.tools.handover import Handover
from online_migrate.ddl.tools.registry import InstalledTool
from online_migrate.ddl.tools.tool import Limits
from online_migrate.dialects import full_url
from online_migrate.driver_errors import (
    CLEANUP_ERRORS,
    DATABASE_ERRORS,
    error_message,
    find_cause,
)
from online_migrate.runtime.catalog_schema import CatalogSchema
from online_migrate.runtime.env_needs import provided
from online_migrate.runtime.environment import Environment, applied_revisions
from online_migrate.runtime.hidden_tables import engine_tables_hidden
from online_migrate.runtime.lock_wait import LockWait, is_lock_timeout
from online_migrate.runtime.recording import rehearse
from online_migrate.runtime.sync_operations import SyncScope, sync_scope
from online_migrate.runtime.veto import refuse_contract_steps
from online_migrate.script.graph import Phase
from online_migrate.script.project import Project
from online_migrate.sql.statement import shorten
from online_migrate.waiting import Clock, Stop


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
    kill_blockers: float | None = None
    """Seconds after which a session that blocks a statement is ended; None: never."""
    ddl_tool: InstalledTool | None = None
    """The tool that executes an ALTER TABLE that would block writers; None: it is refused."""

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

    def _journal(self, revision: str, side: sa.Connection | None, *, undo: bool = False) -> Journal:
        phase = self.project.graph.phase(revision)
        command = "upgrade" if phase is Phase.BASE else str(phase)
        source = source_digest(self.project.graph.revisions[revision].path)
        name = state.rollback_name_of(revision) if undo else revision
        command = "rollback" if undo else command
        return Journal(
            name, self.session.dialect, self.session.connection, side, command=command, source=source
        )

    def lock_wait(self, revision: str, session: Session, tables: Sequence[str] = ()) -> LockWait:
        """Returns the waits of *session* for the locks of one revision; *tables*: see :class:`LockWait`."""
        return LockWait(
            revision,
            session,
            self.project.settings,
            tables=tables,
            kill_after=self.kill_blockers,
            clock=self.clock,
            stop=self.stop,
            echo=self.echo,
        )

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
        before: Callable[[], None] | None = None,
        watch: Callable[[Journal], GuardFactory] | None = None,
        finish: Callable[[], None] | None = None,
        tables: Sequence[str] = (),
        translate: Translate | None = None,
        undo: bool = False,
    ) -> None:
        """Applies *revision*; waits while its tables are not free, see :class:`LockWait`.

        *before*: called before each attempt, outside of its transaction. *watch*: makes the guard of its
        statements; None: every statement is authorized. *finish*: called in the transaction that writes the
        version row. *tables*: the tables whose blocking sessions are listed after a lock timeout; without it,
        the names in the statement that failed. *translate*: see the executor. *undo*: runs its
        ``downgrade``. Raises :class:`~online_migrate.exceptions.LockGivenUp`,
        :class:`~online_migrate.exceptions.RevisionFailed`, :class:`~online_migrate.exceptions.ServerDown`,
        :class:`~online_migrate.exceptions.Stopped` if a stop was requested before the start, or what the
        guard raises.
        """
        if self.stop.requested:
            raise exceptions.Stopped(reason=self.stop.reason, revision=revision)

        def attempt(queue_limit: float) -> None:
            self._attempt(revision, watch, finish, translate, queue_limit=queue_limit, undo=undo)

        self.repeat(revision, attempt, before=before, tables=tables, undo=undo)

    def repeat(
        self,
        revision: str,
        attempt: Callable[[float], None],
        *,
        before: Callable[[], None] | None = None,
        tables: Sequence[str] = (),
        undo: bool = False,
    ) -> None:
        """Calls *attempt*, with the longest wait in a lock queue, until its tables are free.

        See :meth:`apply` for the other arguments and the errors.
        """
        waiting = self.lock_wait(revision, self.session, tables)
        self.session.queue.tell = waiting.tell_awaited
        while True:
            if before is not None:
                before()
            try:
                attempt(waiting.queue_limit)
            except Exception as error:
                self._reset()
                self._forget_intent(revision, undo=undo)
                if not is_lock_timeout(self.session.dialect, error):
                    raise self.explained(revision, error) from error
                waiting.after(error)
            else:
                return

    def _attempt(
        self,
        revision: str,
        watch: Callable[[Journal], GuardFactory] | None,
        finish: Callable[[], None] | None,
        translate: Translate | None,
        *,
        queue_limit: float,
        undo: bool,
    ) -> None:
        connection, dialect = self.session.connection, self.session.dialect
        journal = self._journal(revision, self.session.journal_connection, undo=undo)
        script = self.project.script
        direction = MigrationStep.downgrade_from_script if undo else MigrationStep.upgrade_from_script
        step: Any = direction(script.revision_map, script.get_revision(revision))
        upgrade = step.migration_fn

        def run(**keywords: Any) -> None:
            rehearse(self.session, self.environment, step, revision)
            journal.open()
            # Before the guard locks tables: then no other table can be read.
            syncs = SyncScope.of(connection)
            guarded = contextlib.nullcontext(AllowAll()) if watch is None else watch(journal)
            self.session.queue.limit(queue_limit)
            accepted = self.project.graph.revisions[revision].batch_losses
            with dialect.around_revision(connection, accepted_losses=accepted), guarded as guard:
                if watch is None and not journal.begun:
                    journal.record_intent()
                forms = self._forms(revision, undo=undo)
                handover = None if undo else self._handover(revision)
                executor = Executor(
                    dialect, connection, self.session.queue, journal, guard, forms, handover, translate
                )
                with executor.active(), sync_scope(syncs):
                    upgrade(**keywords)
                    journal.edits.end()
            self.session.queue.limit(self.project.settings.lock_timeout)
            syncs.record(connection, revision)
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

    def revert(self, revision: str) -> None:
        """Runs ``downgrade`` of a revision, for a database that no service uses: no lock is waited for.

        Raises :class:`~online_migrate.exceptions.RevisionFailed`.
        """
        connection, dialect = self.session.connection, self.session.dialect
        script = self.project.script
        step: Any = MigrationStep.downgrade_from_script(script.revision_map, script.get_revision(revision))
        downgrade = step.migration_fn

        def run(**keywords: Any) -> None:
            syncs = SyncScope.of(connection)
            with dialect.around_revision(connection), sync_scope(syncs):
                downgrade(**keywords)
            syncs.record(connection, revision)

        step.migration_fn = run
        try:
            with dialect.write_transaction(connection):
                with self._context(lambda heads, context: [step]) as context:
                    context.run_migrations()
                connection.commit()
        except Exception as error:
            self._reset()
            raise self.explained(revision, error) from error

    def _forms(self, revision: str, *, undo: bool) -> SafeForms | None:
        """Returns the forms of the statements; None for the base, whose scripts were written for Alembic."""
        if self.project.graph.phase(revision) is Phase.BASE:
            return None
        script = self.project.graph.revisions[revision]
        side = self.session.journal_connection
        return SafeForms(
            self.session.dialect,
            self.session.connection if side is None else side,
            commit=side is not None,
            rebuilds=script.rebuilds,
            under_lock=undo or (isinstance(script.requires, tuple) and bool(script.requires)),
        )

    def _handover(self, revision: str) -> Handover | None:
        """Returns the handover to the tool that copies tables; None if there is no tool."""
        records = self.session.journal_connection
        if self.ddl_tool is None or records is None:
            return None
        settings = self.project.settings
        limits = Limits(
            lock_timeout=settings.lock_timeout,
            lock_attempts=settings.lock_attempts,
            max_load=settings.max_load,
            critical_load=settings.critical_load,
            max_lag=settings.max_lag,
        )
        return Handover(
            self.ddl_tool,
            self.session.dialect,
            self.session.connection,
            records,
            CatalogSchema(records),
            limits=limits,
            command=str(self.project.graph.phase(revision)),
            echo=lambda line: self.echo(f"{revision}: {line}"),
            clock=self.clock,
        )

    @contextlib.contextmanager
    def _context(self, steps: Callable[[Any, Any], Any]) -> Iterator[EnvironmentContext]:
        project, dialect = self.project, self.session.dialect
        function = refuse_contract_steps(steps, project.config, lambda: project.graph)
        with EnvironmentContext(project.config, project.script, fn=function) as context:
            options = self.environment.options | {
                "transaction_per_migration": True,
                "transactional_ddl": dialect.transactional_ddl,
            }
            context.configure(connection=self.session.connection, **options)
            url = full_url(self.session.connection.engine.url)
            with (
                provided(project.config, project.settings, url),
                engine_tables_hidden(self.session.connection),
            ):
                yield context

    def _forget_intent(self, revision: str, *, undo: bool) -> None:
        """Deletes an intent without a begun statement: the revision must not count as half applied."""
        side = self.session.journal_connection
        if side is None:
            return
        with contextlib.suppress(*CLEANUP_ERRORS):
            journal = self._journal(revision, side, undo=undo)
            journal.open()
            if not journal.begun:
                journal.close(side)
                side.commit()

    def _reset(self) -> None:
        for connection in (self.session.connection, self.session.journal_connection):
            if connection is not None:
                with contextlib.suppress(*CLEANUP_ERRORS):
                    connection.rollback()

    def explained(self, revision: str, error: Exception) -> Exception:
        """Returns the error of the command for an error of a statement of a revision."""
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
