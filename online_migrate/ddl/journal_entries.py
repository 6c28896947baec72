"""The entries of the journal of one revision: read from the database, written and deleted."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from online_migrate import state
from online_migrate.state import Entry

_TEXT = 16_000
"""Characters of a statement that are stored; a TEXT of MySQL has no room for more, at four bytes each."""
STEP = ">"
"""The first character of the digest of a step; see :mod:`.recorded_steps`."""
PLAN = "+"
"""The first character of the digest of the entry that lists the steps of a statement."""
SCRIPT = "#"
"""The first character of the digest of the entry that identifies the script; see :mod:`.edited_script`."""
_NOT_EXECUTED = frozenset({state.INTENT, PLAN, SCRIPT})


class JournalEntries:
    """The entries of one revision.

    *connection*: the connection on which they are read and written. *commit*: each write is committed.
    """

    def __init__(self, revision: str, connection: Connection, *, commit: bool) -> None:
        self._revision = revision
        self._connection = connection
        self._commits = commit
        self._entries: dict[tuple[str, int], Entry] = {}
        self._position = 0

    @property
    def connection(self) -> Connection:
        """The connection on which the entries are written."""
        return self._connection

    def commit(self) -> None:
        """Ends the transaction of the connection, if it has no other use."""
        if self._commits:
            self._connection.commit()

    def read(self) -> None:
        """Reads the entries of earlier runs."""
        entries = state.journal_entries(self._connection, self._revision)
        self.commit()
        self._entries = {(entry.digest, entry.occurrence): entry for entry in entries}
        self._position = max((entry.position for entry in entries), default=0)

    @property
    def statements(self) -> list[Entry]:
        """The statements and steps that were begun, in their order."""
        found = [entry for entry in self._entries.values() if entry.digest[0] not in _NOT_EXECUTED]
        return sorted(found, key=lambda entry: entry.position)

    @property
    def begun(self) -> bool:
        """True if a statement was begun, or its steps were recorded."""
        return any(entry.digest[0] not in (state.INTENT, SCRIPT) for entry in self._entries.values())

    @property
    def scripts(self) -> list[Entry]:
        """The entries that identify the script."""
        return [entry for entry in self._entries.values() if entry.digest[0] == SCRIPT]

    @property
    def positions(self) -> frozenset[int]:
        """The positions that are in use."""
        return frozenset(entry.position for entry in self._entries.values())

    def get(self, digest: str, occurrence: int) -> Entry | None:
        """Returns the entry of a statement; None: it was not begun."""
        return self._entries.get((digest, occurrence))

    def new(
        self,
        digest: str,
        occurrence: int,
        statement: str,
        *,
        before: str | None = None,
        undo: str | None = None,
        counted: bool = True,
    ) -> Entry:
        """Returns an entry of a statement that is begun now, at the next position. It is not written yet.

        *counted*: False: the entry is not of a statement, and its position is 0.
        """
        self._position += counted
        return Entry(
            revision=self._revision,
            digest=digest,
            occurrence=occurrence,
            position=self._position if counted else 0,
            state="started",
            statement=statement[:_TEXT],
            before_text=before,
            undo=undo,
            started_at=state.now(),
            done_at=None,
        )

    def put(self, entry: Entry) -> None:
        """Inserts or updates an entry."""
        self.put_on(self._connection, entry)
        self.commit()

    def put_on(self, connection: Connection, entry: Entry) -> None:
        """Inserts or updates an entry in the transaction of *connection*."""
        known = (entry.digest, entry.occurrence) in self._entries
        state.put_entry(connection, entry, known=known)
        self._entries[(entry.digest, entry.occurrence)] = entry

    def remove(self, entry: Entry) -> None:
        """Deletes an entry."""
        state.remove_entry(self._connection, entry)
        self.commit()
        self._entries.pop((entry.digest, entry.occurrence), None)
