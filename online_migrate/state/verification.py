"""The barrier of each data migration, and how far its rows are verified.

A row exists from before the first statement that creates a barrier until after the last one that drops it. So
a barrier that a killed command has left behind is known.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.state.tables import now, this_runner, verification


class BarrierState(enum.StrEnum):
    """How far a barrier is."""

    NONE = "none"
    """The rows are verified without a barrier; contract counts them."""
    CREATING = "creating"
    """It is being created, or the command that created it was killed."""
    CREATED = "created"
    REMOVING = "removing"
    """It is being dropped, or the command that dropped it was killed."""


class VerifyStatus(enum.StrEnum):
    """How far the verification of the rows is."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    COMPLETE = "complete"
    """Every row was checked, and is good."""
    FAILING = "failing"
    """Every row was checked, and some are pending or fail ``verify``."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """The barrier of a data migration, and how far its rows are verified."""

    name: str
    table_name: str
    schema_name: str | None
    expressions: str
    """The conditions that the rows are checked for, as SQL text of this server."""
    barrier: str | None = None
    """The name of the barrier in the database."""
    barrier_state: BarrierState = BarrierState.NONE
    definition: str | None = None
    """The barrier as the catalog of the server shows it, recorded after it was created."""
    run: str = ""
    """The id of the process that verifies; another process takes over with another id."""
    status: VerifyStatus = VerifyStatus.NOT_STARTED
    checkpoint: str | None = None
    """The encoded key up to which every row was checked."""
    checked: int = 0
    failing: int = 0
    failing_keys: tuple[str, ...] = ()
    """Some of the keys of failing rows, formatted for display."""
    runner: str = ""
    barrier_at: datetime.datetime | None = None
    started_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Progress:
    """What one chunk adds to a verification."""

    checkpoint: str
    checked: int
    failing: int = 0
    keys: tuple[str, ...] = ()
    """All examples so far."""


def _read(row: sa.Row[Any]) -> Verification:
    values = dict(row._mapping)
    return Verification(
        **values
        | {
            "barrier_state": BarrierState(values["barrier_state"]),
            "status": VerifyStatus(values["status"]),
            "failing_keys": tuple(json.loads(values["failing_keys"])),
        }
    )


def all_verifications(connection: Connection) -> dict[str, Verification]:
    """Returns every recorded verification, by name; empty in the state of an older engine."""
    if not dialect_of(connection).has_table(connection, verification.name):
        return {}
    return {row.name: _read(row) for row in connection.execute(sa.select(verification))}


def get_verification(connection: Connection, name: str, *, for_update: bool = False) -> Verification | None:
    """Returns what is recorded of data migration *name*; None: it has no barrier and no verification.

    *for_update*: locks the row until the end of the transaction.
    """
    if not dialect_of(connection).has_table(connection, verification.name):
        return None
    query = sa.select(verification).where(verification.c.name == name)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return None if row is None else _read(row)


def put_verification(connection: Connection, new: Verification) -> None:
    """Records *new* in place of what is recorded of its data migration."""
    delete_verification(connection, new.name)
    values = dataclasses.asdict(new)
    values |= {
        "failing_keys": json.dumps(new.failing_keys),
        "runner": this_runner(),
        "updated_at": now(),
    }
    connection.execute(sa.insert(verification).values(**values))


_NOTHING_CHECKED = {"checkpoint": None, "checked": 0, "failing": 0, "failing_keys": "[]"}


def set_barrier(
    connection: Connection, name: str, new: BarrierState, *, definition: str | None = None
) -> None:
    """Records how far the barrier of data migration *name* is, and its *definition* when it is created.

    Rows that another process has checked before the barrier was created prove nothing: the verification
    starts again, and a process that verifies finds that its run was taken over.
    """
    values: dict[str, Any] = {"barrier_state": new.value, "updated_at": now()}
    if definition is not None:
        values |= {"definition": definition, "barrier_at": now(), **_NOTHING_CHECKED}
        values |= {"run": "", "status": VerifyStatus.NOT_STARTED.value, "finished_at": None}
    connection.execute(sa.update(verification).where(verification.c.name == name).values(**values))


def begin_verification(connection: Connection, name: str, expressions: str) -> Verification | None:
    """Records that this process verifies the rows of data migration *name*, and returns that record.

    It continues from the checkpoint of a verification that did not end. Returns None if the record was
    deleted, or is that of other *expressions*: then another process verifies, or has changed the barrier.
    """
    found = get_verification(connection, name, for_update=True)
    if found is None or found.expressions != expressions:
        return None
    values: dict[str, Any] = {
        "run": uuid.uuid4().hex,
        "status": VerifyStatus.RUNNING.value,
        "runner": this_runner(),
        "updated_at": now(),
        "finished_at": None,
    }
    if found.status is not VerifyStatus.RUNNING or found.checkpoint is None:
        values |= {**_NOTHING_CHECKED, "started_at": now()}
    connection.execute(sa.update(verification).where(verification.c.name == name).values(**values))
    return get_verification(connection, name)


def add_verified(connection: Connection, name: str, run: str, chunk: Progress) -> bool:
    """Adds a chunk to the verification; returns False if another process has taken it over.

    False also if the barrier was made again or dropped meanwhile.
    """
    return _change(
        connection,
        name,
        run,
        checkpoint=chunk.checkpoint,
        checked=verification.c.checked + chunk.checked,
        failing=verification.c.failing + chunk.failing,
        failing_keys=json.dumps(chunk.keys),
    )


def finish_verification(connection: Connection, name: str, run: str) -> bool:
    """Records that every row was checked; returns False as :func:`add_verified` does."""
    good = sa.case(
        (verification.c.failing == 0, VerifyStatus.COMPLETE.value), else_=VerifyStatus.FAILING.value
    )
    return _change(connection, name, run, status=good, finished_at=now())


def _change(connection: Connection, name: str, run: str, **values: Any) -> bool:
    mine = sa.and_(verification.c.name == name, verification.c.run == run)
    changed = sa.update(verification).where(mine).values(updated_at=now(), **values)
    return bool(connection.execute(changed).rowcount)


def delete_verification(connection: Connection, name: str) -> None:
    """Forgets the barrier and the verification of data migration *name*."""
    connection.execute(sa.delete(verification).where(verification.c.name == name))
