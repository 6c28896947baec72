"""Brings back what soaks: names, triggers, NOT NULL.

Invariants:

* The names are brought back first; see :class:`~online_migrate.contract.soak_return.NamesBack`.
* No row is changed. A column that was NOT NULL is NOT NULL again only if no row that was written meanwhile
  is NULL, and the rows of a sync are only compared. Until all is as it was the record stays, and the next run
  tries it again.
"""

from __future__ import annotations

import dataclasses
import functools

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.contract.announcement import reconcile
from online_migrate.contract.soak import journal_of
from online_migrate.contract.soak_return import NamesBack, rows_out_of_step
from online_migrate.ddl.executor import AllowAll, Executor
from online_migrate.ddl.forms import SafeForms
from online_migrate.exceptions import Blocker
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.soaked import SoakedObject
from online_migrate.state import Soak, SoakState

_THEN = "online-migrate contract --unsoak"


@dataclasses.dataclass(frozen=True)
class NotNullOwed:
    """A column that cannot be NOT NULL again yet, because *rows* rows have no value."""

    subject: SoakedObject
    rows: int


@dataclasses.dataclass(frozen=True)
class Owed:
    """What is not as it was before the soak.

    *not_null*: columns that stay nullable. *out_of_step*: rows whose old and new columns differ.
    """

    not_null: tuple[NotNullOwed, ...]
    out_of_step: tuple[Blocker, ...]


def unsoak(runner: RevisionRunner, soak: Soak) -> Owed:
    """Brings back the objects of one revision; returns what is not as it was.

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
    out_of_step = rows_out_of_step(runner, soak, then=_THEN)
    owed = Owed(unsoaking.restore_not_null(), out_of_step)
    if not owed.not_null and not owed.out_of_step:
        unsoaking.forget()
    return owed


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
        NamesBack(self._runner, self._soak).run(
            functools.partial(self._set, SoakState.RETURNING),
            functools.partial(self._set, SoakState.RETURNED),
            then=_THEN,
        )
        reconcile(self._runner)
        for one in self._soak.plan.objects:
            self._runner.echo(f"contract {self._soak.revision}: {one} is back")

    def _set(self, new: SoakState) -> None:
        """Records the state. What the journal has of the soak is undone, and must not count as done later."""
        state.set_soak(self._records, self._soak.revision, new)
        state.close_journal(self._records, state.soak_name_of(self._soak.revision))
        self._commit()

    def forget(self) -> None:
        """Deletes the record: everything is as it was before the soak."""
        with self._dialect.write_transaction(self._connection):
            state.end_soak(self._records, self._soak.revision)
            state.close_journal(self._records, state.soak_name_of(self._soak.revision))
            self._commit()
            self._connection.commit()

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
