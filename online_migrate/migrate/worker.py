"""One worker: claims ranges of keys, and moves their rows chunk by chunk.

Invariants:

* A chunk and the move of its lease commit together. A kill at any moment leaves both or neither.
* A worker whose lease somebody took over finds out in the transaction of its chunk, which is rolled back.
* A chunk that fails is split until the row that fails stands alone; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from online_migrate import exceptions, state
from online_migrate.dialects import Dialect
from online_migrate.dialects.errors import AnyFault, ServerFault, words_of
from online_migrate.migrate.claims import Claim, Claims, Extent, lock_of, moved_on
from online_migrate.migrate.crew import LONGEST_REST, Crew
from online_migrate.migrate.isolation import Isolation
from online_migrate.migrate.job import Job
from online_migrate.migrate.pulse import Pulse
from online_migrate.migrate.transaction import committed, looked
from online_migrate.migrate.work import Prepared, Stale, UserError, call, do_chunk, read
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunker import Chunk, Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_IDLE = 0.1
"""Seconds between two questions of a worker that has nothing to do, or that must wait."""
LONGEST_ERROR = 2_000
"""Characters of an error that are kept: whoever raises may put a whole file into it."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What the next chunk is going to be."""

    upper: Key
    chunk: Chunk | None
    """None: there is no pending row up to *upper*."""
    rows: int | None
    """How many rows are examined, if the whole size of a chunk is."""


class Worker:
    """Works on one data migration, on a connection of its own. Use :meth:`work`."""

    def __init__(self, crew: Crew, job: Job, connection: Connection, pulse: Pulse) -> None:
        self.id = secrets.token_hex(8)
        self._crew = crew
        self._job = job
        self._connection = connection
        self._pulse = pulse
        self._dialect: Dialect = job.dialect
        self._claims = Claims(job, self.id, crew.place.lease)
        self._size = crew.place.pace.controller(job.largest_chunk)
        self._isolation: Isolation[Key] = Isolation()
        self._extent: Extent | None = None
        self._session = 0
        self._at: Chunk | None = None

    def work(self) -> Claim | None:
        """Works until all is done, or the crew is called off; gives why it left, None if it was told to."""
        self._sign_on()
        try:
            answer = self._work()
        except Exception:
            self._sign_off()
            raise
        # Not when somebody wants us to leave at once: others see that our session has ended.
        self._sign_off()
        return answer

    def _work(self) -> Claim | None:
        while not self._crew.over:
            self._pulse.due(self._connection)
            if self._must_wait():
                continue
            if self._extent is not None:
                self._next_chunk()
                continue
            answer = self._claim()
            if answer in (Claim.PASS_OVER, Claim.HELD):
                return answer
        return None

    # --- coming and going ------------------------------------------------------------------------

    def _sign_on(self) -> None:
        # Before the record: whoever sees the worker written down and its lock free takes it for dead.
        self._dialect.try_named_lock(self._connection, lock_of(self.id))
        self._committed(lambda: self._claims.sign_on(self._connection))
        self._session = self._looked(lambda: self._dialect.session_id(self._connection))
        self._crew.place.watched.sessions.add(self._session)
        self._crew.joined(self.id)

    def _sign_off(self) -> None:
        """On every way out; where the connection is gone, others see that by themselves."""
        self._crew.left(self.id)
        self._crew.place.watched.sessions.remove(self._session)
        with contextlib.suppress(*AnyFault, exceptions.Failed):
            self._connection.rollback()
            holds = self._extent is not None
            self._committed(lambda: self._claims.sign_off(self._connection, holds=holds))
            self._dialect.free_named_lock(self._connection, lock_of(self.id))

    def _must_wait(self) -> bool:
        reason = self._crew.waits_for
        self._crew.waiting(self.id, reason)
        if reason is None:
            return False
        self._rest(_IDLE)
        return True

    def _rest(self, seconds: float) -> None:
        """Waits, and keeps the session from being taken for an idle one."""
        self._crew.place.clock.wait(seconds, self._crew.place.stop)
        self._pulse.keep_alive(self._connection)

    def _claim(self) -> Claim | None:
        size = self._size.size
        with self._claims.dead_sessions(self._connection, self._crew.place.clock) as dead:
            seen = self._looked(lambda: self._claims.survey(self._connection, size, dead))
            answer = self._committed(lambda: self._claims.take(self._connection, seen))
        if isinstance(answer, Extent):
            self._extent = answer
            return None
        if answer is Claim.OTHERS:
            self._rest(_IDLE)
        return answer

    def _committed(self, work: Callable[[], T]) -> T:
        return committed(self._crew.place.clock, self._dialect, self._connection, work)

    def _looked(self, look: Callable[[], T]) -> T:
        return looked(self._crew.place.clock, self._dialect, self._connection, look)

    # --- chunks ----------------------------------------------------------------------------------

    def _next_chunk(self) -> None:
        """The next chunk of the extent in hand."""
        extent, place = self._extent, self._crew.place
        assert extent is not None
        size = self._isolation.limit if self._isolation.active else self._size.size
        reserved = place.budget.reserve(size)
        if not reserved:
            return
        migrated = 0
        began = place.clock.monotonic()
        plan: _Plan | None = None
        try:
            plan = self._looked(lambda: self._plan(extent, reserved))
            migrated = self._do(extent, plan)
        except (UserError, *ServerFault) as error:
            if plan is None or plan.chunk is None or not self._is_of_rows(error):
                raise
            self._split(extent, plan, error)
        finally:
            place.budget.settle(reserved, migrated)
        took = place.clock.monotonic() - began
        rows = None if plan is None else plan.rows
        if rows is not None and not self._isolation.active:
            # What every commit costs, however small, is no reason for smaller chunks.
            commit = place.watched.commit if self._dialect.chunks_wait_for_disk else 0.0
            self._size.observe(rows, max(took - commit, took / 10))
        # After the last rows of a range there is nothing to rest from, and an old version writes the next.
        self._leave_alone(0.0 if rows is None else took)

    def _do(self, extent: Extent, plan: _Plan) -> int:
        prepared: Prepared | None = None
        self._at = plan.chunk
        if plan.chunk is not None:
            chunk = plan.chunk
            rows = self._looked(lambda: read(self._connection, self._job, chunk))
            # Between two transactions: whatever a function takes its time for, no row is locked meanwhile.
            prepared = None if rows is None else call(self._job, chunk, rows, self._beat)
        try:
            done, failures = self._committed(lambda: self._apply(extent, plan, prepared))
        except Stale:
            assert prepared is not None
            locked = dataclasses.replace(prepared, lock=True)
            done, failures = self._committed(lambda: self._apply(extent, plan, locked))
        self._moved(extent, plan.upper)
        if done or plan.chunk is not None:
            self._crew.count(self.id, done, plan.chunk or "", self._size)
        self._too_many(failures)
        return done

    def _apply(self, extent: Extent, plan: _Plan, prepared: Prepared | None) -> tuple[int, int]:
        """The chunk, its failures and its lease: all in the transaction that is open."""
        if plan.chunk is None:
            self._claims.advance(self._connection, extent, plan.upper, 0)
            return 0, 0
        effect = do_chunk(self._connection, self._job, plan.chunk, prepared)
        failures = {key: short(error) for key, error in effect.failures.items()}
        state.record_failures(self._connection, self._job.name, self._crew.run, failures)
        recorded = effect.done if effect.recorded is None else effect.recorded
        self._claims.advance(self._connection, extent, plan.upper, recorded)
        return effect.done, len(failures)

    def _beat(self) -> None:
        self._pulse.keep_alive(self._connection)

    def _moved(self, extent: Extent, upper: Key) -> None:
        self._isolation.passed(upper)
        self._extent = None if upper == extent.upper else dataclasses.replace(extent, lower=upper)

    def _leave_alone(self, took: float) -> None:
        rest = max(self._dialect.courtesy, took * self._crew.place.watched.steering.rest)
        if rest:
            self._rest(min(rest, LONGEST_REST))

    # --- what the next chunk is ------------------------------------------------------------------

    def _plan(self, extent: Extent, size: int) -> _Plan:
        """The next rows of the extent: a range of keys, or these very rows where that is asked for."""
        by_name = extent.sweep or self._crew.place.budget.limited or self._isolation.active
        return self._named(extent, size) if by_name else self._range(extent, size)

    def _range(self, extent: Extent, size: int) -> _Plan:
        chunker = self._job.chunker
        within = chunker.up_to(extent.upper)
        found = chunker.nth_key(self._connection, extent.lower, size, within)
        upper = extent.upper if found is None else found
        if found is not None:
            moved_on(self._job.name, chunker, extent.lower, upper)
        chunk = chunker.chunk(extent.lower, upper, pending=self._job.pending)
        return _Plan(upper, chunk, None if found is None else size)

    def _named(self, extent: Extent, size: int) -> _Plan:
        """By name where no row more may be touched: one that is inserted just now would be too many."""
        chunker, job = self._job.chunker, self._job
        end = self._isolation.end if self._isolation.active else extent.upper
        assert end is not None
        only_pending = extent.sweep or self._isolation.active
        condition = chunker.up_to(end)
        if only_pending and job.pending is not None:
            condition = condition & job.pending
        keys = chunker.next_keys(self._connection, extent.lower, size, condition)
        upper = keys[-1] if len(keys) == size else end
        if keys and len(keys) == size:
            moved_on(job.name, chunker, extent.lower, upper)
        excluding = self._failed_already(keys) if extent.sweep else []
        if len(excluding) == len(keys):
            return _Plan(upper, None, None)
        only = keys if self._crew.place.budget.limited else None
        chunk = chunker.chunk(extent.lower, upper, pending=job.pending, excluding=excluding, only=only)
        return _Plan(upper, chunk, len(keys) if len(keys) == size else None)

    def _failed_already(self, keys: Sequence[Key]) -> list[Key]:
        """Those that failed in this run: they are not tried again in it."""
        rows = state.failed_keys(self._connection, self._job.name, run=self._crew.run)
        failed = {key for key, _error, _run in rows}
        return [key for key in keys if encode_key(key) in failed]

    # --- rows that fail --------------------------------------------------------------------------

    def _is_of_rows(self, error: BaseException) -> bool:
        """True if fewer rows may fare better."""
        if isinstance(error, UserError):
            return error.of_rows
        dialect = self._dialect
        return not (
            dialect.is_connection_lost(error) or dialect.is_transient(error) or dialect.is_systemic(error)
        )

    def _split(self, extent: Extent, plan: _Plan, error: BaseException) -> None:
        chunk = plan.chunk
        assert chunk is not None
        keys = self._looked(
            lambda: self._job.chunker.next_keys(self._connection, chunk.lower, _ALL, chunk.where)
        )
        if not keys:
            # Whoever was the reason is gone by now, and everything else of the chunk is done.
            self._committed(lambda: self._claims.advance(self._connection, extent, plan.upper, 0))
            self._moved(extent, plan.upper)
            return
        if not self._isolation.failed(len(keys), plan.upper):
            return
        text = short(f"{error}" if isinstance(error, UserError) else words_of(error))
        self._committed(lambda: self._record(extent, keys[0], text, plan.upper))
        self._moved(extent, plan.upper)
        self._too_many(1)

    def _record(self, extent: Extent, key: Key, error: str, upper: Key) -> None:
        state.record_failures(self._connection, self._job.name, self._crew.run, {encode_key(key): error})
        self._claims.advance(self._connection, extent, upper, 0)

    def _too_many(self, failures: int) -> None:
        if failures and not self._crew.failed(failures):
            raise TooManyFailures(count=self._crew.failures, limit=self._crew.place.max_failures)

    @property
    def place(self) -> str:
        """Where it was, for a person to read."""
        return "" if self._at is None else f" ({self._at})"


_ALL = 2**31 - 1


class TooManyFailures(exceptions.Failed):
    """{count:,} row(s) could not be migrated, and {limit:,} is the limit (--max-failures)."""


def short(error: Any) -> str:
    """An error as it is kept: of a length, and of characters that every server stores."""
    text = str(error).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]} ..."
