"""The history of one change: clients of both versions, commands of operators, and a ledger of all writes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from online_migrate import command
from online_migrate.exceptions import GateClosed, OnlineMigrateError, Refused, RollbackRefused
from tests.servers import Database
from tests.support import schema
from tests.support.history_changes import Change, Values
from tests.support.history_sql import is_empty, put, read, upsert
from tests.support.project import Project

Version = Literal["old", "new"]
Way = Literal["insert", "update", "upsert", "delete"]
PATIENCE = 20.0
"""Seconds after which a client gives up a lock."""
_HEAD_START = 0.05
"""Seconds that the engine waits for a client that writes during a command."""


@dataclasses.dataclass
class Moment:
    """The moment before a statement of the engine, by its number."""

    at: int
    sent: list[str] = dataclasses.field(default_factory=list)
    """The statements so far."""

    def is_now(self, statement: str) -> bool:
        """Counts a statement, and returns whether it is this one."""
        self.sent.append(statement)
        return len(self.sent) == self.at


class History:
    """A database from before expand to after contract, and what its clients were told is written.

    Before contract the old version inserts rows without the new columns, and writes both shapes when it
    updates a row, like a release that is prepared for the change. The new version writes both shapes until
    contract, and after it only the new one. With a sync, each version writes its own shape only.
    """

    def __init__(self, database: Database, folder: Path, change: Change, *, synced: bool = False) -> None:
        self.database = database
        self.change = change
        self.project = Project.create(folder, database.url)
        self.synced = synced
        drop_sync = 'op.drop_sync("both")\n' if synced else ""
        create_sync = change.sync if synced else ""
        self.project.expand(f"{change.expand}\n{create_sync}", "e1", downgrade=drop_sync + change.undo)
        self.project.data("moved", change.data)
        self.project.contract(drop_sync + change.contract, "c1", requires=("moved",))
        self.engine = _client_engine(database)
        self.ledger: dict[int, int] = {}
        """The value of each row, by its key."""
        self.expanded = self.contracted = False
        self.interrupted = False
        """Whether a killed contract may have dropped the triggers of the sync."""
        self.contract_was_killed = False
        self.resumes = False
        """Whether the next contract migrates rows itself, because a killed one may have dropped triggers."""
        self._in_one_shape: dict[int, Version] = {}
        """The rows that a version wrote at such a time: its write may not have reached the other shape."""
        self._not_synced: set[int] = set()
        """The rows that have not been written since expand."""
        self._uncertain: dict[int, list[int | None]] = {}
        """Values that were sent, but neither acknowledged nor refused."""
        self._values = itertools.count(1)
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE items (id INTEGER PRIMARY KEY, {change.columns})")

    @classmethod
    def ready_to_contract(
        cls, database: Database, folder: Path, change: Change, *, synced: bool = False
    ) -> Self:
        """Returns the history of an emptied database, up to the end of the data migration."""
        database.clear()
        history = cls(database, folder, change, synced=synced)
        for key in (1, 2):
            history.write("old", "insert", key)
        history.expand()
        history.migrate()
        return history

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()
        self.project.__exit__(None, None, None)

    # --- the operator ----------------------------------------------------------------------------

    def expand(self) -> None:
        """Applies the expand revision."""
        self.project.apply_expand()
        self.expanded = True
        self._not_synced = {*self.ledger}

    def roll_back(self) -> bool:
        """Undoes the expand revision, and returns whether that was done.

        What only the new columns hold is given up: the old ones have a value of every write.
        """
        try:
            command.rollback(self.project.site())
        except RollbackRefused as refused:
            if {blocker.id for blocker in refused.blockers} != {"rows-lost"}:
                return False
            lost = sum(blocker.count or 0 for blocker in refused.blockers)
            command.rollback(self.project.site(), accept_loss=lost)
        except Refused:
            return False
        self.expanded = False
        return True

    def migrate(self, **limits: Any) -> Any:
        """Runs the data migration, all of it or a part."""
        [result] = self.project.migrate("moved", **limits).values()
        return result

    def contract(self) -> bool:
        """Tries to contract, and returns whether that was done; False if the gate is closed.

        If that is because the two shapes of rows differ, the version that wrote a row last writes it again.
        """
        try:
            done = command.contract(self.project.site()).revisions
        except GateClosed as refused:
            if any(blocker.id == "sync-out-of-step" for blocker in refused.blockers):
                for key, version in list(self._in_one_shape.items()):
                    self.write(version, "update", key)
            return False
        self.contracted = True
        assert done == ("c1",)
        return True

    def killed(self, *arguments: str, at: int | str, inherit: bool = False) -> bool:
        """Runs a command in a process that kills itself before statement *at*, a number or a beginning.

        Returns whether it was killed. *inherit*: the process has the changes that a test made to the engine.
        """
        transactional = self.database.server.has("transactional_ddl")
        if "contract" in arguments:
            self.contract_was_killed = True
            self.resumes = self.synced and not transactional
            self.interrupted |= self.resumes
        ran = schema.run(self.project, *arguments, die_at=at, inherit=inherit)
        assert ran.code in (-9, 0, 1, 3), ran.output
        names = {column["name"] for column in sa.inspect(self.engine).get_columns("items")}
        self.contracted = names.isdisjoint(self._columns("old"))
        return ran.code == -9

    @contextlib.contextmanager
    def writes_during(self, version: Version, way: Way, key: int, at: int) -> Iterator[Moment]:
        """Inside the block, a client begins to write before statement number *at* of the engine.

        It may have to wait for a lock until the engine's transaction ends.
        """
        moment = Moment(at)
        with concurrent.futures.ThreadPoolExecutor(1) as client:
            writes = []

            def before(connection: Connection, _: object, statement: str, *__: object) -> None:
                if connection.engine is not self.engine and moment.is_now(statement):
                    writes.append(client.submit(self._write_if_possible, version, way, key))
                    concurrent.futures.wait(writes, timeout=_HEAD_START)

            event.listen(Engine, "before_cursor_execute", before)
            try:
                yield moment
            finally:
                event.remove(Engine, "before_cursor_execute", before)
                for write in writes:
                    write.result(PATIENCE * 2)

    def contract_beside_an_insert(self, key: int, at: int) -> tuple[bool, list[str]]:
        """Contracts while an old client inserts at that moment.

        Returns whether it was done, and the statements of the engine. A refused contract is completed.
        """
        with self.writes_during("old", "insert", key, at) as moment:
            done = self.contract()
        self.check()
        if not done:
            assert self.pending() == [key]
            self.finish()
            self.check()
        return done, moment.sent

    def finish(self) -> None:
        """Migrates and contracts."""
        if not self.expanded:
            self.expand()
        with contextlib.suppress(OnlineMigrateError):
            command.resume(self.project.site(), "moved")
        if not self.contracted:
            self.migrate()
            # The first one may be refused for rows whose shapes differ; they are then written again.
            assert self.contract() or self.contract(), command.gate(self.project.site())

    # --- the clients -----------------------------------------------------------------------------

    def write(self, version: Version, way: Way, key: int) -> bool:
        """Writes a new value in a transaction, and records it if it was acknowledged.

        Returns False if the row does not exist or, for an insert, exists already.
        """
        value = None if way == "delete" else next(self._values)
        try:
            with self.engine.begin() as connection:
                if not self._send(connection, version, way, key, value):
                    return False
        except DBAPIError as error:
            if error.connection_invalidated:
                self._uncertain.setdefault(key, []).append(value)  # the commit may have been done
            raise
        self.record(key, value, version)
        return True

    def _write_if_possible(self, version: Version, way: Way, key: int) -> None:
        """Writes as :meth:`write`; an error of the server means that nothing is acknowledged."""
        with contextlib.suppress(DBAPIError):
            self.write(version, way, key)

    def record(self, key: int, value: int | None, version: Version | None = None) -> None:
        """Enters an acknowledged write into the ledger."""
        if self.interrupted and version is not None and value is not None:
            self._in_one_shape[key] = version
        else:
            self._in_one_shape.pop(key, None)
        self._not_synced.discard(key)
        self._uncertain.pop(key, None)
        if value is None:
            self.ledger.pop(key, None)
        else:
            self.ledger[key] = value

    def _send(self, connection: Connection, version: Version, way: Way, key: int, value: int | None) -> bool:
        exists = connection.scalar(sa.text("SELECT id FROM items WHERE id = :id"), {"id": key}) is not None
        if (way == "insert" and exists) or (way in ("update", "delete") and not exists):
            return False
        insert = not exists
        if value is None:
            for table in ["items", self.change.new_table] if self.expanded else ["items"]:
                connection.execute(sa.text(f"DELETE FROM {table} WHERE id = :id"), {"id": key})
            return True
        old, new = self._written(version, value, insert=insert)
        if self.change.moves:
            put(connection, "items", key, old, exists=exists)
            if new:
                row = sa.text(f"SELECT id FROM {self.change.new_table} WHERE id = :id")
                there = connection.scalar(row, {"id": key}) is not None
                put(connection, self.change.new_table, key, new, exists=there)
        elif way == "upsert":
            upsert(connection, key, {**old, **new})
        else:
            put(connection, "items", key, {**old, **new}, exists=exists)
        return True

    def _written(self, version: Version, value: int, *, insert: bool) -> tuple[Values, Values]:
        """Returns the values of the old and of the new columns that a version writes."""
        old, new = self.change.old(value), self.change.new(value)
        if not self.expanded:
            return old, {}
        if self.contracted:
            return {}, new
        if self.synced:
            return (old, {}) if version == "old" else ({}, new)
        return old, {} if version == "old" and insert else new

    # --- the check -------------------------------------------------------------------------------

    def check(self) -> None:
        """Asserts that each acknowledged write is in both shapes, or only in the old one if it is pending.

        With a sync, a row is not pending after a write. After contract, each write is in the new shape. A row
        that was written while triggers were missing may be in one shape only, until contract.
        """
        found = self.rows()
        for key, values in list(self._uncertain.items()):
            self._settle(key, values, *found.get(key, (None, None)))
        assert found.keys() == self.ledger.keys(), "rows are lost, or deleted rows are back"
        for key, (old, new) in found.items():
            value = self.ledger[key]
            only = None if self.contracted else self._in_one_shape.get(key)
            if not self.contracted and only != "new":
                assert old == self.change.old(value), (key, value, "old", old, new)
            must_be_new = self.contracted or (self.synced and self.expanded and key not in self._not_synced)
            if only != "old" and (must_be_new or (self.expanded and not is_empty(new))):
                assert new == self.change.new(value), (key, value, "new", old, new)
        if self.interrupted and not self.contracted:
            self.interrupted = [sync.state for sync in self.project.report().syncs] != ["there"]

    def _settle(self, key: int, values: Sequence[int | None], old: Values | None, new: Values | None) -> None:
        """Enters a write of which the client does not know whether it was done, if it is found."""
        for value in values:
            expected = (None, None) if value is None else (self.change.old(value), self.change.new(value))
            if (new if self.contracted else old) == expected[self.contracted]:
                return self.record(key, value)
        self._uncertain.pop(key)
        return None

    def rows(self) -> dict[int, tuple[Values | None, Values | None]]:
        """Returns the old and the new columns of each row."""
        old, new = (None if self.contracted else self._columns("old")), self._columns("new")
        with self.engine.connect() as connection:
            keys = connection.scalars(sa.text("SELECT id FROM items")).all()
            olds = {} if old is None else read(connection, "items", old)
            news = read(connection, self.change.new_table, new) if self.expanded else {}
        return {key: (olds.get(key), news.get(key)) for key in keys}

    def _columns(self, version: Version) -> tuple[str, ...]:
        return tuple((self.change.old if version == "old" else self.change.new)(0))

    def pending(self) -> list[int]:
        """Returns the keys of the rows that have no value in the new shape."""
        return [key for key, (_, new) in self.rows().items() if is_empty(new)]


def _client_engine(database: Database) -> Engine:
    if database.server.product == "sqlite":
        return sa.create_engine(database.url, connect_args={"timeout": PATIENCE})
    return sa.create_engine(database.url)


def between_gate_and_removal(statements: Sequence[str]) -> tuple[int, int]:
    """Returns the numbers of the first count of pending rows, and of the statement that drops the column."""
    flat = [" ".join(statement.split()) for statement in statements]
    first = next(number for number, text in enumerate(flat, start=1) if _COUNT.search(text))
    last = next(
        number for number, text in enumerate(flat, start=1) if text.startswith("ALTER TABLE items DROP")
    )
    return first, last


_COUNT = re.compile(r"FROM items WHERE .* (IS NOT FALSE|IS NOT TRUE|IS NULL)")
NEVER = 1_000_000
"""No command sends so many statements."""
