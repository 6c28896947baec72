"""Applies one revision, resumably; what expand and contract have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from sqlalchemy import exc

from online_migrate import exceptions, state
from online_migrate.ddl.executor import Executor, Guard, Open
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.script_access import without_connection
from online_migrate.ddl.session import Session, server_down
from online_migrate.dialects.errors import AnyFault, ServerFault, inside, statement_of, words_of
from online_migrate.dialects.statement import identifiers, shorten
from online_migrate.revision.environment import Environment, vetoed
from online_migrate.revision.graph import Phase
from online_migrate.revision.project import Project
from online_migrate.revision.recording import rehearse
from online_migrate.waiting import Clock, Stop, backoff

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect as SADialect
    from sqlalchemy.engine import Engine

LONGEST_PAUSE = 10.0
"""Seconds; below the session timeout, so that the server does not end a session that is waiting."""


class Watch(contextlib.AbstractContextManager[Guard], Protocol):
    """A guard that is set up before the first statement of a revision and taken down after the last."""


@dataclasses.dataclass(frozen=True)
class Stepper:
    """What applying revisions needs, put together once for a command."""

    project: Project
    environment: Environment
    session: Session
    clock: Clock
    stop: Stop
    say: Callable[[str], None]

    def applied(self) -> frozenset[str]:
        """The revisions that the database has now."""
        applied = applied_revisions(self.session.connection, self.project, self.environment)
        self.session.connection.rollback()
        return applied

    def journal(self, revision: str) -> Journal:
        """The journal of a revision, as an earlier run left it."""
        journal = self._journal(revision, self.session.side)
        journal.open()
        if self.session.side is None:
            self.session.connection.rollback()
        return journal

    def _journal(self, revision: str, side: sa.Connection | None) -> Journal:
        phase = self.project.graph.phase(revision)
        command = "upgrade" if phase is Phase.BASE else str(phase)
        return Journal(revision, self.session.dialect, self.session.connection, side, command=command)

    def answer(self, revisions: Sequence[str], *, done: bool, command: str) -> None:
        """Records the operator's answer for the one statement of *revisions* that was asked about.

        Raises :class:`~online_migrate.exceptions.NothingAsked` if there is none.
        """
        for revision in revisions:
            entry = self.journal(revision).answer(done=done)
            if entry is not None:
                said = "taken as done" if done else "taken as not done, and sent again"
                self.say(f"{revision}: {said}: {shorten(entry.statement)}")
                return
        raise exceptions.NothingAsked(command=command)

    def apply(
        self,
        revision: str,
        *,
        watch: Callable[[Journal], Watch] | None = None,
        finish: Callable[[], None] | None = None,
        tables: Sequence[str] = (),
    ) -> None:
        """Applies *revision*, and tries again when it does not get its locks.

        *watch* makes the guard of its statements; *finish* is called in the transaction that writes the
        version row; *tables* are asked for whoever blocks us. Raises
        :class:`~online_migrate.exceptions.LockGivenUp`,
        :class:`~online_migrate.exceptions.RevisionFailed`, or what the guard raises.
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
        self, revision: str, watch: Callable[[Journal], Watch] | None, finish: Callable[[], None] | None
    ) -> None:
        connection, dialect = self.session.connection, self.session.dialect
        journal = self._journal(revision, self.session.side)
        script = self.project.script
        step: Any = MigrationStep.upgrade_from_script(script.revision_map, script.get_revision(revision))
        upgrade = step.migration_fn

        def run(**keywords: Any) -> None:
            rehearse(self.session, self.environment, step, revision)
            journal.open()
            guarded = contextlib.nullcontext(Open()) if watch is None else watch(journal)
            with dialect.around_revision(connection), guarded as guard:
                if watch is None and not journal.begun:
                    journal.record_intent()
                with Executor(dialect, connection, journal, guard).active():
                    upgrade(**keywords)
            if finish is not None:
                finish()
            journal.close(connection)

        run.__name__ = upgrade.__name__  # Alembic's log says "Running upgrade"
        step.migration_fn = run
        with dialect.writing(connection):
            with self._context(lambda heads, context: [step]) as context:
                context.run_migrations()
            # Alembic commits its own transaction; this ends the one in which the version table was read.
            connection.commit()

    @contextlib.contextmanager
    def _context(self, steps: Callable[[Any, Any], Any]) -> Iterator[EnvironmentContext]:
        project, dialect = self.project, self.session.dialect
        function = vetoed(steps, project.config, project.script)
        with EnvironmentContext(project.config, project.script, fn=function) as context:
            options = self.environment.options | {
                "transaction_per_migration": True,
                "transactional_ddl": dialect.transactional_ddl,
            }
            context.configure(connection=self.session.connection, **options)
            yield context

    def _forget_intent(self, revision: str) -> None:
        """An intent that came to nothing is taken back, so that nobody believes in half a revision."""
        side = self.session.side
        if side is None:
            return
        with contextlib.suppress(*AnyFault):
            journal = self._journal(revision, side)
            journal.open()
            if not journal.begun:
                journal.close(side)
                side.commit()

    def _reset(self) -> None:
        for connection in (self.session.connection, self.session.side):
            if connection is not None:
                with contextlib.suppress(*AnyFault):
                    connection.rollback()

    def _is_lock_timeout(self, error: Exception) -> bool:
        return isinstance(error, AnyFault) and self.session.dialect.is_lock_timeout(error)

    def _pause(
        self, revision: str, attempt: int, pauses: Iterator[float], tables: Sequence[str], error: Exception
    ) -> None:
        statement = statement_of(error) or ""
        blockers = self._blockers(tables or identifiers(statement))
        pause = next(pauses, None)
        if pause is None or self.stop.requested:
            raise exceptions.LockGivenUp(
                what=", ".join(tables) or shorten(statement, 60) or f"what revision {revision} changes",
                attempts=attempt,
                timeout=self.session.dialect.lock_wait(self.project.settings.lock_timeout),
                blockers="".join(f"\n  held by {line}" for line in blockers),
            ) from error
        waited = self.session.dialect.lock_wait(self.project.settings.lock_timeout)
        self.say(
            f"{revision}: no lock after {waited:g} s"
            f"{' (' + blockers[0] + ')' if blockers else ''}; next try in {pause:.1f} s"
        )
        self.clock.wait(pause, self.stop)

    def _blockers(self, tables: Sequence[str]) -> list[str]:
        # The records are read on a connection of ours, whose transaction must not be listed.
        self._reset()
        try:
            return self.session.dialect.blocking_sessions(self.session.connection, tables)
        except AnyFault:
            # Only a help for the person who reads it; not everybody may look at other sessions.
            return []
        finally:
            self._reset()

    def _explained(self, revision: str, error: Exception) -> Exception:
        refusal = inside(error, exceptions.OnlineMigrateError)
        if refusal is not None:
            return refusal
        if isinstance(error, ServerFault):
            if self.session.dialect.is_connection_lost(error):
                return server_down(self.session.connection.engine.url, error)
            return exceptions.RevisionFailed(revision=revision, reason=words_of(error))
        return exceptions.RevisionFailed(
            revision=revision, reason=f"{type(error).__name__}: {' '.join(str(error).split())}"
        )


def applied_revisions(
    connection: sa.Connection, project: Project, environment: Environment
) -> frozenset[str]:
    """The revisions that the database has, by ancestry."""
    rows = state.version_rows(connection, environment.version_table, environment.version_schema)
    return project.graph.applied(rows)


class NotRendered(exceptions.Failed):
    """Its SQL depends on a live connection: {reason}"""


def render(project: Project, environment: Environment, engine: Engine, revision: str) -> list[str]:
    """The SQL of a revision, as Alembic's offline mode gives it; nothing is executed.

    Raises :class:`NotRendered` for a script that asks the database what to do; its ``statements`` are
    those that came before.
    """
    written: list[str] = []
    try:
        _render_into(written, project, environment, engine.dialect, revision)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise NotRendered(reason=reason, statements=_statements(written)) from error
    return _statements(written)


def _render_into(
    written: list[str], project: Project, environment: Environment, dialect: SADialect, revision: str
) -> None:
    buffer = io.StringIO()
    script = project.script
    step: Any = MigrationStep.upgrade_from_script(script.revision_map, script.get_revision(revision))
    with EnvironmentContext(
        project.config, script, fn=lambda heads, context: [], as_sql=True, output_buffer=buffer
    ) as context:
        keywords = environment.options | {"output_buffer": buffer, "literal_binds": True}
        context.configure(dialect_name=dialect.name, **keywords)
        migration = context.get_context()
        _write_what_has_no_literal(migration.impl)
        # Not what is in the buffer: a semicolon in the body of a trigger does not end a statement.
        impl: Any = migration.impl
        impl.static_output = written.append
        # The script is called, so what it would do on connections of its own must not be done here.
        with Operations.context(migration), without_connection():
            step.migration_fn()


def _write_what_has_no_literal(impl: Any) -> None:
    """Names at least the table of a statement whose values have no literal form: of untyped columns."""
    execute = impl._exec

    def tolerant(construct: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return execute(construct, *arguments, **keywords)
        except exc.CompileError:
            table = getattr(construct, "table", "?")
            impl.static_output(
                f"{construct.__visit_name__.upper()} {table} -- values without a literal form\n;"
            )

    impl._exec = tolerant


def _statements(written: Sequence[str]) -> list[str]:
    """What an offline script wrote, one statement each, without the ends of its transactions."""
    statements = [text.strip().removesuffix(";").strip() for text in written]
    return [s for s in statements if s and s.upper() not in ("BEGIN", "COMMIT")]
