"""contract: what happens while the application waits for the table lock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.ddl.executor import Executor
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.ddl.lock_queue import LockQueue
from online_migrate.sql import parse
from online_migrate.sql.operations import reader
from online_migrate.sql.table_lock import Locked, TableLock
from tests.servers import Database
from tests.support import schema

pytestmark = [pytest.mark.each_product, pytest.mark.needs("row_locks")]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists what was parsed, and for which tables a look was taken, while contract held its lock."""
    found: list[str] = []
    held: list[bool] = []
    init, free, look, send = HeldLock.__init__, HeldLock.free, LockQueue.old_holders, Executor._send

    def locked(self: HeldLock, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        held.append(True)
        counts[:] = _misses()

    def freed(self: HeldLock) -> None:
        held.clear()
        free(self)

    def looked(self: LockQueue, locks: Sequence[TableLock]) -> object:
        if held and all(lock.kind is Locked.TABLE for lock in locks):
            found.append(f"look: {[lock.name for lock in locks]}")
        return look(self, locks)

    def sent(self: Executor, statement: str, *more: object) -> None:
        if held and _misses() != counts:
            found.append(f"parsed: {statement}")
            counts[:] = _misses()
        send(self, statement, *more)  # type: ignore[arg-type]

    counts = _misses()
    for owner, name, function in (
        (HeldLock, "__init__", locked),
        (HeldLock, "free", freed),
        (LockQueue, "old_holders", looked),
        (Executor, "_send", sent),
    ):
        monkeypatch.setattr(owner, name, function)
    return found


def _misses() -> list[int]:
    return [parse.parse.cache_info().misses, reader.read_operations.cache_info().misses]


def test_statements_are_parsed_before_the_lock_and_locked_tables_are_not_looked_at(
    database: Database, tmp_path: Path, watched: list[str]
) -> None:
    """Parsing takes as long as some statements, and the import of the parsers longer than all of them.

    An index is looked at: the text of DROP INDEX of PostgreSQL does not name its table.
    """
    with schema.volumes(tmp_path / "project", database) as project:
        schema.ready(project, database)
        parse.parse.cache_clear()
        reader.read_operations.cache_clear()
        command.contract(project.site())
    assert watched == []
