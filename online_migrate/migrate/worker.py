"""One worker: claims ranges of keys, and moves their rows chunk by chunk.

Invariants:

* A chunk and the move of its lease commit together. A kill at any moment leaves both or neither.
* A worker whose lease somebody took over finds out in the transaction of its chunk, which is rolled back.
* A chunk that fails is split until the row that fails stands alone; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.dialects import Dialect
from online_migrate.dialects.blame import Blame
from online_migrate.dialects.errors import AnyFault, ServerFault, words_of
from online_migrate.migrate.ahead import ReadAhead, Ready
from online_migrate.migrate.claims import Claim, Claims, Extent, Survey, lock_of, rows_in_extent
from online_migrate.migrate.crew import LONGEST_REST, Crew
from online_migrate.migrate.isolation import Isolation
from online_migrate.migrate.job import Job
from online_migrate.migrate.planner import Plan, Planner
from online_migrate.migrate.pulse import Pulse
from online_migrate.migrate.relay import Relay
from online_migrate.migrate.timing import Stopwatch
from online_migrate.migrate.transaction import committed, data_connection, looked
from online_migrate.migrate.turns import Ended, Tools, Turns
from online_migrate.migrate.work import Prepared, Stale, UserError, call, do_chunk, read, with_writes
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.chunker import Chunk, Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_UNLOCKED = 86_400.0
"""Seconds for which a session may be idle that locks nothing."""
_IDLE = 0.1
"""Seconds between two questions of a worker that has nothing to do, or that must wait."""
LONGEST_ERROR = 2_000
"""Characters of an error that are kept: whoever raises may put a whole file into it."""


class Worker:
    """Works on one data migration, on a connection of its own. Use :meth:`work`."""

    def __init__(
        self, crew: Crew, job: Job, connection: Connection, pulse: Pulse, size: ChunkSize | None = None
    ) -> None:
        """*size*: the controller of the worker before it, whose connection was lost."""
        self.id = secrets.token_hex(8)
        self._crew = crew
        self._job = job
        self._connection = connection
        self._pulse = pulse
        self._dialect: Dialect = job.dialect
        self._claims = Claims(job, self.id, crew.place.lease)
        self._size = size or crew.place.pace.controller(job.largest_chunk)
        self._stopwatch = Stopwatch(crew.place.clock.monotonic)
        self._isolation: Isolation[Key] = Isolation()
        self._planner = Planner(crew, job, self._isolation)
        self._ahead = ReadAhead(self._look, lambda: data_connection(crew.place.engine, _UNLOCKED))
        self._turns: Turns | None = None
        """Two chunks at a time, where that is possible."""
        self._extent: Extent | None = None
        self._seen: Survey | None = None
        """What there is to claim next, if that was looked up already: it counts if nobody claimed since."""
        self._session = 0
        self._plan: Plan | None = None
        """Of the chunk in hand."""
        self._too_large = 0
        """Rows of the range that is bisected because it was too large; 0: none, or a row of it has failed."""

    def work(self) -> Claim | None:
        """Works until all is done, or the crew is called off; gives why it left, None if it was told to."""
        self._sign_on()
        try:
            answer = self._work()
        except Exception:
            try:
                self._close()
            finally:
                self._sign_off()
            raise
        self._close()
        # Not when somebody wants us to leave at once: others see that our session has ended.
        self._sign_off()
        return answer

    def _close(self) -> None:
        # First what locks rows: who reads ahead may have to wait for somebody who waits for them.
        if self._turns is not None:
            self._turns.close()
        self._ahead.close()

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
        place = self._crew.place
        if Relay.fits(self._job, place.pace) and self._on_one_server:
            another = lambda: data_connection(place.engine, place.lease, lasting=False)  # noqa: E731
            relay = Relay(self._job, self._connection, another, place.clock.monotonic)
            self._turns = Turns(relay, self._tools)

    @property
    def _tools(self) -> Tools:
        return Tools(
            crew=self._crew,
            job=self._job,
            claims=self._claims,
            planner=self._planner,
            size=self._size,
            stopwatch=self._stopwatch,
            ahead=self._ahead,
            look=lambda at: self._look(self._connection, at, self._size.size, self._beat).plan,
            survey=self._survey,
            beat=self._beat,
        )

    @property
    def _on_one_server(self) -> bool:
        """False where the next connection may lead to another node, which is not yet where this one is."""
        return self._looked(lambda: self._dialect.sees_all_sessions(self._connection))

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
        self._let_go()
        self._rest(_IDLE)
        return True

    def _let_go(self) -> None:
        """Of all that was done ahead: while nobody works it grows old."""
        if self._turns is not None:
            self._turns.drop()
        self._ahead.forget(self._beat)
        self._seen = None

    def _rest(self, seconds: float) -> None:
        """Waits, and keeps the session from being taken for an idle one."""
        self._crew.place.clock.wait(seconds, self._crew.place.stop)
        self._pulse.keep_alive(self._connection)

    def _claim(self) -> Claim | None:
        place = self._crew.place
        with place.watched.activity, self._claims.dead_sessions(self._connection, place.clock) as dead:
            seen = self._seen or self._surveyed()
            self._seen = None
            now = dataclasses.replace(seen, dead=dead)
            answer = self._committed(lambda: self._claims.take(self._connection, now))
        if isinstance(answer, Extent):
            self._extent = answer
            self._after_loss(answer)
            return None
        if answer is Claim.OTHERS:
            self._let_go()
            self._rest(_IDLE)
        return answer

    def _surveyed(self) -> Survey:
        survey = lambda: self._survey(self._connection)  # noqa: E731
        try:
            return self._looked(survey)
        except ServerFault as error:
            if self._claims.blind or self._blame(error) not in (Blame.ROW, Blame.SIZE):
                raise
            _log.info("%s: pending cannot be evaluated, sweeping all rows: %s", self._job.name, error)
            self._claims.blind = True
        return self._looked(survey)

    def _survey(self, connection: Connection) -> Survey:
        rows = rows_in_extent(self._size.size, self._crew.place.pace, self._crew.fair_share)
        return self._claims.survey(connection, rows)

    def _committed(self, work: Callable[[], T]) -> T:
        return committed(self._crew.place.clock, self._dialect, self._connection, work)

    def _looked(self, look: Callable[[], T]) -> T:
        return looked(self._crew.place.clock, self._dialect, self._connection, look)

    # --- chunks ----------------------------------------------------------------------------------

    def _next_chunk(self) -> None:
        """The next chunk of the extent in hand."""
        extent = self._extent
        assert extent is not None
        with self._crew.place.watched.activity:
            ended = self._in_turns(extent)
            took = self._alone(extent) if ended is None else 0.0
        if ended is not None:
            self._seen = ended.seen or self._seen
            self._finished(extent, ended.plan, ended.done, prepared=ended.prepared)
        self._leave_alone(took)

    def _in_turns(self, extent: Extent) -> Ended | None:
        try:
            return None if self._turns is None else self._turns.end_one(extent)
        except ServerFault as error:
            if self._is_lost(error):
                self._crew.suspect(extent, None, self._isolation, error)
            raise

    def _finished(self, extent: Extent, plan: Plan, done: int, *, prepared: float = 0.0) -> None:
        """After the commit; *prepared*: seconds for which its rows were read."""
        self._adapt(plan, prepared)
        self._moved(extent, plan.upper)
        if done or plan.chunk is not None:
            self._crew.count(self.id, done, plan.chunk or "", self._size)

    def _alone(self, extent: Extent) -> float:
        """A chunk from its beginning to its end; gives the seconds from which there is to rest."""
        place = self._crew.place
        size = min(self._isolation.limit, self._largest) if self._isolation.active else self._size.size
        reserved = place.budget.reserve(size)
        if not reserved:
            return 0.0
        migrated = 0
        began = place.clock.monotonic()
        ready = self._ahead.take(extent, self._beat)
        hidden = 0.0 if ready is None else ready.seconds
        self._plan = None
        try:
            if ready is None and self._job.is_per_row:
                self._plan, seconds = self._planned(self._connection, extent, reserved)
                ready = self._read(self._connection, self._plan, seconds, self._beat)
            if ready is not None:
                self._plan = ready.plan
                self._read_ahead(extent, ready.plan)
            migrated = self._write(extent, ready, reserved)
        except (UserError, *ServerFault) as error:
            if not self._attribute(extent, error):
                raise
        finally:
            place.budget.settle(reserved, migrated)
        # After the last rows of a range there is nothing to rest from, and an old version writes the next.
        took = place.clock.monotonic() - began + hidden
        return took if self._plan is not None and self._plan.rows is not None else 0.0

    def _look(self, connection: Connection, extent: Extent, size: int, beat: Callable[[], None]) -> Ready:
        """Plans a chunk, reads its rows, and asks the function what they become; locks none of them."""
        plan, seconds = self._planned(connection, extent, size)
        return self._read(connection, plan, seconds, beat)

    def _planned(self, connection: Connection, extent: Extent, size: int) -> tuple[Plan, float]:
        """Plans a chunk in a transaction of its own; gives the plan, and the time when that was done."""
        clock = self._crew.place.clock
        with self._crew.place.watched.activity:
            work = lambda: self._planner.plan(connection, extent, size)  # noqa: E731
            return looked(clock, self._dialect, connection, work), clock.monotonic()

    def _read(self, connection: Connection, plan: Plan, began: float, beat: Callable[[], None]) -> Ready:
        """Reads the rows of a chunk that is planned, and calls the function."""
        clock, job, dialect = self._crew.place.clock, self._job, self._dialect
        with self._crew.place.watched.activity:
            prepared, chunk = None, plan.chunk
            if chunk is not None and job.is_per_row:
                rows = looked(clock, dialect, connection, lambda: read(connection, job, chunk))
                # Between two transactions: whatever a function takes its time for, no row is locked.
                prepared = with_writes(connection, job, chunk, call(job, chunk, rows, beat))
            return Ready(plan, prepared, clock.monotonic() - began)

    def _read_ahead(self, extent: Extent, plan: Plan) -> None:
        """Has the chunk after this one read, where one connection does not keep another waiting."""
        alone = self._dialect.single_writer or self._planner.by_name(extent)
        if not alone and plan.upper != extent.upper:
            self._ahead.ask(dataclasses.replace(extent, lower=plan.upper), self._size.size)

    def _write(self, extent: Extent, ready: Ready | None, size: int) -> int:
        """Does a chunk; one that is not *ready* is planned in its own transaction, which saves another."""
        prepared = None if ready is None else ready.prepared

        def work(prepared: Prepared | None) -> tuple[int, int]:
            if ready is None:
                # What was planned before the server rolled it back says nothing of an error in planning.
                self._plan = None
                self._plan = self._planner.plan(self._connection, extent, size)
            return self._apply(extent, self._the_plan, prepared)

        try:
            done, failures = self._committed(lambda: work(prepared))
        except Stale:
            assert prepared is not None
            self._ahead.settle(self._beat)
            locked = dataclasses.replace(prepared, lock=True)
            done, failures = self._committed(lambda: work(locked))
        self._finished(extent, self._the_plan, done, prepared=0.0 if ready is None else ready.seconds)
        self._too_many(failures)
        return done

    @property
    def _the_plan(self) -> Plan:
        assert self._plan is not None
        return self._plan

    def _adapt(self, plan: Plan, prepared: float) -> None:
        """The size of the next chunk, from what this one took; *prepared*: seconds for reading it."""
        if plan.rows is None or plan.chunk is None or self._isolation.active:
            return
        commit, target = self._crew.place.watched.commit, self._size.bounds.target
        seconds = self._stopwatch.committed(commit=commit, prepared=prepared, target=target)
        self._size.observe(plan.rows, seconds)

    def _apply(self, extent: Extent, plan: Plan, prepared: Prepared | None) -> tuple[int, int]:
        """The chunk, its failures and its lease: all in the transaction that is open."""
        if plan.chunk is None:
            self._claims.advance(self._connection, extent, plan.upper, 0)
            return 0, 0
        self._stopwatch.begin()
        effect = do_chunk(self._connection, self._job, plan.chunk, prepared)
        failures = {key: short(error) for key, error in effect.failures.items()}
        state.record_failures(self._connection, self._job.name, self._crew.run, failures)
        recorded = effect.done if effect.recorded is None else effect.recorded
        self._stopwatch.worked()
        self._claims.advance(self._connection, extent, plan.upper, recorded)
        self._stopwatch.moved()
        return effect.done, len(failures)

    def _beat(self) -> None:
        for connection in [self._connection] if self._turns is None else self._turns.idle:
            self._pulse.keep_alive(connection)

    def _moved(self, extent: Extent, upper: Key) -> None:
        self._isolation.passed(upper)
        self._extent = None if upper == extent.upper else dataclasses.replace(extent, lower=upper)
        if not self._isolation.active or self._extent is None:
            self._planner.blind = False
        if self._too_large and not self._isolation.active:
            # No row of it failed by itself: together they were too many.
            self._size.limit(self._too_large // 2, patience=_PATIENCE)
            self._too_large = 0

    def _leave_alone(self, took: float) -> None:
        rest = max(self._dialect.courtesy, took * self._crew.place.watched.steering.rest)
        if rest:
            self._rest(min(rest, LONGEST_REST))

    # --- errors ----------------------------------------------------------------------------------

    @property
    def _largest(self) -> int:
        return self._size.bounds.largest

    def _blame(self, error: BaseException) -> Blame:
        if isinstance(error, UserError):
            return Blame.ROW if error.of_rows else Blame.MIGRATION
        return self._dialect.blame(error)

    def _attribute(self, extent: Extent, error: BaseException) -> bool:
        """Does what an error of a chunk asks for; False: it ends this worker."""
        blame = self._blame(error)
        if self._is_lost(error):
            self._crew.suspect(extent, self._plan, self._isolation, error)
            return False
        if blame not in (Blame.ROW, Blame.SIZE):
            return False
        if self._plan is None:
            return self._plan_by_range(error)
        if self._plan.chunk is None:
            return False
        self._split(extent, self._plan, error, blame)
        return True

    def _is_lost(self, error: BaseException) -> bool:
        return not isinstance(error, UserError) and self._dialect.is_connection_lost(error)

    def _plan_by_range(self, error: BaseException) -> bool:
        """``pending`` fails for a row while rows are looked for: chunks are ranges of keys instead.

        False: they are that already.
        """
        if self._planner.blind:
            return False
        _log.info("%s: pending cannot be evaluated, planning by key: %s", self._job.name, error)
        self._planner.blind = True
        return True

    def _after_loss(self, extent: Extent) -> None:
        """What the loss of a connection says of the chunk with which *extent* begins."""
        suspect = self._crew.suspected(extent)
        if suspect is None:
            return
        if suspect.plan is not None and self._blame(suspect.error) is Blame.SIZE:
            self._isolation.adopt(suspect.isolation)
            self._split(extent, suspect.plan, suspect.error, Blame.SIZE)
            return
        # It may be lost again: then a shorter chunk is done by that time, or is small enough for a limit of a
        # proxy or of the server. A few chunks later it is as long as before.
        size = self._size.limit(self._size.size // _AFTER_LOSS, patience=1)
        _log.info(
            "%s: the connection was lost %d time(s) at %s; on with %d rows",
            *(self._job.name, suspect.losses, extent, size),
        )

    def _split(self, extent: Extent, plan: Plan, error: BaseException, blame: Blame) -> None:
        chunk = plan.chunk
        assert chunk is not None
        # Who reads ahead plans by ranges only, as long as no row is being isolated.
        self._ahead.settle(self._beat)
        self._crew.progressed()
        keys = self._keys_of(chunk)
        if not keys:
            # Whoever was the reason is gone by now, and everything else of the chunk is done.
            self._committed(lambda: self._claims.advance(self._connection, extent, plan.upper, 0))
            self._moved(extent, plan.upper)
            return
        if blame is Blame.SIZE and not self._isolation.active:
            self._too_large = len(keys)
        if not self._isolation.failed(len(keys), plan.upper):
            _log.info("%s: %d rows failed together, trying fewer: %s", self._job.name, len(keys), error)
            return
        self._too_large = 0
        text = short(f"{error}" if isinstance(error, UserError) else words_of(error))
        self._committed(lambda: self._record(extent, keys[0], text, plan.upper))
        self._moved(extent, plan.upper)
        self._too_many(1)

    def _keys_of(self, chunk: Chunk) -> list[Key]:
        """The rows of a chunk that failed; all in its range where ``pending`` cannot be evaluated."""

        def keys(condition: sa.ColumnElement[bool]) -> list[Key]:
            chunker = self._job.chunker
            return self._looked(lambda: chunker.next_keys(self._connection, chunk.lower, _ALL, condition))

        if not self._planner.blind:
            try:
                return keys(chunk.where)
            except ServerFault as error:
                if self._blame(error) not in (Blame.ROW, Blame.SIZE):
                    raise
                self._plan_by_range(error)
        return keys(chunk.range)

    def _record(self, extent: Extent, key: Key, error: str, upper: Key) -> None:
        state.record_failures(self._connection, self._job.name, self._crew.run, {encode_key(key): error})
        self._claims.advance(self._connection, extent, upper, 0)

    def _too_many(self, failures: int) -> None:
        if failures and not self._crew.failed(failures):
            raise TooManyFailures(count=self._crew.failures, limit=self._crew.place.max_failures)

    @property
    def place(self) -> str:
        """Where it was, for a person to read."""
        chunk = None if self._plan is None else self._plan.chunk
        return "" if chunk is None else f" ({chunk})"


_ALL = 2**31 - 1
_PATIENCE = 32
"""Chunks after which a size that was too large is tried again."""
_AFTER_LOSS = 8
"""By this the chunk in which a connection was lost is divided."""
_log = logging.getLogger(__name__)


class TooManyFailures(exceptions.Failed):
    """{count:,} row(s) could not be migrated, and {limit:,} is the limit (--max-failures)."""


def short(error: Any) -> str:
    """An error as it is kept: of a length, and of characters that every server stores."""
    text = str(error).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]} ..."
