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
  that are done are not repeated, new ones are executed.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from online_migrate import exceptions, state
from online_migrate.dialects import Dialect
from online_migrate.sql.catalog_effects.effect import Expected, Verdict, judge
from online_migrate.sql.statement import first_word, shorten
from online_migrate.state import Entry

Execute = Callable[[], None]

_TEXT = 16_000
"""Characters of a statement that are stored; a TEXT of MySQL has no room for more, at four bytes each."""
_EFFECTS = 60_000
"""Characters of the effects that are stored, as JSON in ASCII."""


def digest_of(statement: str, parameters: Any) -> str:
    """Returns the digest by which a statement is recognised when its revision is run again."""
    text = " ".join(statement.split())
    return hashlib.sha256(f"{text}\0{parameters!r}".encode()).hexdigest()


class Journal:
    """The journal of one revision.

    *connection*: the connection on which the revision runs. *side*: a separate connection for the records,
    on servers where DDL commits implicitly; without it the records are written on *connection*. *command*:
    the command that applies the revision, for hints.
    """

    def __init__(
        self,
        revision: str,
        dialect: Dialect,
        connection: Connection,
        journal_connection: Connection | None = None,
        *,
        command: str = "expand",
    ) -> None:
        self.revision = revision
        self._command = command
        self._dialect = dialect
        self._connection = connection
        self._journal_connection = journal_connection
        self._seen: collections.Counter[str] = collections.Counter()
        self._entries: dict[tuple[str, int], Entry] = {}
        self._position = 0

    @property
    def _records(self) -> Connection:
        return self._journal_connection if self._journal_connection is not None else self._connection

    def _commit(self) -> None:
        if self._journal_connection is not None:
            self._journal_connection.commit()

    def open(self) -> None:
        """Reads the entries of earlier runs; occurrences are counted from the first statement again."""
        entries = state.journal_entries(self._records, self.revision)
        self._commit()
        self._entries = {(entry.digest, entry.occurrence): entry for entry in entries}
        self._position = max((entry.position for entry in entries), default=0)
        self._seen.clear()

    @property
    def statements(self) -> list[Entry]:
        """The statements that were begun, in their order."""
        found = [entry for entry in self._entries.values() if entry.digest != state.INTENT]
        return sorted(found, key=lambda entry: entry.position)

    @property
    def begun(self) -> bool:
        """True if a statement was begun, so that the schema may be partly changed."""
        return bool(self.statements)

    def record_intent(self, **facts: Any) -> None:
        """Records that the revision is about to run. *facts*: JSON values that were determined before."""
        entry = self._new_entry(state.INTENT, 0, f"revision {self.revision}", None)
        entry = dataclasses.replace(entry, undo=json.dumps(facts, sort_keys=True), position=0)
        self._put(entry)

    def close(self, connection: Connection) -> None:
        """Deletes the journal of the revision on *connection*, in the transaction of the version row."""
        state.close_journal(connection, self.revision)

    def run(self, statement: str, parameters: Any, *, transactional: bool, execute: Execute) -> bool:
        """Calls *execute* unless an earlier run has done the statement; returns True if it was called.

        *transactional*: the record is committed with the statement. Raises
        :class:`~online_migrate.exceptions.StatementUndecided` if it cannot be determined whether an earlier
        run has done the statement.
        """
        if transactional and self._dialect.commits_by_itself(self._records, statement):
            transactional = False
        self._commit()
        digest = digest_of(statement, parameters)
        occurrence = self._seen[digest]
        self._seen[digest] += 1
        known = self._entries.get((digest, occurrence))
        if known is not None and self._is_done(known, statement, transactional=transactional):
            return False
        if transactional:
            entry = self._new_entry(digest, occurrence, statement, None)
            execute()
            done = dataclasses.replace(entry, state="done", done_at=state.now())
            state.put_entry(self._connection, done, known=known is not None)
            self._entries[(digest, occurrence)] = done
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
        self._put(dataclasses.replace(known, state="done", done_at=state.now()))
        return True

    def _run_recorded(self, digest: str, occurrence: int, statement: str, execute: Execute) -> None:
        """Runs a statement that commits implicitly, between two writes of its record."""
        expected = self._dialect.expected(statement)
        before = _stored(expected, self._held(expected))
        entry = self._new_entry(digest, occurrence, statement, before)
        self._put(entry)
        try:
            execute()
        except Exception as error:
            if not self._dialect.is_connection_lost(error):
                self._dialect.clean_up(self._connection, statement)
                self._forget_if_not_done(entry, expected)
            raise
        self._put(dataclasses.replace(entry, state="done", done_at=state.now()))

    def _forget_if_not_done(self, entry: Entry, expected: Expected) -> None:
        """Deletes the record after an error of the server, if the statement had no effect.

        An atomic statement that failed had no effect, unless the catalog shows one.
        """
        verdict = self.verdict(entry)
        if verdict is Verdict.NOT_DONE or (verdict is Verdict.UNDECIDED and expected.atomic):
            self._forget(entry)

    def forget(self, entry: Entry) -> None:
        """Deletes the record of a statement that was undone, and commits. Not to be called in a revision."""
        self._forget(entry)
        self._records.commit()

    # --- the catalog and statements that were begun -------------------------------------------------

    def was_applied(self, entry: Entry) -> bool:
        """Returns True if a statement that was begun is done.

        Raises :class:`~online_migrate.exceptions.StatementUndecided` if that cannot be determined.
        """
        verdict = self.verdict(entry)
        if verdict is Verdict.UNDECIDED:
            self._mark_asked(entry)
            raise exceptions.StatementUndecided(
                revision=self.revision,
                statement=shorten(entry.statement),
                reason=self._reason(entry),
                command=self._command,
            )
        return verdict is Verdict.DONE

    def verdict(self, entry: Entry) -> Verdict:
        """Returns what the catalog shows of a statement that was begun."""
        if entry.before_text is None:
            return Verdict.NOT_DONE
        expected, before = self._recorded(entry)
        verdict = judge(before, self._held(expected))
        if verdict is Verdict.UNDECIDED and expected.repeatable:
            return Verdict.NOT_DONE
        return verdict

    def taken_away(self, entry: Entry) -> set[str]:
        """Returns the names of the columns and tables that are gone once the statement is done."""
        if entry.before_text is None:
            return set()
        expected, _before = self._recorded(entry)
        return {e.name for e in expected.effects if not e.present and e.object in ("column", "table")}

    def answer(self, *, done: bool) -> Entry | None:
        """Records the operator's answer for the statement that was asked about, and returns its entry.

        *done*: the statement was executed. Returns None if there is no such statement, or more than one. Not
        to be called inside a revision.
        """
        open_ones = [e for e in self.statements if not e.done and self.verdict(e) is Verdict.UNDECIDED]
        asked = [entry for entry in open_ones if entry.state == "asked"] or open_ones
        if len(asked) != 1:
            return None
        if done:
            self._put(dataclasses.replace(asked[-1], state="done", done_at=state.now()))
        else:
            self._forget(asked[-1])
        self._records.commit()
        return asked[-1]

    def _mark_asked(self, entry: Entry) -> None:
        for other in self.statements:
            wanted = "asked" if other == entry else "started"
            if not other.done and other.state != wanted:
                self._put(dataclasses.replace(other, state=wanted))
        if not self._seen:
            self._records.commit()  # no revision is running

    def _recorded(self, entry: Entry) -> tuple[Expected, list[bool | None]]:
        """Returns the effects of a statement, and which of them held before it was sent."""
        try:
            data = json.loads(entry.before_text or "")
        except ValueError:
            data = None
        if isinstance(data, dict):
            return Expected.from_data(data["expected"]), data["before"]
        # An entry of an older version of the engine, which did not record them. A statement that adds or
        # removes an object succeeds only if the effect did not hold before; for a change nothing is known.
        expected = self._dialect.expected(entry.statement)
        return expected, [None if effect.changed else False for effect in expected.effects]

    def _held(self, expected: Expected) -> list[bool | None]:
        held = [self._dialect.holds(self._records, effect) for effect in expected.effects]
        self._commit()
        return held

    def _reason(self, entry: Entry) -> str:
        """Returns what the catalog shows, as text for the operator."""
        expected, before = self._recorded(entry)
        if not expected.effects:
            return "its effect cannot be read from the catalog"
        words = {True: "in effect", False: "not in effect", None: "different or not readable"}
        pairs = zip(expected.effects, before, self._held(expected), strict=True)
        return "; ".join(
            f"{effect}{'' if effect.present else ' (dropped)'}: before {words[earlier]}, now {words[now]}"
            for effect, earlier, now in pairs
        )

    def _undo(self, statement: str) -> str | None:
        if first_word(statement, self._dialect.name) != "DROP":
            return None
        definition = self._dialect.undo_of_drop(self._records, statement)
        self._commit()
        return None if definition is None else json.dumps(definition)

    def _new_entry(self, digest: str, occurrence: int, statement: str, before: str | None) -> Entry:
        self._position += 1
        return Entry(
            revision=self.revision,
            digest=digest,
            occurrence=occurrence,
            position=self._position,
            state="started",
            statement=statement[:_TEXT],
            before_text=before,
            undo=None if digest == state.INTENT else self._undo(statement),
            started_at=state.now(),
            done_at=None,
        )

    def _put(self, entry: Entry) -> None:
        known = (entry.digest, entry.occurrence) in self._entries
        state.put_entry(self._records, entry, known=known)
        self._commit()
        self._entries[(entry.digest, entry.occurrence)] = entry

    def _forget(self, entry: Entry) -> None:
        state.remove_entry(self._records, entry)
        self._commit()
        self._entries.pop((entry.digest, entry.occurrence), None)


def _stored(expected: Expected, held: Sequence[bool | None]) -> str:
    """Returns the effects and which of them hold, as stored; only the first ones if there are too many."""
    for count in (len(held), 100, 20, 0):
        part = dataclasses.replace(expected, effects=expected.effects[:count])
        text = json.dumps({"expected": part.to_data(), "before": list(held[:count])})
        if len(text) <= _EFFECTS:
            break
    return text
