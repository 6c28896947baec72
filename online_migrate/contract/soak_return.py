"""Gives what soaks its own names again, with its triggers, and compares the rows that were written.

Invariant: each name is brought back by one statement that the server applies whole or not at all. What is
left is read from the catalog, so a run that was killed is continued by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from online_migrate import state
from online_migrate.contract.sync_rows import WithoutTriggers, compare_rows
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.exceptions import Blocker, GateClosed
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.soaked import SoakedObject
from online_migrate.sql.statement import dropped
from online_migrate.state import RecordedSync, Soak


class NamesBack:
    """Renames the objects of one soak back, and creates the triggers again that it dropped."""

    def __init__(self, runner: RevisionRunner, soak: Soak) -> None:
        self._runner = runner
        self._soak = soak
        self._session = runner.session
        self._dialect = runner.session.dialect
        self._connection = runner.session.connection

    def soaked(self) -> list[SoakedObject]:
        """Returns the objects that have their soaked names now, the last one first."""
        return [
            one
            for one in reversed(self._soak.plan.objects)
            if self._dialect.has_object(self._connection, one, one.soaked)
        ]

    def run(self, before: Callable[[], None], after: Callable[[], None], *, then: str) -> None:
        """Brings the names and the triggers back.

        *before*, *after*: called in the transaction, or next to it, where DDL commits implicitly. *then*: the
        command for the hints. Raises :class:`~online_migrate.exceptions.GateClosed` if a name is taken.
        """
        self._refuse_taken(then)

        def attempt(queue_limit: float) -> None:
            with self._dialect.write_transaction(self._connection):
                before()
                self._session.queue.limit(queue_limit)
                self._send_all()
                self._session.queue.limit(self._runner.project.settings.lock_timeout)
                after()
                self._connection.commit()

        self._runner.repeat(self._soak.revision, attempt)

    def _refuse_taken(self, then: str) -> None:
        blockers = [
            Blocker(
                "name-taken",
                self._soak.revision,
                f"{one} cannot be brought back: its name is taken",
                f"rename or drop what has the name {one.name}, then: {then}",
            )
            for one in self.soaked()
            if self._dialect.has_object(self._connection, one, one.name)
        ]
        self._connection.rollback()
        if blockers:
            raise GateClosed(blockers, hint="nothing was changed")

    def _send_all(self) -> None:
        left = self.soaked()
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


def rows_out_of_step(runner: RevisionRunner, soak: Soak, *, then: str) -> tuple[Blocker, ...]:
    """Returns the rows that were written while the triggers of a sync were dropped, and whose shapes differ.

    The names and the triggers are back. *then*: the next command once the rows are in step.
    """
    connection = runner.session.connection
    syncs = _stopped_syncs(runner, soak)
    written = WithoutTriggers("while an interrupted soak had dropped the triggers", then)
    if soak.soaked_at is not None:
        # Old code could not write. Without a verification it is not known that its rows were migrated before.
        written = WithoutTriggers("while the columns soaked", then, new_is_right=bool(soak.verified))
    compared = compare_rows(connection, syncs, runner.project.settings.gate_timeout, written)
    connection.rollback()
    missing = [
        Blocker(
            "not-compared",
            name,
            "its rows cannot be compared: a column or a table of it does not exist",
            f"create that column or table again, then: {then}",
        )
        for name in sorted(compared.gone)
    ]
    return (*compared.blockers, *missing)


def _stopped_syncs(runner: RevisionRunner, soak: Soak) -> list[RecordedSync]:
    """Returns the recorded syncs of which the soak dropped a trigger."""
    server, comparable = runner.session.dialect.name, runner.session.dialect.comparable
    names = {comparable(str(dropped(one.statement, "TRIGGER", server))) for one in soak.plan.dropped}
    syncs = state.recorded_syncs(runner.session.connection)
    return [one for one in syncs if names & {comparable(name) for name in one.triggers}]
