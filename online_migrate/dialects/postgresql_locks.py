"""Locks on PostgreSQL: advisory locks, and LOCK TABLE."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects.facets.locks import Locks, LockTarget

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_BLOCKED = """
    SELECT count(*) FROM pg_locks
    WHERE NOT granted AND pid <> ALL(:sessions) AND pg_blocking_pids(pid) && CAST(:sessions AS int[])
"""
_OID = "SELECT CAST(CAST(to_regclass(:name) AS oid) AS bigint)"
_TRANSACTION = """
    SELECT l.virtualtransaction, current_setting('transaction_isolation')
    FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'virtualxid' AND l.granted
"""
_LOCKED = """
    SELECT count(DISTINCT l.relation) FROM pg_locks l
    WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation'
      AND l.mode = 'AccessExclusiveLock' AND l.virtualtransaction = :transaction
      AND l.relation = ANY(CAST(:oids AS oid[]))
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclasses.dataclass(frozen=True)
class _LockProof:
    transaction: str
    oids: frozenset[int]


class PostgreSQLLocks(Locks):
    """Takes table locks that belong to the transaction, and proves them by pg_locks."""

    table_lock: ClassVar[str] = "ACCESS EXCLUSIVE"

    def session_id(self, connection: Connection) -> int:
        return int(connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0)

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        if not sessions:
            return 0
        return int(connection.scalar(sa.text(_BLOCKED), {"sessions": list(sessions)}) or 0)

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        taken = connection.scalar(sa.text(f"SELECT pg_try_advisory_lock({_advisory_key(name)})"))
        connection.commit()
        return bool(taken)

    def free_named_lock(self, connection: Connection, name: str) -> None:
        connection.execute(sa.text(f"SELECT pg_advisory_unlock({_advisory_key(name)})"))
        connection.commit()

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        listed = ", ".join(_quoted(connection, targets))
        connection.execute(sa.text(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE"))

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """Returns the id of the transaction, and the OIDs of the tables.

        The lock on an OID remains listed also after a statement of this transaction drops the table. Raises
        :class:`~online_migrate.exceptions.NotUnderLock` if the isolation level is not READ COMMITTED.
        """
        transaction, isolation = connection.execute(sa.text(_TRANSACTION)).one()
        if isolation != "read committed":
            # A query under the lock would read the snapshot of the begin of the transaction.
            raise exceptions.NotUnderLock(
                statement=f"SET TRANSACTION ISOLATION LEVEL {isolation}".upper(),
                reason="rows that were committed before the lock was acquired would not be visible",
                hint="remove it from the script",
            )
        names = _quoted(connection, targets)
        oids = frozenset(int(connection.scalar(sa.text(_OID), {"name": name}) or 0) for name in names)
        return _LockProof(transaction, oids)

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        assert isinstance(proof, _LockProof)
        parameters = {"transaction": proof.transaction, "oids": sorted(proof.oids)}
        return int(connection.scalar(sa.text(_LOCKED), parameters) or 0) == len(proof.oids)


def _quoted(connection: Connection, targets: Sequence[LockTarget]) -> list[str]:
    """Returns the quoted names of the tables, each once, sorted."""
    quote = connection.dialect.identifier_preparer.quote
    tables = sorted({(target.schema or "", target.table) for target in targets})
    return [".".join(quote(part) for part in table if part) for table in tables]


def _advisory_key(name: str) -> int:
    digest = hashlib.sha256(f"online_migrate/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
