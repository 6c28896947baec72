"""Records what a contract revision has verified under its lock, for the case that the rows become unreadable.

Once a statement of the revision has removed a column that ``pending`` reads, the rows of that data
migration can no longer be counted, whether its table is reflected or declared. The earlier verification
counts then, because the statement ran under the same lock as the verification. The verification is recorded
with the intent of the revision, in the journal, before the next statement is sent: after a kill the next run
reads it there.

The record contains the columns that the expression *read*. An expression that fails for another reason, such
as a wrong name in an edited script, proves nothing, and is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc

from online_migrate import exceptions, state
from online_migrate.ddl.journal import Journal
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.subject import Subject
from online_migrate.sql.statement import identifiers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Column = tuple[str | None, str, str]
"""Schema, table, column."""


@dataclasses.dataclass(frozen=True)
class Verified:
    """A data migration whose rows were verified under a lock of a revision: none was pending."""

    reads: tuple[Column, ...]
    """The columns that its expressions read; where they read several tables, a name counts in each one."""
    removed: bool = False
    """True if a statement under that lock has made its expressions unreadable."""

    def as_fact(self) -> dict[str, Any]:
        """Returns the value that the journal stores."""
        return dataclasses.asdict(self)

    @classmethod
    def of_fact(cls, fact: Mapping[str, Any]) -> Verified:
        """Returns the object from the value that :meth:`as_fact` returned."""
        return cls(tuple((one[0], one[1], one[2]) for one in fact["reads"]), bool(fact["removed"]))


def verified_facts(connection: Connection, revision: str) -> dict[str, Verified]:
    """Returns what the journal of a half-applied revision records as verified, by name of data migration."""
    facts = dict(soaked_facts(connection, revision))
    for name in (state.soak_name_of(revision), revision):
        entries = state.journal_entries(connection, name)
        intent = next((entry.facts for entry in entries if entry.digest == state.INTENT), {})
        facts |= {name: Verified.of_fact(fact) for name, fact in intent.get("verified", {}).items()}
    return facts


def soaked_facts(connection: Connection, revision: str) -> dict[str, Verified]:
    """Returns what was verified when the objects of a revision were renamed; empty if they do not soak."""
    soak = state.soaks(connection).get(revision)
    verified = {} if soak is None else soak.verified
    return {name: Verified.of_fact(fact) for name, fact in verified.items()}


# --- what an expression reads ---------------------------------------------------------------------


def missing_in(connection: Connection, subject: Subject) -> str | None:
    """Returns the server's message if a table, a column or a function that the expressions name is missing.

    Reads no row. Raises :data:`~online_migrate.driver_errors.DATABASE_ERRORS` where the server refuses the
    query for another reason.
    """
    try:
        # After a failed statement PostgreSQL accepts only the rollback of a savepoint or of the transaction.
        with connection.begin_nested() as savepoint:
            connection.execute(_query(subject).limit(0)).all()
            # The rollback releases the lock of the query: kept, it would be upgraded by the LOCK TABLE that
            # follows, and two sessions that upgrade wait for each other.
            savepoint.rollback()
    except DATABASE_ERRORS as error:
        if dialect_of(connection).is_missing_object(error):
            return error_message(error)
        raise
    return None


def reads_of(connection: Connection, subject: Subject) -> tuple[Column, ...]:
    """Returns the columns whose names occur in the expressions, of all tables that these read, sorted."""
    text = str(_query(subject).compile(dialect=connection.dialect))
    words = {word.lower() for word in identifiers(text, dialect_of(connection).name)}
    tables = {(target.schema, target.table) for target in subject.lock_targets}
    found = {
        (schema, table, column)
        for schema, table in tables
        for column in _columns(connection, schema, table)
        if column.lower() in words
    }
    return tuple(sorted(found, key=lambda column: (column[0] or "", *column[1:])))


def _query(subject: Subject) -> sa.Select[Any]:
    conditions = [condition for condition in (subject.pending, subject.verify) if condition is not None]
    return sa.select(sa.literal_column("1")).select_from(subject.table).where(sa.or_(sa.false(), *conditions))


def _columns(connection: Connection, schema: str | None, table: str) -> list[str]:
    with contextlib.suppress(exc.NoSuchTableError, exc.UnreflectableTableError):
        return [column["name"] for column in sa.inspect(connection).get_columns(table, schema=schema)]
    return []


def counts(connection: Connection, verified: Verified | None) -> bool:
    """Returns True if the rows of a now unreadable data migration were verified before it became unreadable.

    It counts if a statement under the lock made it unreadable, or if one of the columns that it read is gone.
    """
    if verified is None:
        return False
    if verified.removed:
        return True
    tables = {(schema, table) for schema, table, _column in verified.reads}
    there = {(s, t, column) for s, t in tables for column in _columns(connection, s, t)}
    return bool(set(verified.reads) - there)


def is_removed(connection: Connection, migration: DataMigration, verified: Verified) -> bool:
    """Returns True if the rows of *migration* can no longer be read, and their verification counts."""
    with contextlib.suppress(exceptions.PendingUnreadable):
        if missing_in(connection, migration.subject(connection)) is None:
            return False
    return counts(connection, verified)


# --- one run of one revision ----------------------------------------------------------------------


class LockedVerification:
    """The verification, in one run of a contract revision, of the data migrations that it requires.

    *journal*: of *revision*, or of its soak. *records*: the connection that the journal is written on.
    *required*: names of data migrations. *applied*: the revisions that the database has; a verification by an
    earlier contract revision, which then removed the columns, counts as well.
    """

    def __init__(
        self,
        revision: str,
        journal: Journal,
        connection: Connection,
        records: Connection,
        required: Sequence[str],
        applied: frozenset[str],
    ) -> None:
        self._revision = revision
        self._journal = journal
        self._connection = connection
        self._records = records
        self._required = list(required)
        self._applied = applied
        self._verified: dict[str, Verified] = {}
        self._subjects: dict[str, Subject] = {}

    def open(self) -> None:
        """Reads what an earlier run recorded; records the intent if no earlier run has begun a statement."""
        self._verified = verified_facts(self._records, self._revision)
        if not self._journal.begun:
            self._verified = soaked_facts(self._records, self._revision)
            self._record()
        self._commit()

    def subject(self, migration: DataMigration) -> Subject | None:
        """Returns the rows to verify; None if they can no longer be read, and their verification counts.

        Raises :class:`~online_migrate.exceptions.PendingUnreadable` if they cannot be read and no
        verification counts.
        """
        try:
            subject = migration.subject(self._connection)
            reason = missing_in(self._connection, subject)
            if reason is None:
                return subject
            raise exceptions.PendingUnreadable(name=migration.name, reason=reason)
        except exceptions.PendingUnreadable:
            if self._counts(migration.name):
                return None
            raise

    def _counts(self, name: str) -> bool:
        record = state.get_record(self._records, name)
        self._commit()
        if record is not None and record.verified_by in self._applied:
            return True
        return counts(self._connection, self._verified.get(name))

    def reads(self, subjects: Mapping[str, Subject]) -> dict[str, tuple[Column, ...]]:
        """Returns the columns that each subject reads; to be called before their tables are locked."""
        return {name: reads_of(self._connection, subject) for name, subject in subjects.items()}

    def record(self, subjects: Mapping[str, Subject], reads: Mapping[str, tuple[Column, ...]]) -> None:
        """Records, under the lock, that none of the rows is pending."""
        self._subjects = dict(subjects)
        self._verified |= {name: Verified(reads[name]) for name in subjects}
        self._record()
        state.set_verified(self._records, list(subjects), self._revision)
        self._commit()

    def after_statement(self) -> None:
        """Records which data migrations the last statement has made unreadable, or readable."""
        before = dict(self._verified)
        for name, subject in self._subjects.items():
            removed = missing_in(self._connection, subject) is not None
            self._verified[name] = dataclasses.replace(self._verified[name], removed=removed)
        if self._verified != before:
            self._record()
            self._commit()

    def _record(self) -> None:
        facts = {name: verified.as_fact() for name, verified in self._verified.items()}
        text = json.dumps({"requires": self._required, "verified": facts}, sort_keys=True)
        entries = state.journal_entries(self._records, self._journal.revision)
        # Read each time, not cached: a script may have rolled back the transaction in which it was written.
        known = next((entry for entry in entries if entry.digest == state.INTENT), None)
        entry = dataclasses.replace(known or _intent(self._journal.revision), undo=text)
        state.put_entry(self._records, entry, known=known is not None)

    def _commit(self) -> None:
        if self._records is not self._connection:
            self._records.commit()


def _intent(revision: str) -> state.Entry:
    return state.Entry(
        revision=revision,
        digest=state.INTENT,
        occurrence=0,
        position=0,
        state="started",
        statement=f"revision {revision}",
        before_text=None,
        undo=None,
        started_at=state.now(),
        done_at=None,
    )
