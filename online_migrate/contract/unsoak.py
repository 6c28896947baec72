"""Brings back what soaks: names, triggers, NOT NULL.

Invariants:

* The names are brought back first, each by one statement that the server applies whole or not at all. What is
  left is read from the catalog, so a run that was killed is continued by the next one.
* No row is changed. A column that was NOT NULL is NOT NULL again only if no row that was written meanwhile
  is NULL; until then the record stays, and the next run tries it again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.contract.announcement import reconcile
from online_migrate.contract.soak import journal_of
from online_migrate.ddl.executor import AllowAll, Executor
from online_migrate.ddl.forms import SafeForms
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.exceptions import Blocker, GateClosed
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.soaked import SoakedObject
from online_migrate.state import Soak, SoakState


@dataclasses.dataclass(frozen=True)
class NotNullOwed:
    """A column that cannot be NOT NULL again yet, because *rows* rows have no value."""

    subject: SoakedObject
    rows: int


def unsoak(runner: RevisionRunner, soak: Soak) -> tuple[NotNullOwed, ...]:
    """Brings back the objects of one revision; returns the columns that stay nullable.

    Raises :class:`~online_migrate.exceptions.GateClosed` if a name is taken, and
    :class:`~online_migrate.exceptions.Refused` if contract has begun to drop them.
    """
    if runner.journal(soak.revision).begun:
        raise exceptions.Refused(
            reason=f"contract {soak.revision} has begun to drop what soaked",
            hint="online-migrate contract   (continues it)",
        )
    unsoaking = _Unsoak(runner, soak)
    unsoaking.return_names()
    return unsoaking.restore_not_null()


class _Unsoak:
    def __init__(self, runner: RevisionRunner, soak: Soak) -> None:
        self._runner = runner
        self._soak = soak
        self._session = runner.session
        self._dialect = runner.session.dialect
        self._connection = runner.session.connection
        self._records = runner.session.journal_connection or runner.session.connection
        self._owes = [one for one in soak.plan.objects if one.restore is not None]

    def return_names(self) -> None:
        """Renames the objects, and creates the triggers again."""
        if self._soak.state is SoakState.RETURNED:
            return
        self._refuse_taken()
        self._runner.repeat(self._soak.revision, self._attempt)
        reconcile(self._runner)
        for one in self._soak.plan.objects:
            self._runner.echo(f"contract {self._soak.revision}: {one} is back")

    def _refuse_taken(self) -> None:
        blockers = [
            Blocker(
                "name-taken",
                self._soak.revision,
                f"{one} cannot be brought back: its name is taken",
                f"rename or drop what has the name {one.name}, then: online-migrate contract --unsoak",
            )
            for one in self._soaked()
            if self._dialect.has_object(self._connection, one, one.name)
        ]
        self._connection.rollback()
        if blockers:
            raise GateClosed(blockers, hint="nothing was changed")

    def _soaked(self) -> list[SoakedObject]:
        """Returns the objects that have their soaked names now, the last one first."""
        return [
            one
            for one in reversed(self._soak.plan.objects)
            if self._dialect.has_object(self._connection, one, one.soaked)
        ]

    def _attempt(self, queue_limit: float) -> None:
        with self._dialect.write_transaction(self._connection):
            self._set(SoakState.RETURNING)
            self._session.queue.limit(queue_limit)
            left = self._soaked()
            tables = [one for one in left if one.column is None]
            columns = [one for one in left if one.column is not None]
            for one in tables:
                self._send(self._dialect.rename(self._connection, one, back=True))
            lock = self._locked(columns)
            try:
                for one in columns:
                    self._send(self._dialect.rename(self._connection, one, back=True))
                for statement in self._triggers():
                    self._send(statement)
            finally:
                if lock is not None:
                    lock.free()
            self._session.queue.limit(self._runner.project.settings.lock_timeout)
            if self._owes:
                self._set(SoakState.RETURNED)
            else:
                self._forget()
            self._connection.commit()

    def _locked(self, columns: Sequence[SoakedObject]) -> HeldLock | None:
        """Locks the tables, so that no row is written between a rename and the triggers of the table."""
        if not columns or not self._soak.plan.dropped:
            return None
        targets = {self._dialect.target_of(one, soaked=True) for one in columns}
        return HeldLock(self._dialect, self._connection, self._session.queue, sorted(targets, key=str))

    def _triggers(self) -> Iterator[str]:
        for one in reversed(self._soak.plan.dropped):
            if not self._dialect.recreated(self._connection, one.statement):
                yield from one.undo

    def _send(self, statement: str) -> None:
        with (
            self._dialect.lock_timeout_for(self._connection, statement),
            self._session.queue.entered(statement),
        ):
            self._connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def _set(self, new: SoakState) -> None:
        state.set_soak(self._records, self._soak.revision, new)
        self._commit()

    def _forget(self) -> None:
        state.end_soak(self._records, self._soak.revision)
        state.close_journal(self._records, state.soak_name_of(self._soak.revision))
        self._commit()

    def _commit(self) -> None:
        if self._records is not self._connection:
            self._records.commit()

    def restore_not_null(self) -> tuple[NotNullOwed, ...]:
        """Makes the columns NOT NULL again that were; returns those with rows without a value."""
        owed = []
        for one in self._owes:
            rows = self._without_value(one)
            if rows:
                owed.append(NotNullOwed(one, rows))
            else:
                self._runner.repeat(self._soak.revision, functools.partial(self._restore, one))
        if self._owes and not owed:
            self._forget()
            self._connection.commit()
        return tuple(owed)

    def _without_value(self, subject: SoakedObject) -> int:
        table = sa.table(subject.table, sa.column(str(subject.column)), schema=subject.schema)
        column = table.c[str(subject.column)]
        query = sa.select(sa.func.count()).select_from(table).where(column.is_(None))
        count = self._connection.scalar(query)
        self._connection.rollback()
        return int(count or 0)

    def _restore(self, subject: SoakedObject, queue_limit: float) -> None:
        journal = journal_of(self._runner, self._soak.revision)
        journal.open()
        self._session.queue.limit(queue_limit)
        forms = SafeForms(self._dialect, self._records, commit=self._records is not self._connection)
        executor = Executor(self._dialect, self._connection, self._session.queue, journal, AllowAll(), forms)
        with self._dialect.write_transaction(self._connection), executor.active():
            self._connection.exec_driver_sql(str(subject.restore), execution_options={"no_parameters": True})
        self._session.queue.limit(self._runner.project.settings.lock_timeout)
        self._connection.commit()
