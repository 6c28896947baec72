"""The record of each data migration: how far it is, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import data_migration, now, this_runner
from online_migrate.state.told import storable


class Status(enum.StrEnum):
    """Where a data migration stands."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
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


def add_done(connection: Connection, name: str, done: int) -> None:
    """Adds migrated rows to the record."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(done=data_migration.c.done + done, updated_at=now(), runner=this_runner())
    )


def set_checkpoint(connection: Connection, name: str, checkpoint: str | None, *, walked: bool) -> None:
    """Writes down up to which key every row has been handled; *walked*: up to the end of the table."""
    connection.execute(
        sa.update(data_migration)
        .where(data_migration.c.name == name)
        .values(checkpoint=checkpoint, walked=walked)
    )


def set_status(connection: Connection, name: str, status: Status, *, error: str | None = None) -> None:
    """Ends a run of data migration *name*."""
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


def set_verified(connection: Connection, names: Iterable[str], revision: str) -> None:
    """Records that contract revision *revision* saw no pending row of these data migrations."""
    names = list(names)
    if names:
        connection.execute(
            sa.update(data_migration)
            .where(data_migration.c.name.in_(names))
            .values(verified_at=now(), verified_by=revision)
        )
