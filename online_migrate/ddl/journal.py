"""Which statements of a revision are done, so that a killed run can be continued.

Invariants:

* Intent is recorded before the first statement of a revision, and on servers where DDL commits by itself
  every statement is recorded before it is sent.
* A statement recorded as begun and not as done was applied if, and only if, the definition of what it
  names is another than the one recorded before it. (A DDL statement of the supported servers is applied
  whole or not at all.)
* Where DDL is transactional the records are in the transaction of the statements, so both are there or
  neither.
* A statement is recognised by its text, so a script that was mended after it failed continues: what was
  done is not repeated, what is new is done.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from online_migrate import state
from online_migrate.dialects import Dialect
from online_migrate.sql.statement import first_word, identifiers
from online_migrate.state import Entry

Execute = Callable[[], None]


def digest_of(statement: str, parameters: Any) -> str:
    """What a statement is recognised by when its revision is run again."""
    text = " ".join(statement.split())
    return hashlib.sha256(f"{text}\0{parameters!r}".encode()).hexdigest()


class Journal:
    """The journal of one revision. *side*: a connection of its own for the records, where DDL commits.

    *connection* is the one on which the revision runs; without *side* the records are written on it.
    """

    def __init__(
        self, revision: str, dialect: Dialect, connection: Connection, side: Connection | None = None
    ) -> None:
        self.revision = revision
        self._dialect = dialect
        self._connection = connection
        self._journal_connection = side
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
        """Reads what an earlier run left; a run of the script starts from its first statement."""
        entries = state.journal_entries(self._records, self.revision)
        self._commit()
        self._entries = {(entry.digest, entry.occurrence): entry for entry in entries}
        self._position = max((entry.position for entry in entries), default=0)
        self._seen.clear()

    @property
    def statements(self) -> list[Entry]:
        """The statements that an earlier run began, in their order."""
        found = [entry for entry in self._entries.values() if entry.digest != state.INTENT]
        return sorted(found, key=lambda entry: entry.position)

    @property
    def begun(self) -> bool:
        """True if a statement was begun, so that the schema may be half changed."""
        return bool(self.statements)

    def record_intent(self, **facts: Any) -> None:
        """Writes down that the revision is about to run, and what was seen before."""
        entry = self._new_entry(state.INTENT, 0, f"revision {self.revision}", None)
        entry = dataclasses.replace(entry, undo=json.dumps(facts, sort_keys=True), position=0)
        self._put(entry)

    def close(self, connection: Connection) -> None:
        """Ends the journal on *connection*, in the transaction of the version row."""
        state.close_journal(connection, self.revision)

    def run(self, statement: str, parameters: Any, *, transactional: bool, execute: Execute) -> bool:
        """Runs *execute* unless an earlier run has done the same; True if it was run.

        *transactional*: the record is committed with the statement.
        """
        digest = digest_of(statement, parameters)
        occurrence = self._seen[digest]
        self._seen[digest] += 1
        known = self._entries.get((digest, occurrence))
        if known is not None and known.done:
            return False
        if known is not None and not transactional:
            self._dialect.clean_up(self._connection, statement)
        if known is not None and self.was_applied(known):
            self._put(dataclasses.replace(known, state="done", done_at=state.now()))
            return False
        before = None if transactional else self._fingerprint(statement)
        entry = self._new_entry(digest, occurrence, statement, before)
        entry = dataclasses.replace(entry, undo=self._undo(statement))
        if not transactional:
            self._put(entry)
        try:
            execute()
        except Exception as error:
            if not transactional and not self._dialect.is_connection_lost(error):
                self._dialect.clean_up(self._connection, statement)
                if not self.was_applied(entry):
                    self._forget(entry)
            raise
        if transactional:
            done = dataclasses.replace(entry, state="done", done_at=state.now())
            state.put_entry(self._connection, done, known=known is not None)
            self._entries[(digest, occurrence)] = done
        else:
            begun = self._entries[(digest, occurrence)]
            self._put(dataclasses.replace(begun, state="done", done_at=state.now()))
        return True

    def forget(self, entry: Entry) -> None:
        """Takes back the record of a statement that was undone, for good; not inside a revision."""
        self._forget(entry)
        self._records.commit()

    def was_applied(self, entry: Entry) -> bool:
        """True if a statement that was begun has reached the catalog."""
        return entry.before_text is not None and self._fingerprint(entry.statement) != entry.before_text

    def _fingerprint(self, statement: str) -> str:
        names = [name for name in identifiers(statement) if not name.startswith(state.PREFIX)]
        text = self._dialect.fingerprint(self._records, names)
        self._commit()
        return hashlib.sha256(text.encode()).hexdigest()

    def _undo(self, statement: str) -> str | None:
        if first_word(statement) != "DROP":
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
            statement=statement,
            before_text=before,
            undo=None,
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
