"""The journal: which statements of a revision are done, so that a killed run can be resumed.

Invariants:

* The intent is recorded before the first statement of a revision. On servers where DDL commits implicitly,
  every statement is recorded before it is sent.
* A statement that is recorded as begun and not as done is done if the catalog shows its effects. Only effects
  that the catalog did not show before count. Changes that other sessions made in between prove nothing.
  (A DDL statement of the supported servers is applied whole or not at all.)
* Where the catalog does not decide it, nothing is assumed: the command refuses and asks the operator about
  exactly one statement.
* Where DDL is transactional, the records are written in the transaction of the statements, so both are
  committed or neither.
* A statement is recognised by its text. A script that was corrected after a failure is resumed: statements
  that are done are not repeated, new ones are executed. A change of what is done is refused.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from online_migrate import exceptions, state
from online_migrate.ddl.edited_script import EditedScript
from online_migrate.ddl.journal_entries import JournalEntries
from online_migrate.ddl.recorded_steps import RecordedSteps, StepOf, digest_of
from online_migrate.ddl.statement_effects import StatementEffects
from online_migrate.dialects import Dialect
from online_migrate.sql.catalog_effects.effect import Expected, Verdict
from online_migrate.sql.statement import shorten
from online_migrate.state import Entry

Execute = Callable[[], None]


class Journal:
    """The journal of one revision.

    *connection*: the connection on which the revision runs. *journal_connection*: a separate connection for
    the entries, on servers where DDL commits implicitly; without it they are written on *connection*.
    *command*: the command that applies the revision, for hints. *source*: the digest of its script.
    """

    def __init__(
        self,
        revision: str,
        dialect: Dialect,
        connection: Connection,
        journal_connection: Connection | None = None,
        *,
        command: str = "expand",
        source: str = "",
    ) -> None:
        self.revision = revision
        self._command = command
        self._dialect = dialect
        self._connection = connection
        own = journal_connection is not None
        records = connection if journal_connection is None else journal_connection
        self._entries = JournalEntries(revision, records, commit=own)
        self._effects = StatementEffects(dialect, records, commit=own)
        self.steps = RecordedSteps(self._entries)
        self.edits = EditedScript(revision, command, source, self._entries, self.was_applied)
        self._seen: collections.Counter[str] = collections.Counter()
        self.running = ("", 0)
        """The digest and the occurrence of the statement that runs now."""

    def open(self) -> None:
        """Reads the entries of earlier runs; occurrences are counted from the first statement again."""
        self._entries.read()
        self._seen.clear()
        self.edits.open()

    @property
    def statements(self) -> list[Entry]:
        """The statements that were begun, in their order."""
        return self._entries.statements

    @property
    def begun(self) -> bool:
        """True if a statement was begun, so that the schema may be partly changed."""
        return self._entries.begun

    def record_intent(self, **facts: Any) -> None:
        """Records that the revision is about to run. *facts*: JSON values that were determined before."""
        undo = json.dumps(facts, sort_keys=True)
        intent = f"revision {self.revision}"
        self._entries.put(self._entries.new(state.INTENT, 0, intent, undo=undo, counted=False))

    def close(self, connection: Connection) -> None:
        """Deletes the journal of the revision on *connection*, in the transaction of the version row."""
        state.close_journal(connection, self.revision)

    def run(self, statement: str, parameters: Any, *, transactional: bool, execute: Execute) -> bool:
        """Calls *execute* unless an earlier run has done the statement; returns True if it was called.

        *parameters*: those of the statement, or a :class:`~online_migrate.ddl.recorded_steps.StepOf`.
        *transactional*: the record is committed with the statement. Raises
        :class:`~online_migrate.exceptions.StatementUndecided` if it cannot be determined whether an earlier
        run has done the statement.
        """
        if transactional and self._dialect.commits_by_itself(self._entries.connection, statement):
            transactional = False
        self._entries.commit()
        digest = digest_of(statement, parameters)
        occurrence = self._seen[digest]
        self._seen[digest] += 1
        self.running = (digest, occurrence)
        if not isinstance(parameters, StepOf):
            self.edits.check(digest, occurrence, statement)
        known = self._entries.get(digest, occurrence)
        if known is not None and self._is_done(known, statement, transactional=transactional):
            return False
        if transactional:
            before, undo = self._effects.before_guarded(statement), self._effects.undo(statement)
            entry = self._entries.new(digest, occurrence, statement, before=before, undo=undo)
            execute()
            done = dataclasses.replace(entry, state="done", done_at=state.now())
            self._entries.put_on(self._connection, done)
        else:
            self._run_recorded(digest, occurrence, statement, execute)
        return True

    def _is_done(self, known: Entry, statement: str, *, transactional: bool) -> bool:
        """Returns True if an earlier run has done the statement; records it if only the catalog shows it."""
        if known.done:
            return True
        if not transactional:
            self._dialect.clean_up(self._connection, statement)
        if not self.was_applied(known):
            return False
        self._entries.put(dataclasses.replace(known, state="done", done_at=state.now()))
        return True

    def _run_recorded(self, digest: str, occurrence: int, statement: str, execute: Execute) -> None:
        """Runs a statement that commits implicitly, between two writes of its record."""
        expected = self._effects.expected(statement)
        before, undo = self._effects.before(expected), self._effects.undo(statement)
        entry = self._entries.new(digest, occurrence, statement, before=before, undo=undo)
        self._entries.put(entry)
        try:
            execute()
        except Exception as error:
            if not self._dialect.is_connection_lost(error):
                self._dialect.clean_up(self._connection, statement)
                self._forget_if_not_done(entry, expected)
            raise
        self._entries.put(dataclasses.replace(entry, state="done", done_at=state.now()))

    def _forget_if_not_done(self, entry: Entry, expected: Expected) -> None:
        """Deletes the record after an error of the server, if the statement had no effect.

        An atomic statement that failed had no effect, unless the catalog shows one.
        """
        verdict = self._effects.verdict(entry)
        if verdict is Verdict.NOT_DONE or (verdict is Verdict.UNDECIDED and expected.atomic):
            self._entries.remove(entry)

    def forget(self, entry: Entry) -> None:
        """Deletes the record of a statement that was undone, and commits. Not to be called in a revision."""
        self._entries.remove(entry)
        self._entries.connection.commit()

    def was_applied(self, entry: Entry) -> bool:
        """Returns True if a statement that was begun is done.

        Raises :class:`~online_migrate.exceptions.StatementUndecided` if that cannot be determined.
        """
        verdict = self._effects.verdict(entry)
        if verdict is Verdict.UNDECIDED:
            self._mark_asked(entry)
            raise exceptions.StatementUndecided(
                revision=self.revision,
                statement=shorten(entry.statement),
                reason=self._effects.reason(entry),
                command=self._command,
            )
        return verdict is Verdict.DONE

    def taken_away(self, entry: Entry) -> set[str]:
        """Returns the names of the columns and tables that are gone once the statement is done."""
        return self._effects.taken_away(entry)

    def answer(self, *, done: bool) -> Entry | None:
        """Records the operator's answer for the statement that was asked about, and returns its entry.

        *done*: the statement was executed. Returns None if there is no such statement, or more than one. Not
        to be called inside a revision.
        """
        open_ones = [
            e for e in self.statements if not e.done and self._effects.verdict(e) is Verdict.UNDECIDED
        ]
        asked = [entry for entry in open_ones if entry.state == "asked"] or open_ones
        if len(asked) != 1:
            return None
        if done:
            self._entries.put(dataclasses.replace(asked[-1], state="done", done_at=state.now()))
        else:
            self._entries.remove(asked[-1])
        self._entries.connection.commit()
        return asked[-1]

    def _mark_asked(self, entry: Entry) -> None:
        for other in self.statements:
            wanted = "asked" if other == entry else "started"
            if not other.done and other.state != wanted:
                self._entries.put(dataclasses.replace(other, state=wanted))
        if not self._seen:
            self._entries.connection.commit()  # no revision is running
