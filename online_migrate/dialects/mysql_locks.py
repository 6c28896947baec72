"""Locks on MySQL and MariaDB: GET_LOCK, and LOCK TABLES."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import mysql_privileges
from online_migrate.dialects.facets.locks import Locks, LockTarget
from online_migrate.dialects.mysql_errors import error_code
from online_migrate.dialects.mysql_sessions import IDLE_TIMEOUT, SESSION_TIMEOUT
from online_migrate.dialects.mysql_variables import is_galera
from online_migrate.driver_errors import DATABASE_ERRORS, error_message

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_NOT_LOCKED = 1100
_NO_LOCK = frozenset({_NOT_LOCKED, 1099, 1109, 1146, 1356})
"""Error codes: the table is not locked, is locked for reading only, or does not exist."""
_NEVER_LOCKED = "online_migrate_never_locked"


class MySQLLocks(Locks):
    """Takes locks that belong to the session: LOCK TABLES blocks writers while DDL commits implicitly."""

    metadata_only_under_lock: ClassVar[bool] = True
    lock_is_of_a_name: ClassVar[bool] = True
    blocked: ClassVar[str] = """
        SELECT count(DISTINCT w.requesting_thread_id)
        FROM performance_schema.data_lock_waits w
        JOIN performance_schema.threads b ON b.thread_id = w.blocking_thread_id
        JOIN performance_schema.threads r ON r.thread_id = w.requesting_thread_id
        WHERE b.processlist_id IN :sessions AND r.processlist_id NOT IN :sessions
    """
    """The query that counts the other sessions that wait for row locks held by ``:sessions``."""

    def session_id(self, connection: Connection) -> int:
        return int(connection.scalar(sa.text("SELECT CONNECTION_ID()")) or 0)

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        query = sa.text(self.blocked).bindparams(sa.bindparam("sessions", expanding=True))
        return int(connection.scalar(query, {"sessions": list(sessions) or [0]}) or 0)

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        taken = connection.scalar(
            sa.text("SELECT GET_LOCK(:name, 0)"), {"name": _lock_name(connection, name)}
        )
        connection.commit()
        return bool(taken)

    def sees_all_sessions(self, connection: Connection) -> bool:
        # GET_LOCK is local to one node of a Galera cluster.
        return not is_galera(connection)

    def free_named_lock(self, connection: Connection, name: str) -> None:
        connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": _lock_name(connection, name)})
        connection.commit()

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        self._lock_tables(connection, targets)

    def _lock_tables(
        self, connection: Connection, targets: Sequence[LockTarget], *, suffix: str = ""
    ) -> None:
        listed = [f"{name} WRITE" for name in _named(connection, targets)]
        # Set before the lock is taken: if this host vanishes, the lock outlives it by no longer than this.
        seconds = connection.info.get(SESSION_TIMEOUT, IDLE_TIMEOUT)
        connection.execute(sa.text(f"SET SESSION wait_timeout = {seconds}"))
        try:
            connection.execute(sa.text(f"LOCK TABLES {', '.join(listed)}{suffix}"))
        except DATABASE_ERRORS as error:
            if error_code(error) not in mysql_privileges.DENIED:
                raise
            raise self._lock_denied(connection, error) from error

    @staticmethod
    def _lock_denied(connection: Connection, error: BaseException) -> exceptions.Refused:
        database, user = connection.execute(sa.text("SELECT DATABASE(), CURRENT_USER()")).one()
        return exceptions.Refused(
            reason=f"LOCK TABLES, under which rows are counted, is denied: {error_message(error)}",
            hint=mysql_privileges.grant(str(database), str(user)),
        )

    def unlock_tables(self, connection: Connection) -> None:
        connection.execute(sa.text("UNLOCK TABLES"))
        connection.execute(sa.text(f"SET SESSION wait_timeout = {IDLE_TIMEOUT}"))

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        # LOCK TABLES belongs to the session, not to a transaction: there is nothing to compare with.
        return None

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        """Returns True if this session holds write locks on all *targets*, from the errors of test queries.

        performance_schema is not used: it is off on MariaDB, and this user may lack the privilege to read it.

        While a session holds LOCK TABLES, any table name that is not among the locked ones causes error 1100,
        also the name of a table that does not exist. A table that is locked for reading only causes error
        1099 for a FOR UPDATE.
        """
        if self._locked_code(connection, f"SELECT 1 FROM {_NEVER_LOCKED} LIMIT 0") != _NOT_LOCKED:
            return False
        reads = [f"SELECT 1 FROM {name} LIMIT 0 FOR UPDATE" for name in _named(connection, targets)]
        return all(self._locked_code(connection, read) is None for read in reads)

    def _locked_code(self, connection: Connection, read: str) -> object:
        """Runs the query *read*, and returns the error code if the table is missing or not locked.

        Returns None if the query succeeds. Raises every other error.
        """
        try:
            connection.execute(sa.text(read))
        except DATABASE_ERRORS as error:
            if error_code(error) not in _NO_LOCK:
                raise
            return error_code(error)
        return None


def _named(connection: Connection, targets: Sequence[LockTarget]) -> list[str]:
    """Returns the tables in the form of LOCK TABLES and FROM: each once, with its alias, sorted."""
    quote = connection.dialect.identifier_preparer.quote
    found = []
    for target in sorted(set(targets), key=lambda t: (t.schema or "", t.table, t.alias or "")):
        name = ".".join(quote(part) for part in (target.schema, target.table) if part)
        found.append(f"{name} AS {quote(target.alias)}" if target.alias else name)
    return found


def _lock_name(connection: Connection, name: str) -> str:
    # The names of GET_LOCK are global to the server, not to a database, and have at most 64 characters.
    database = connection.scalar(sa.text("SELECT DATABASE()"))
    return "online_migrate/" + hashlib.sha256(f"{database}/{name}".encode()).hexdigest()[:40]
