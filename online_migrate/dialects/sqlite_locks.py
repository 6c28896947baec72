"""Locks on SQLite: a locked file for a name, and the transaction for the tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from online_migrate.dialects.facets.locks import Locks, LockTarget

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class SQLiteLocks(Locks):
    """Locks files for names. The immediate transaction of a revision locks the tables."""

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        path = _lock_path(connection, name)
        if path is None:
            return True
        import fcntl

        handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have deleted the file meanwhile. Another process would then lock a new
            # file of that name.
            ours = os.path.samestat(os.fstat(handle.fileno()), path.stat())
        except OSError:
            ours = False
        if not ours:
            handle.close()
            return False
        _held(connection)[name] = handle
        return True

    def free_named_lock(self, connection: Connection, name: str) -> None:
        handle = _held(connection).pop(name, None)
        if handle is not None:
            Path(handle.name).unlink(missing_ok=True)
            handle.close()

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        """Does nothing: the immediate transaction of the connection already blocks all other writers."""

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """Returns a number that changes as soon as another connection has committed a change."""
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").all()
        return connection.exec_driver_sql("PRAGMA data_version").scalar()

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        driver: Any = connection.connection.dbapi_connection
        return bool(driver.in_transaction) and self.lock_proof(connection, targets) == proof


def _held(connection: Connection) -> dict[str, IO[str]]:
    held: dict[str, IO[str]] = connection.info.setdefault("online_migrate_locks", {})
    return held


def _lock_path(connection: Connection, name: str) -> Path | None:
    database = connection.engine.url.database
    if not database or database == ":memory:" or database.startswith("file:"):
        return None
    return Path(f"{os.path.realpath(database)}-{name.replace('/', '_')}.lock")
