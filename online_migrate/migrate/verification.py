"""Checks every row of a data migration: walks the table by its key, in throttled and resumable chunks.

Invariant: each chunk is read in a transaction that began after the barrier was created, and the checkpoint is
written after it. A row whose key changes during the walk is checked by the barrier, or belongs to no claim.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.dialects import dialect_of
from online_migrate.migrate.pace import MAX_SLEEP
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.worker.session import data_connection, run_transaction
from online_migrate.state import Progress, VerifyStatus
from online_migrate.walk.checkpoint import decode_key, encode_key, show_key
from online_migrate.walk.chunker import Chunker
from online_migrate.walk.key import Key, is_beyond

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
MAX_ROWS = 100_000
"""The maximum number of rows of a chunk."""
SHOWN_KEYS = 20
"""The number of keys of failing rows that are recorded."""
_POLL = 0.1
"""Seconds between two looks at the throttlers."""


class VerificationTaken(exceptions.Refused):
    """Another command has taken over the verification of {name!r}, or has changed its barrier."""

    default_hint = "online-migrate status"


class VerifyOutcome(enum.StrEnum):
    """How a verification ended."""

    COMPLETE = "every row is good"
    FAILING = "rows are pending or fail verify"
    REMAINING = "rows are left to check"


@dataclasses.dataclass(frozen=True)
class VerifyResult:
    """The result of the verification of one data migration."""

    name: str
    outcome: VerifyOutcome
    checked: int = 0
    """Rows checked so far, in all runs."""
    failing: int = 0
    keys: tuple[str, ...] = ()
    """Some of the keys of failing rows."""
    barrier: str | None = None
    """The name of the barrier; None: contract counts the rows under its lock."""
    note: str | None = None
    """Why there is no barrier."""

    @property
    def exit_code(self) -> int:
        """0: every row is good; 1: a limit was reached; 2: rows are pending or fail ``verify``."""
        return {VerifyOutcome.COMPLETE: 0, VerifyOutcome.REMAINING: 1, VerifyOutcome.FAILING: 2}[self.outcome]


class RowVerifier:
    """Checks the rows of one data migration. *bad*: the condition of a row that is not good."""

    def __init__(self, context: RunContext, name: str, table: sa.Table, bad: sa.ColumnElement[bool]) -> None:
        self._context = context
        self._name = name
        self._table = table
        self._bad = bad
        self._size = context.pace.controller(MAX_ROWS)
        self._run = ""

    def run(self, expressions: str) -> VerifyOutcome:
        """Walks from the recorded checkpoint to the end of the table, or until a limit is reached.

        *expressions*: those of the record; another record is that of another process.

        Raises :class:`VerificationTaken`, and :class:`~online_migrate.exceptions.NoKey`.
        """
        with (
            data_connection(self._context.engine, self._context.lease) as connection,
            self._context.throttling.sessions.including(connection),
        ):
            return self._walk(connection, expressions)

    def _walk(self, connection: Connection, expressions: str) -> VerifyOutcome:
        chunker = Chunker(connection, self._table)
        connection.rollback()
        begun = self._in_transaction(
            connection, lambda: state.begin_verification(connection, self._name, expressions)
        )
        if begun is None:
            raise VerificationTaken(name=self._name)
        self._run = begun.run
        lower: Key | None = None if begun.checkpoint is None else decode_key(begun.checkpoint)
        keys = begun.failing_keys
        while True:
            if not self._may_continue():
                return VerifyOutcome.REMAINING
            found = self._chunk(connection, chunker, lower, keys)
            if found is None:
                return self._finish(connection)
            lower, keys = found

    def _may_continue(self) -> bool:
        """Waits while a throttler has a reason; returns False if no further chunk may be started."""
        while not self._context.should_stop:
            if self._context.throttling.throttle.reason() is None:
                return True
            self._context.clock.wait(_POLL, self._context.stop)
        return False

    def _chunk(
        self, connection: Connection, chunker: Chunker, lower: Key | None, keys: tuple[str, ...]
    ) -> tuple[Key, tuple[str, ...]] | None:
        """Checks the next rows above *lower*; returns the new checkpoint. None: there are no rows left."""
        context = self._context
        reserved = context.budget.reserve(self._size.size)
        start = context.clock.monotonic()
        with context.throttling.activity:
            checked = self._in_transaction(
                connection, lambda: self._check(connection, chunker, lower, reserved, keys)
            )
            if checked is None:
                context.budget.settle(reserved, 0)
                return None
            upper, progress = checked
            going = self._in_transaction(
                connection, lambda: state.add_verified(connection, self._name, self._run, progress)
            )
        if not going:
            raise VerificationTaken(name=self._name)
        context.budget.settle(reserved, progress.checked)
        seconds = context.clock.monotonic() - start
        self._size.observe(progress.checked, seconds)
        pause = max(dialect_of(connection).chunk_pause, seconds * context.throttling.duty_cycle.sleep_ratio)
        if pause:
            context.clock.wait(min(pause, MAX_SLEEP), context.stop)
        return upper, progress.keys

    def _check(
        self, connection: Connection, chunker: Chunker, lower: Key | None, size: int, keys: tuple[str, ...]
    ) -> tuple[Key, Progress] | None:
        upper = chunker.nth_key(connection, lower, size) or chunker.last_key(connection, lower)
        if upper is None:
            return None
        if lower is not None and not is_beyond(lower, upper):
            hint = f"key {show_key(upper)} is not read as it is stored"
            raise exceptions.NoKey(table=self._table.name, hint=hint)
        chunk = chunker.chunk(lower, upper, pending=None)
        flag = sa.case((self._bad, 1), else_=0)
        counted: sa.Select[Any] = chunker.by_key(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(flag), 0)).select_from(self._table)
        ).where(chunk.range)
        rows, failing = connection.execute(counted).one()
        if failing and len(keys) < SHOWN_KEYS:
            some = chunker.next_keys(
                connection, lower, SHOWN_KEYS - len(keys), sa.and_(chunk.range, self._bad)
            )
            keys = (*keys, *(show_key(key) for key in some))
        return upper, Progress(encode_key(upper), int(rows), int(failing), keys)

    def _finish(self, connection: Connection) -> VerifyOutcome:
        going = self._in_transaction(
            connection, lambda: state.finish_verification(connection, self._name, self._run)
        )
        if not going:
            raise VerificationTaken(name=self._name)
        recorded = self._in_transaction(connection, lambda: state.get_verification(connection, self._name))
        good = recorded is not None and recorded.status is VerifyStatus.COMPLETE
        return VerifyOutcome.COMPLETE if good else VerifyOutcome.FAILING

    def _in_transaction(self, connection: Connection, work: Callable[[], T]) -> T:
        return run_transaction(self._context.clock, dialect_of(connection), connection, work)
