"""Executes a statement as several steps, each committed by itself, so that a killed run can be continued.

Invariants:

* The steps are recorded, in one transaction with all statements before them, before the first is executed. A
  later run executes the recorded steps: the catalog that they were derived from has changed since.
* After an error of the server the steps that were executed are undone, and their records are deleted. After
  a lock timeout or a lost connection nothing is undone: the next attempt continues.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.lock_queue import LockNotFree
from online_migrate.ddl.recorded_steps import Statement, StepOf
from online_migrate.dialects import Dialect
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS
from online_migrate.sql.forms.form import Step
from online_migrate.sql.statement import shorten

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Send = Callable[[str], None]


class Steps:
    """Executes steps on the connection of a revision; *send*: sends one statement."""

    def __init__(self, dialect: Dialect, connection: Connection, journal: Journal, send: Send) -> None:
        self._dialect = dialect
        self._connection = connection
        self._journal = journal
        self._send = send

    def run(self, planned: Sequence[Step]) -> bool:
        """Executes the steps of the statement that the journal runs now; returns False if there are none.

        *planned*: the steps if no earlier run has recorded any.
        """
        parent = self._journal.running
        steps = self._journal.steps.of(parent, planned)
        if not steps:
            return False
        if self._connection.in_nested_transaction():
            raise exceptions.WritersBlocked(
                statement=shorten(steps[0].sql),
                reason="it leaves the transaction of the revision, and the script has opened a savepoint",
                hint="move it out of begin_nested()",
            )
        self._dialect.commit_now(self._connection)
        for number, step in enumerate(steps):
            try:
                self._step(parent, number, step)
            except Exception as error:  # also an error of the driver, which SQLAlchemy has not wrapped yet
                if not self._is_continued(error):
                    self._undo(parent, steps[:number])
                raise
        return True

    def _is_continued(self, error: Exception) -> bool:
        """Returns True if the next attempt, or the next run, continues with the step that failed."""
        if isinstance(error, LockNotFree):
            return True
        return self._dialect.is_connection_lost(error) or self._dialect.is_lock_timeout(error)

    def _step(self, parent: Statement, number: int, step: Step) -> None:
        of_step = StepOf(parent, number)
        if step.concurrent:
            with self._dialect.outside_transaction(self._connection):
                self._journal.run(
                    step.sql, of_step, transactional=False, execute=lambda: self._concurrent(step)
                )
        else:
            self._journal.run(step.sql, of_step, transactional=True, execute=lambda: self._send(step.sql))
            self._dialect.commit_now(self._connection)

    def _concurrent(self, step: Step) -> None:
        # An invalid index of this name is what an earlier attempt, perhaps of another program, left.
        self._dialect.clean_up(self._connection, step.sql)
        self._send(step.sql)

    def _undo(self, parent: Statement, done: Sequence[Step]) -> None:
        """Removes what the steps *done* added, and forgets all steps of the statement."""
        self._dialect.rollback_now(self._connection)
        # Twice: what was attached to an object can be removed only with that object.
        failed = self._undo_each([step for step in reversed(done) if step.undo is not None])
        failed = self._undo_each(failed)
        if not failed:
            self._journal.steps.forget(parent)
            self._dialect.commit_now(self._connection)

    def _undo_each(self, steps: Sequence[Step]) -> list[Step]:
        failed = []
        for step in steps:
            try:
                self._undo_one(step)
            except DATABASE_ERRORS:
                # The error of the step is raised. The next run continues with what remains.
                failed.append(step)
                with contextlib.suppress(*CLEANUP_ERRORS):
                    self._dialect.rollback_now(self._connection)
        return failed

    def _undo_one(self, step: Step) -> None:
        assert step.undo is not None
        if step.concurrent:
            with self._dialect.outside_transaction(self._connection):
                self._connection.exec_driver_sql(step.undo)
        else:
            self._connection.exec_driver_sql(step.undo)
            self._dialect.commit_now(self._connection)
