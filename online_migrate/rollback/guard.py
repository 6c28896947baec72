"""The guard of one rollback: removals only, under a lock under which the losses were counted.

Invariants:

* A statement is sent only if it removes what the upgrade of the revision created.
* No other session writes between the count under the lock and the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.ddl.journal import Journal
from online_migrate.dialects import LockTarget
from online_migrate.exceptions import Blocker
from online_migrate.rollback.losses import Candidate
from online_migrate.rollback.removals import Created
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.statement import Kind, altered_schema, altered_table

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class RollbackGuard:
    """Authorizes the statements of one downgrade.

    *found*: returns what the removals could lose; it is called before the lock. *check*: refuses the losses
    under the lock.
    """

    access_refusal = exceptions.PastTheCheck

    def __init__(
        self,
        runner: RevisionRunner,
        journal: Journal,
        created: Created,
        tables: Sequence[LockTarget],
        found: Callable[[], list[Candidate]],
        check: Callable[[list[Candidate]], None],
    ) -> None:
        self._session = runner.session
        self._dialect = runner.session.dialect
        self._connection: Connection = runner.session.connection
        self._journal = journal
        self._created = created
        self._tables = tables
        self._found = found
        self._check = check
        self._lock: HeldLock | None = None

    def __enter__(self) -> RollbackGuard:
        if not self._journal.begun:
            self._journal.record_intent()
        try:
            self._lock_and_check()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.free()
            self._lock = None

    def observe(self, statement: str) -> None:
        """Refuses a statement that is neither a query without effects nor a removal."""
        self._judge(statement)

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        """Returns the forms of a removal. Raises :class:`~online_migrate.exceptions.RollbackRefused`."""
        self._judge(statement)
        if kind is Kind.UNLOCKED:
            if self._dialect.metadata_only_under_lock:
                self._release()
            return [statement]
        if self._tables and (self._lock is None or not self._lock.is_held()):
            self._lock_and_check()
        if self._lock is not None:
            self._lock.skip_look()
        return self._dialect.metadata_only_forms(statement)

    def _judge(self, statement: str) -> None:
        problems = self._created.judge(statement)
        if problems:
            raise exceptions.RollbackRefused(
                [Blocker("not-a-removal", one.statement, one.reason, _HINT) for one in problems]
            )

    def done(self, statement: str, kind: Kind) -> None:
        """Requires no lock any more on a table that the statement removed."""
        if self._lock is not None and not self._dialect.transactional_ddl:
            self._lock.forget_missing(self._exists)

    def _exists(self, target: LockTarget) -> bool:
        records = self._session.journal_connection or self._connection
        found = self._dialect.has_table(records, target.table, target.schema)
        if records is not self._connection:
            records.commit()
        return found

    def _lock_and_check(self) -> None:
        if self._dialect.metadata_only_under_lock:
            self._release()
        found = self._found()
        problem = self._dialect.check_contract_server(self._connection) if found else None
        if problem is not None:
            raise exceptions.RollbackRefused(
                [Blocker("server", self._dialect.name, problem.reason, problem.hint)]
            )
        inspector = sa.inspect(self._connection)
        targets = {one for one in self._tables if inspector.has_table(one.table, schema=one.schema)}
        targets |= {target for candidate in found for target in candidate.subject.lock_targets}
        with self._dialect.exact(self._connection):
            if targets:
                queue = self._session.queue
                self._lock = HeldLock(self._dialect, self._connection, queue, sorted(targets, key=str))
            self._check(found)


_HINT = (
    "write into downgrade() only what reverts what upgrade() creates, or change the schema back by a new "
    "expand revision"
)


def tables_of(statements: Sequence[str], server: str) -> list[LockTarget]:
    """Returns the tables that the statements alter."""
    found = []
    for statement in statements:
        table = altered_table(statement, server)
        if table is not None:
            found.append(LockTarget(table, altered_schema(statement, server)))
    return list(dict.fromkeys(found))
