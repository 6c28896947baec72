"""Instances of the application, each in a thread with its own connection, that write continuously.

Each write is one transaction: it reads the row, compares it with its last acknowledged state, changes it and
commits. After a transient error an instance retries the write. The measured latency includes the retries.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from online_migrate.demo.application import DEFAULT_ZONE, GIB, Version
from online_migrate.demo.ledger import Difference, Key, Ledger, Row, difference
from online_migrate.dialects import create_engine, dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PATIENCE = 30.0
"""Seconds for which an instance retries one write before the demo fails."""
_FIRST = ("Ada", "Barbara", "Edsger", "Grace", "Jim", "Margaret", "Michael", "Niklaus")
_LAST = ("Codd", "Gray", "Hamilton", "Hopper", "Liskov", "Lovelace", "Stonebraker", "Wirth")
_WRITES = {"insert": 35, "update": 50, "delete": 15}
_TABLES = {"volumes": 75, "accounts": 25}


@dataclasses.dataclass(frozen=True)
class Wait:
    """The latency of one write in seconds, and the command that ran when the write started."""

    seconds: float = 0.0
    during: str = ""


class Record:
    """The statistics of the instances of one version. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.writes: collections.Counter[str] = collections.Counter()
        self.retries = 0
        self.misread: list[Difference] = []
        self.waits: list[Wait] = []
        self.lock = threading.Lock()

    @property
    def total(self) -> int:
        """The number of acknowledged writes."""
        return len(self.waits)

    def longest(self, since: int = 0) -> Wait:
        """Returns the longest latency, without the first *since* writes."""
        with self.lock:
            return max(self.waits[since:], key=lambda wait: wait.seconds, default=Wait())

    def typical(self) -> float:
        """Returns the median latency in seconds."""
        with self.lock:
            ordered = sorted(wait.seconds for wait in self.waits)
        return ordered[len(ordered) // 2] if ordered else 0.0


class Traffic:
    """The running instances, and their statistics."""

    def __init__(self, url: str, ledger: Ledger, *, rate: float, setup: Sequence[str] = ()) -> None:
        self._url = url
        self.setup = setup
        """Statements that an instance runs at the start of its session."""
        self._ledger = ledger
        self._rate = rate
        self._running: dict[str, list[Instance]] = {}
        self.records: dict[str, Record] = {}
        self.during = ""
        """The command that runs now; empty if none does."""

    def start(self, version: Callable[[], Version], *, instances: int = 2) -> None:
        """Starts instances of *version*. Together they make ``rate`` writes per second."""
        started = [
            Instance(version(), self, pause=instances / self._rate, number=number)
            for number in range(instances)
        ]
        name = started[0].name
        self.records.setdefault(name, Record(name))
        self._running[name] = started
        for instance in started:
            instance.start()

    def stop(self, name: str) -> None:
        """Stops the instances of a version after their current write, and waits for their threads."""
        instances = self._running.pop(name, [])
        for instance in instances:
            instance.ask_to_stop()
        for instance in instances:
            instance.join()
        _raise_first(instances)

    def stop_all(self) -> None:
        """Stops all instances."""
        for name in list(self._running):
            self.stop(name)

    def check(self) -> None:
        """Raises the error of an instance that has failed."""
        for instances in self._running.values():
            _raise_first(instances)

    def wait_for(self, writes: int, seconds: float) -> None:
        """Waits for *seconds*, and until every running version has made *writes* more writes."""
        before = {name: self.records[name].total for name in self._running}
        end = time.monotonic() + seconds
        while time.monotonic() < end or any(
            self.records[name].total < count + writes for name, count in before.items()
        ):
            time.sleep(0.02)
            self.check()

    @property
    def running(self) -> Sequence[str]:
        """The names of the running versions."""
        return list(self._running)

    @property
    def ledger(self) -> Ledger:
        """What every row has to be."""
        return self._ledger

    @property
    def url(self) -> str:
        """The database, password included."""
        return self._url


def _raise_first(instances: Sequence[Instance]) -> None:
    for instance in instances:
        if instance.error is not None:
            raise instance.error


class Instance(threading.Thread):
    """One instance of a version: one connection, sequential writes."""

    def __init__(self, version: Version, traffic: Traffic, *, pause: float, number: int) -> None:
        super().__init__(name=f"{version.name}, instance {number}", daemon=True)
        self._version = version
        self._traffic = traffic
        self._pause = pause
        self._random = random.Random(f"{version.name}/{number}")
        self._written = 0
        self._stop_asked = threading.Event()
        self.name = version.name
        self.error: Exception | None = None

    def ask_to_stop(self) -> None:
        """Requests the stop of the instance after its current write."""
        self._stop_asked.set()

    def run(self) -> None:
        engine = create_engine(self._traffic.url)
        try:
            with engine.connect() as connection:
                cursor = connection.connection.cursor()
                for statement in self._traffic.setup:
                    cursor.execute(statement)
                cursor.close()
                dialect_of(connection).prepare_data_session(connection, idle_timeout=600)
                self._work(connection)
        except Exception as error:  # noqa: BLE001 - raised again by :meth:`Traffic.check` and :meth:`Traffic.stop`
            self.error = error
        finally:
            engine.dispose()

    def _work(self, connection: Connection) -> None:
        due = time.monotonic()
        while not self._stop_asked.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause * self._random.uniform(0.5, 1.5), time.monotonic())
            table = self._random.choices(list(_TABLES), list(_TABLES.values()))[0]
            kind = self._random.choices(list(_WRITES), list(_WRITES.values()))[0]
            if kind == "insert":
                self._write(connection, kind, self._traffic.ledger.borrow_new(table), None)
                continue
            borrowed = self._traffic.ledger.borrow(table)
            if borrowed is not None:
                self._write(connection, kind, *borrowed)

    # --- one write -------------------------------------------------------------------------------

    def _write(self, connection: Connection, kind: str, key: Key, before: Row | None) -> None:
        record = self._traffic.records[self.name]
        begun, during = time.monotonic(), self._traffic.during
        retries = 0
        while True:
            try:
                with connection.begin():
                    wrong, after = self._transaction(connection, kind, key, before)
                break
            except DATABASE_ERRORS as error:
                retries += 1
                self._can_go_on(connection, error, begun)
        seconds = time.monotonic() - begun
        self._traffic.ledger.acknowledge(key, after)
        with record.lock:
            record.writes[kind] += 1
            record.retries += retries
            record.waits.append(Wait(seconds, during))
            if wrong is not None:
                record.misread.append(wrong)

    def _transaction(
        self, connection: Connection, kind: str, key: Key, before: Row | None
    ) -> tuple[Difference | None, Row | None]:
        version = self._version
        if before is None:
            after = self._new_row(key)
            version.insert(connection, key, after)
            return None, after
        wrong = difference(key, before, version.read(connection, key))
        if kind == "delete":
            version.delete(connection, key)
            return wrong, None
        changed = {**before, **self._changes(key)}
        version.update(connection, key, changed)
        return wrong, changed

    def _can_go_on(self, connection: Connection, error: Exception, begun: float) -> None:
        """Returns if the write can be retried; raises *error* otherwise."""
        dialect = dialect_of(connection)
        if time.monotonic() - begun > PATIENCE:
            raise error
        if dialect.is_transient(error):
            return
        try:
            with connection.begin():
                changed = self._version.schema_changed(connection)
        except DATABASE_ERRORS as second:
            if not dialect.is_transient(second):
                raise
            changed = True
        if not changed:
            raise error

    # --- generated values -------------------------------------------------------------------------

    def _new_row(self, key: Key) -> Row:
        # A field that this version does not have gets the value that the data migration assigns.
        unknown = {} if key[0] == "accounts" else {"zone": DEFAULT_ZONE}
        return {**unknown, **self._changes(key)}

    def _changes(self, key: Key) -> Mapping[str, Any]:
        self._written += 1
        chance = self._random
        stamp = f"{chance.choice('abcdef')}{self._written}"
        if key[0] == "accounts":
            return {"first": chance.choice(_FIRST), "last": f"{chance.choice(_LAST)}-{stamp}"}
        changes: dict[str, Any] = {
            "name": f"volume-{key[1]}-{stamp}",
            "size": chance.randint(1, 4000) * GIB,
            "host": f"host-{chance.randint(1, 40)}" if chance.random() < 0.5 else None,
        }
        if self._version.has_zones:
            changes["zone"] = f"zone-{chance.randint(1, 3)}"
        if self._version.has_bytes:
            changes["size"] += chance.randint(0, GIB - 1)
        return changes


def sample_rows(rows: int) -> dict[Key, Row]:
    """Returns the initial rows: three volumes for each account. Pure."""
    chance = random.Random(0)
    found: dict[Key, Row] = {}
    for number in range(1, rows - rows // 4 + 1):
        found["volumes", number] = {
            "name": f"volume-{number}",
            "size": chance.randint(1, 4000) * GIB,
            "host": f"host-{chance.randint(1, 40)}" if chance.random() < 0.5 else None,
            "zone": DEFAULT_ZONE,
        }
    for number in range(1, rows // 4 + 1):
        last = f"{chance.choice(_LAST)}-{number}"
        found["accounts", number] = {"first": chance.choice(_FIRST), "last": last}
    return found
