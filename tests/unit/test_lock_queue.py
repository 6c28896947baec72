"""The holders of a lock as the catalogs describe them, and the wait for them."""

from __future__ import annotations

import threading
import types
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate.ddl.lock_queue import LockNotFree, LockQueue
from online_migrate.ddl.queue_watch import QueueWatch
from online_migrate.ddl.wait_watch import WaitNamer
from online_migrate.dialects import mysql_holders, postgresql_holders
from online_migrate.dialects.facets.holder import Holder
from online_migrate.sql.table_lock import TableLock
from online_migrate.waiting import Clock, Stop

VACUUM = "autovacuum: VACUUM public.t"


def of_postgresql(**more: Any) -> Holder | None:
    """The holder of a row of pg_stat_activity; *more*: what differs from an idle session."""
    row = {
        "pid": 7,
        "started": "1.5",
        "table": "t",
        "usename": "app",
        "application_name": "web",
        "backend_type": "client backend",
        "state": "idle in transaction",
        "seconds": 40.0,
        "unchanged": 30.0,
        "query": "UPDATE t SET n = 1",
        "superuser": False,
        "can_cancel_vacuum": True,
    }
    return postgresql_holders.session_holder(types.SimpleNamespace(**row | more))


def of_mysql(*, last: Any = None, privileges: Any = (("'app'@'%'", "USAGE"),), **more: Any) -> Holder:
    """The holder of a row of the process list, with a transaction of 40 s."""
    row = {"id": 7, "user": "app", "host": "h:1", "db": "d", "command": "Sleep", "seconds": 30, "query": None}
    return mysql_holders.session_holder(types.SimpleNamespace(**row | more), "t", 40.0, last, privileges)


def test_holder_is_shown_with_user_time_and_statement() -> None:
    shown = str(of_postgresql())
    assert shown == (
        "pid 7 (app, web, idle in transaction for 40 s): UPDATE t SET n = 1; "
        "SELECT pg_terminate_backend(7) ends it"
    )
    last = types.SimpleNamespace(query="UPDATE t SET n = 1", program=None)
    assert str(of_mysql(last=last)) == (
        "connection 7 (app@h:1, idle in transaction for 40 s): UPDATE t SET n = 1; KILL 7 ends it"
    )


def test_vacuum_that_prevents_wraparound_is_seen_before_queueing() -> None:
    """It does not yield, however young it is; another one does, to a session that may lower the timeout."""
    vacuum = {"backend_type": "autovacuum worker", "usename": None, "state": "active", "seconds": 0.1}
    wraparound = of_postgresql(**vacuum, query=f"{VACUUM} (to prevent wraparound)")
    assert wraparound is not None
    assert wraparound.never_yields
    assert wraparound.spared
    assert of_postgresql(**vacuum, query=VACUUM) is None
    waits = of_postgresql(**vacuum, query=VACUUM, can_cancel_vacuum=False)
    assert waits is not None
    assert not waits.never_yields


@pytest.mark.parametrize(
    "more",
    [
        {"backend_type": "walsender"},
        {"backend_type": "logical replication worker"},
        {"backend_type": "background worker"},
        {"backend_type": None},
        {"application_name": "pg_dump"},
        {"superuser": True},
    ],
)
def test_session_is_spared_on_postgresql(more: dict[str, Any]) -> None:
    holder = of_postgresql(**more)
    assert holder is not None
    assert holder.spared


@pytest.mark.parametrize(
    "more",
    [
        {"command": "Binlog Dump GTID"},
        {"command": "Slave_SQL", "user": "system user"},
        {"user": "event_scheduler", "command": "Daemon"},
        {"command": "Query", "query": "SELECT /*!40001 SQL_NO_CACHE */ * FROM t"},
        {"last": types.SimpleNamespace(query="SELECT 1", program="mysqldump")},
        {"privileges": [("'app'@'%'", "SUPER")]},
        {"privileges": [("'app'@'localhost'", "CONNECTION_ADMIN")]},
        {"privileges": []},
    ],
)
def test_session_is_spared_on_mysql(more: dict[str, Any]) -> None:
    assert of_mysql(**more).spared


def test_session_of_an_application_is_not_spared() -> None:
    postgresql = of_postgresql()
    assert postgresql is not None
    assert (postgresql.spared, of_mysql().spared) == ("", "")


# --- the queue -----------------------------------------------------------------------------------


class FakeClock(Clock):
    """A clock that only a test moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class FakeDialect:
    """A server whose holders and queue are given."""

    name = "postgresql"
    queue_is_watched = False

    def __init__(self) -> None:
        self.found: list[Holder] = []
        self.queued = True
        self.cancelled: list[int] = []
        self.limits: list[float] = []
        self.asked = threading.Event()

    def waits_inside(self, _statement: str) -> bool:
        return False

    def awaited(self, _connection: object, _session: int, _locks: object) -> list[Holder]:
        return self.found

    def is_free(self, _connection: object, _locks: object) -> bool | None:
        return None

    def lock_holders(self, _connection: object, _locks: object, *, blocked: bool) -> list[Holder]:
        return self.found

    def limit_queue(self, _connection: object, seconds: float) -> None:
        self.limits.append(seconds)

    def is_queued(self, _connection: object, _session: int) -> bool:
        self.asked.set()
        return self.queued

    def cancel_statement(self, _connection: object, session: int) -> None:
        self.cancelled.append(session)


def queue_of(dialect: Any, clock: Clock) -> LockQueue:
    """The queue of a session on a server without a second connection."""
    connection: Any = object()
    return LockQueue(dialect, connection, None, session=1, old=0.5, clock=clock, stop=Stop())


def test_statement_is_not_sent_while_an_old_transaction_holds_the_table() -> None:
    """A young one may end soon; one of unknown age is as old as it has been seen."""
    dialect, clock = FakeDialect(), FakeClock()
    queue = queue_of(dialect, clock)
    statement = "ALTER TABLE t ADD COLUMN a INT"
    dialect.found = [Holder("7", "pid 7 (app", seconds=0.4)]
    with queue.entered(statement):
        pass
    dialect.found = [Holder("7", "pid 7 (app", seconds=0.5)]
    with pytest.raises(LockNotFree), queue.entered(statement):
        raise AssertionError("it was sent")
    dialect.found = [Holder("8", "pid 8 (app")]
    with queue.entered(statement):
        pass
    clock.now = 0.6
    with pytest.raises(LockNotFree), queue.entered(statement):
        raise AssertionError("it was sent")


def test_lock_is_as_old_as_the_idle_time_or_as_it_has_been_seen() -> None:
    """The age of the transaction says nothing: its last statement may have taken the lock just now."""
    dialect, clock = FakeDialect(), FakeClock()
    queue = queue_of(dialect, clock)
    running = Holder("7", "pid 7 (app", seconds=600.0)
    idle = Holder("8", "pid 8 (app", seconds=600.0, idle=40.0)
    dialect.found = [running, idle]
    queue.holders([TableLock("t")])
    assert (queue.observed.held(running), queue.observed.held(idle)) == (0.0, 40.0)
    clock.now = 50.0
    queue.holders([TableLock("t")])
    assert (queue.observed.held(running), queue.observed.held(idle)) == (50.0, 50.0)


@pytest.mark.parametrize("queued", [True, False])
def test_watch_cancels_a_statement_that_queues_and_no_other(queued: bool) -> None:
    """A statement that has begun to execute would lose its work."""
    dialect = FakeDialect()
    dialect.queued = queued
    with sa.create_engine("sqlite://").connect() as beside:
        namer: Any = types.SimpleNamespace(look=lambda connection: None)
        watch = QueueWatch(dialect, beside, 7, namer, limit=0.01, clock=Clock(), stop=Stop())  # type: ignore[arg-type]
        with watch:
            assert dialect.asked.wait(10)
    assert watch.cancelled is queued
    assert dialect.cancelled == ([7] if queued else [])


def test_session_that_a_running_statement_waits_for_is_named_once_after_a_second() -> None:
    """A pause of the wait begins a new second; a further session is named with those that are still there."""
    dialect, clock = FakeDialect(), FakeClock()
    told: list[tuple[float, list[str]]] = []

    def tell(_statement: str, seconds: float, holders: Sequence[Holder]) -> None:
        told.append((seconds, [holder.id for holder in holders]))

    namer = WaitNamer(dialect, 1, "CREATE INDEX", (), clock=clock, tell=tell)  # type: ignore[arg-type]
    seven, eight = Holder("7", "pid 7 (app"), Holder("8", "pid 8 (app")
    with sa.create_engine("sqlite://").connect() as connection:
        for now, found in (
            *((0.0, [seven]), (0.9, [seven]), (1.0, []), (1.5, [seven]), (2.4, [seven]), (2.5, [seven])),
            *((3.0, [seven]), (3.5, [seven, eight]), (4.0, [eight])),
        ):
            clock.now, dialect.found = now, found
            namer.look(connection)
    assert told == [(1.0, ["7"]), (2.0, ["7", "8"])]
