"""The operator's commands to a data migration, from any host: pause, resume, cancel, retry.

A command is written into the migration's record. Workers read the record twice a second, between two
chunks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.migrate.status import TRANSITIONS
from online_migrate.migrate.worker.session import data_connection, run_transaction
from online_migrate.state import Status
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


@dataclasses.dataclass(frozen=True)
class ControlResult:
    """The result of a control command."""

    name: str
    status: Status
    """The status in the record after the command."""
    before: Status | None
    workers: int
    """The number of live workers of the data migration."""

    @property
    def changed(self) -> bool:
        """False if the record already had this status."""
        return self.status is not self.before


def pause(engine: Engine, name: str, lease: float) -> ControlResult:
    """Changes RUNNING, STOPPED, or no record, to PAUSED.

    *lease*: seconds without a heartbeat after which a worker counts as dead. Raises
    :class:`~online_migrate.exceptions.Refused` where there is no such transition.
    """
    return _change_status(engine, name, lease, lambda status, workers: Status.PAUSED)


def cancel(engine: Engine, name: str, lease: float) -> ControlResult:
    """Changes any status but COMPLETE to CANCELLED.

    *lease*: seconds without a heartbeat after which a worker counts as dead. Raises
    :class:`~online_migrate.exceptions.Refused` where there is no such transition.
    """
    return _change_status(engine, name, lease, lambda status, workers: Status.CANCELLED)


def resume(engine: Engine, name: str, lease: float) -> ControlResult:
    """Changes PAUSED to RUNNING if a live worker can continue, else PAUSED or CANCELLED to STOPPED.

    *lease*: seconds without a heartbeat after which a worker counts as dead. Raises
    :class:`~online_migrate.exceptions.Refused` if the data migration is in a status that cannot be resumed.
    """

    def choose(status: Status | None, workers: int) -> Status:
        if status not in (Status.PAUSED, Status.CANCELLED):
            return _nothing_to_resume(name, status)
        return Status.RUNNING if status is Status.PAUSED and workers else Status.STOPPED

    return _change_status(engine, name, lease, choose)


def retry(engine: Engine, name: str, lease: float, *, has_pending: bool) -> ControlResult:
    """Marks failed rows to be tried again; changes FAILED and CANCELLED to STOPPED, so that it can be run.

    *lease*: seconds without a heartbeat after which a worker counts as dead. *has_pending*: the data
    migration has a ``pending`` expression. Then the failure records are deleted, because the data shows which
    rows are pending. Without it the failure records are the only list of these rows, so they are kept and
    reset.
    """

    def choose(status: Status | None, workers: int) -> Status:
        return Status.STOPPED if status in (Status.FAILED, Status.CANCELLED, None) else status

    return _change_status(engine, name, lease, choose, again=_forget if has_pending else state.reset_failures)


def _nothing_to_resume(name: str, status: Status | None) -> Status:
    """Returns *status* if it is RUNNING or STOPPED, where resume changes nothing; raises Refused otherwise.

    Any other status needs a different command; a successful resume would hide that.
    """
    if status in (Status.RUNNING, Status.STOPPED):
        return status
    was = "was never run" if status is None else f"is {status.value}"
    raise exceptions.Refused(
        reason=f"{name!r} {was}, not paused or cancelled", hint=f"online-migrate migrate {name}"
    )


def _forget(connection: Connection, name: str) -> None:
    state.forget_failures(connection, name, [key for key, _e, _r in state.failed_keys(connection, name)])


def _change_status(
    engine: Engine,
    name: str,
    lease: float,
    choose: Callable[[Status | None, int], Status],
    *,
    again: Callable[[Connection, str], None] | None = None,
) -> ControlResult:
    with data_connection(engine, lease) as connection:
        dialect = dialect_of(connection)
        return run_transaction(
            Clock(), dialect, connection, lambda: _change(connection, dialect, name, lease, choose, again)
        )


def _change(
    connection: Connection,
    dialect: Dialect,
    name: str,
    lease: float,
    choose: Callable[[Status | None, int], Status],
    again: Callable[[Connection, str], None] | None,
) -> ControlResult:
    record = state.get_record(connection, name, for_update=True)
    before = None if record is None else record.status
    workers = [
        w for w in state.workers_of(connection, name, dialect.epoch()) if w.seconds_since_heartbeat <= lease
    ]
    after = choose(before, len(workers))
    if after is not before:
        if (before, after) not in TRANSITIONS:
            was = "was never run" if before is None else f"is {before.value}"
            raise exceptions.Refused(
                reason=f"{name!r} {was}: the command does not apply", hint="online-migrate status"
            )
        if before is None:
            state.start_record(connection, name)
        state.set_status(connection, name, after)
    if again is not None:
        again(connection, name)
    return ControlResult(name, after, before, len(workers))
