"""The record of each data migration: its progress and its result."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import data_migration, failure, now, this_runner, walk, worker
from online_migrate.state.told import storable


class Status(enum.StrEnum):
    """The status of a data migration."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETE = "complete"


@dataclasses.dataclass(frozen=True)
class Record:
    """The record of a data migration."""

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


def _record(row: sa.Row[Any]) -> Record:
    values = dict(row._mapping)
    return Record(**(values | {"status": Status(values["status"]), "walked": bool(values["walked"])}))


def get_record(connection: Connection, name: str, *, for_update: bool = False) -> Record | None:
    """Returns the record of data migration *name*, or None.

    *for_update*: locks the record, so that other runners wait until the commit.
    """
    query = sa.select(data_migration).where(data_migration.c.name == name)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return None if row is None else _record(row)


def all_records(connection: Connection) -> dict[str, Record]:
    """Returns every record, by name."""
    return {row.name: _record(row) for row in connection.execute(sa.select(data_migration))}


def start_record(connection: Connection, name: str) -> None:
    """Records that data migration *name* is running, for the first time or again."""
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


def add_done(connection: Connection, name: str, done: int) -> None:
    """Adds *done* migrated rows to the record."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(done=data_migration.c.done + done, updated_at=now(), runner=this_runner())
    )


def set_checkpoint(connection: Connection, name: str, checkpoint: str | None, *, walked: bool) -> None:
    """Records the encoded key up to which every row was processed; *walked*: up to the end of the table."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(checkpoint=checkpoint, walked=walked)
    )


def set_status(connection: Connection, name: str, status: Status, *, error: str | None = None) -> None:
    """Sets the status, and the error, with which a run of data migration *name* ended."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(
            status=status,
            error=storable(connection, error),
            updated_at=now(),
            finished_at=now() if status is Status.COMPLETE else None,
        )
    )


def forget_migration(connection: Connection, name: str) -> None:
    """Deletes everything that is recorded of data migration *name*."""
    connection.execute(sa.delete(data_migration).where(data_migration.c.name == name))
    for table in (walk, worker, failure):
        connection.execute(sa.delete(table).where(table.c.name == name))


def set_verified(connection: Connection, names: Iterable[str], revision: str) -> None:
    """Records that contract revision *revision* found no pending row of these data migrations.

    A data migration that needs no record of a run gets one: once its columns are gone it cannot be counted.
    """
    for name in names:
        verified = sa.update(data_migration).where(data_migration.c.name == name)
        verified = verified.values(verified_at=now(), verified_by=revision)
        if not connection.execute(verified).rowcount:
            start_record(connection, name)
            set_status(connection, name, Status.COMPLETE)
            connection.execute(verified)
