"""The journal of a revision whose statements commit implicitly."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import journal

INTENT = "*"
"""The digest of the row that represents the revision itself; the other rows are its statements."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A statement of a revision that was started or completed; with digest ``*``, the revision itself."""

    revision: str
    digest: str
    occurrence: int
    position: int
    state: str
    statement: str
    before_text: str | None
    undo: str | None
    started_at: datetime.datetime
    done_at: datetime.datetime | None

    @property
    def done(self) -> bool:
        """True if the statement, or the revision, is recorded as completed."""
        return self.state == "done"

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that were recorded with the intent."""
        facts: dict[str, Any] = json.loads(self.undo or "{}")
        return facts


def journal_entries(connection: Connection, revision: str) -> list[Entry]:
    """Returns the entries of *revision*, in the order in which they were started."""
    rows = connection.execute(
        sa.select(journal).where(journal.c.revision == revision).order_by(journal.c.position)
    )
    return [Entry(**row._mapping) for row in rows]


def open_revisions(connection: Connection) -> list[str]:
    """Returns the revisions that were started and not finished, sorted."""
    query = sa.select(journal.c.revision).where(journal.c.digest == INTENT, journal.c.state == "started")
    return sorted(connection.scalars(query))


def put_entry(connection: Connection, entry: Entry, *, known: bool) -> None:
    """Inserts an entry; *known*: updates the entry with the same revision, digest and occurrence instead.

    Never deletes an entry that may not exist: MySQL would take a gap lock, which blocks the other connection
    that writes entries.
    """
    values = dataclasses.asdict(entry)
    if not known:
        connection.execute(sa.insert(journal).values(**values))
        return
    identity = [journal.c[name] == values.pop(name) for name in ("revision", "digest", "occurrence")]
    connection.execute(sa.update(journal).where(*identity).values(**values))


def remove_entry(connection: Connection, entry: Entry) -> None:
    """Deletes an entry, after the server reported that its statement was not applied, or it was undone."""
    connection.execute(
        sa.delete(journal).where(
            journal.c.revision == entry.revision,
            journal.c.digest == entry.digest,
            journal.c.occurrence == entry.occurrence,
        )
    )


def close_journal(connection: Connection, revision: str) -> None:
    """Deletes the journal of a revision; called in the transaction that writes the version row."""
    connection.execute(sa.delete(journal).where(journal.c.revision == revision))
