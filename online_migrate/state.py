"""The bookkeeping tables, and every query on them.

The tables are created and changed by the engine's own expand and contract scripts; what stands here is
how this version of the engine reads and writes them. Times are UTC without a zone. Keys of rows and the
like are kept as JSON text, which every server stores alike.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import hashlib
import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

VERSION_TABLE = "online_migrate_version"
PREFIX = "online_migrate_"

metadata = sa.MetaData()

data_migration = sa.Table(
    "online_migrate_data_migration",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("checkpoint", sa.Text),
    sa.Column("walked", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("runner", sa.String(255)),
    sa.Column("started_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("verified_at", sa.DateTime),
    sa.Column("verified_by", sa.String(255)),
)

failure = sa.Table(
    "online_migrate_failure",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("failed_at", sa.DateTime, nullable=False),
)

journal = sa.Table(
    "online_migrate_journal",
    metadata,
    sa.Column("revision", sa.String(255), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("occurrence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("before_text", sa.Text),
    sa.Column("undo", sa.Text),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("done_at", sa.DateTime),
)

TABLES = frozenset({*metadata.tables, VERSION_TABLE})


def now() -> datetime.datetime:
    """The time as it is kept in the tables: UTC, whole seconds, without a zone."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)


def this_runner() -> str:
    """This process, for a person to find it: ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Status(enum.StrEnum):
    """Where a data migration stands."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    COMPLETE = "complete"


@dataclasses.dataclass(frozen=True)
class Record:
    """What is recorded of a data migration."""

    name: str
    status: Status
    done: int
    checkpoint: str | None
    walked: bool
    error: str | None
    runner: str | None
    started_at: datetime.datetime | None
    updated_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    verified_at: datetime.datetime | None
    verified_by: str | None


@dataclasses.dataclass(frozen=True)
class FailedRow:
    """A row that a data migration could not migrate."""

    key: tuple[Any, ...]
    encoded_key: str
    error: str
    run: str
    failed_at: datetime.datetime


def exists(connection: Connection) -> bool:
    """True if the bookkeeping tables are there."""
    inspector = sa.inspect(connection)
    return all(inspector.has_table(name) for name in metadata.tables)


# --- data migrations -----------------------------------------------------------------------------


def _record(row: sa.Row[Any]) -> Record:
    values = dict(row._mapping)
    return Record(**(values | {"status": Status(values["status"]), "walked": bool(values["walked"])}))


def get_record(connection: Connection, name: str, *, for_update: bool = False) -> Record | None:
    """The record of data migration *name*; *for_update* makes other runners wait until the commit."""
    query = sa.select(data_migration).where(data_migration.c.name == name)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return None if row is None else _record(row)


def all_records(connection: Connection) -> dict[str, Record]:
    """Every record, by name."""
    return {row.name: _record(row) for row in connection.execute(sa.select(data_migration))}


def start_record(connection: Connection, name: str) -> None:
    """Records that data migration *name* is being run, for the first time or again."""
    changed = connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(status=Status.RUNNING, error=None, runner=this_runner(), updated_at=now(), finished_at=None)
    )
    if not changed.rowcount:
        connection.execute(
            sa.insert(data_migration).values(
                name=name,
                status=Status.RUNNING,
                done=0,
                walked=False,
                runner=this_runner(),
                started_at=now(),
                updated_at=now(),
            )
        )


def advance(
    connection: Connection, name: str, *, checkpoint: str | None, done: int, walked: bool = False
) -> None:
    """Moves the checkpoint; called in the transaction of the chunk, so that both commit or neither."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(
            checkpoint=checkpoint,
            done=data_migration.c.done + done,
            walked=sa.or_(data_migration.c.walked, sa.literal(walked)),
            updated_at=now(),
            runner=this_runner(),
        )
    )


def set_status(connection: Connection, name: str, status: Status, *, error: str | None = None) -> None:
    """Ends a run of data migration *name*."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(
            status=status,
            error=error,
            updated_at=now(),
            finished_at=now() if status is Status.COMPLETE else None,
        )
    )


def set_verified(connection: Connection, names: Iterable[str], revision: str) -> None:
    """Records that contract revision *revision* saw no pending row of these data migrations."""
    names = list(names)
    if names:
        connection.execute(
            sa.update(data_migration)
            .where(data_migration.c.name.in_(names))
            .values(verified_at=now(), verified_by=revision)
        )


# --- rows that failed ----------------------------------------------------------------------------


def key_hash(encoded_key: str) -> str:
    """What a key is found by: a key can be longer than any index entry."""
    return hashlib.sha256(encoded_key.encode()).hexdigest()


def record_failures(connection: Connection, name: str, run: str, failures: Mapping[str, str]) -> None:
    """Records rows (encoded key: error) as failed in this *run*, in the transaction of their chunk."""
    if not failures:
        return
    forget_failures(connection, name, failures)
    connection.execute(
        sa.insert(failure),
        [
            {
                "name": name,
                "key_hash": key_hash(key),
                "row_key": key,
                "error": error,
                "run": run,
                "failed_at": now(),
            }
            for key, error in failures.items()
        ],
    )


def forget_failures(connection: Connection, name: str, encoded_keys: Iterable[str]) -> None:
    """Takes rows out of the list of failed ones: they are migrated, or gone."""
    hashes = [key_hash(key) for key in encoded_keys]
    for start in range(0, len(hashes), 500):
        connection.execute(
            sa.delete(failure).where(
                failure.c.name == name, failure.c.key_hash.in_(hashes[start : start + 500])
            )
        )


def failed_keys(connection: Connection, name: str, *, run: str | None = None) -> list[tuple[str, str, str]]:
    """(encoded key, error, run) of the rows recorded as failed, only those of *run* if given."""
    query = sa.select(failure.c.row_key, failure.c.error, failure.c.run).where(failure.c.name == name)
    if run is not None:
        query = query.where(failure.c.run == run)
    return [(row.row_key, row.error, row.run) for row in connection.execute(query)]


# --- the journal of a revision -------------------------------------------------------------------

INTENT = "*"
"""The digest of the row that stands for the revision itself; the other rows are its statements."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A statement of a revision that was begun, or done; or, with digest ``*``, the revision itself."""

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
        return self.state == "done"

    @property
    def facts(self) -> dict[str, Any]:
        """What was noted with the intent."""
        facts: dict[str, Any] = json.loads(self.undo or "{}")
        return facts


def journal_entries(connection: Connection, revision: str) -> list[Entry]:
    """The entries of *revision*, in the order in which they were begun."""
    rows = connection.execute(
        sa.select(journal).where(journal.c.revision == revision).order_by(journal.c.position)
    )
    return [Entry(**row._mapping) for row in rows]


def open_revisions(connection: Connection) -> list[str]:
    """The revisions that were begun and not finished."""
    query = sa.select(journal.c.revision).where(journal.c.digest == INTENT, journal.c.state == "started")
    return sorted(connection.scalars(query))


def put_entry(connection: Connection, entry: Entry, *, known: bool) -> None:
    """Writes an entry; *known*: over the one with the same identity.

    Never a DELETE of what may not be there: MySQL would lock the gap, and with it the other connection
    that writes entries.
    """
    values = dataclasses.asdict(entry)
    if not known:
        connection.execute(sa.insert(journal).values(**values))
        return
    identity = [journal.c[name] == values.pop(name) for name in ("revision", "digest", "occurrence")]
    connection.execute(sa.update(journal).where(*identity).values(**values))


def remove_entry(connection: Connection, entry: Entry) -> None:
    """Forgets an entry: the server said that the statement was not applied, or it was undone."""
    connection.execute(
        sa.delete(journal).where(
            journal.c.revision == entry.revision,
            journal.c.digest == entry.digest,
            journal.c.occurrence == entry.occurrence,
        )
    )


def close_journal(connection: Connection, revision: str) -> None:
    """Ends the journal of a revision; called in the transaction that writes the version row."""
    connection.execute(sa.delete(journal).where(journal.c.revision == revision))


def version_rows(connection: Connection, table: str, schema: str | None) -> tuple[str, ...]:
    """What an Alembic version table holds; nothing if it does not exist."""
    if not sa.inspect(connection).has_table(table, schema=schema):
        return ()
    version = sa.table(table, sa.column("version_num"), schema=schema)
    return tuple(sorted(connection.scalars(sa.select(version.c.version_num))))


def counted_as_known(rows: Sequence[str], known: Iterable[str]) -> tuple[list[str], list[str]]:
    """(known, unknown) revisions among *rows*."""
    names = set(known)
    return [row for row in rows if row in names], [row for row in rows if row not in names]
