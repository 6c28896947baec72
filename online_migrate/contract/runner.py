"""Applies contract revisions, each after a last look at the rows under the lock of its statements.

Invariants:

* Between the last look, which saw no pending row, and the destructive statement nobody else writes.
* The intent, and what was seen, are recorded before the first statement.
* A revision that was half applied when its run was killed is finished by the next run. Triggers that it
  had dropped are put back first, as long as nothing else of it is done, so that the old version's rows
  are in step again while those written meanwhile are migrated.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.contract.gate import look
from online_migrate.contract.locked_verification import LockedVerification
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.session import private_connection
from online_migrate.dialects.base import LockTarget
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.dialects.statement import (
    Kind,
    dropped_columns,
    dropped_indexes,
    first_word,
    first_words,
    identifiers,
    is_data,
    shorten,
    taken_away,
)
from online_migrate.exceptions import Blocker
from online_migrate.revision.data_migration import Subject
from online_migrate.revision.environment import permit
from online_migrate.revision.graph import UNDECLARED
from online_migrate.revision.stepping import NotRendered, Stepper, render

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def run(stepper: Stepper, revision: str) -> None:
    """Applies one contract revision; the gate has looked at the whole range before.

    Raises :class:`~online_migrate.exceptions.GateClosed` if the last look finds a pending row.
    """
    graph = stepper.project.graph
    required = graph.revisions[revision].requires
    if required is UNDECLARED:
        raise exceptions.Refused(reason=f"contract revision {revision} does not say what it requires")
    targets = _Targets(stepper, revision, required)
    applied = stepper.applied()
    stepper.say(f"contract {revision}: {graph.revisions[revision].doc or 'no message'}")
    with permit(stepper.project.config, [revision]):
        try:
            stepper.apply(
                revision,
                watch=lambda journal: LockedLook(stepper, required, journal, targets.named, applied),
                tables=targets.names,
            )
        except exceptions.GateClosed as closed:
            raise exceptions.GateClosed(closed.blockers, hint=_what_is_done(stepper, revision)) from closed


def _what_is_done(stepper: Stepper, revision: str) -> str:
    done = sum(entry.done for entry in stepper.journal(revision).statements)
    if not done:
        return "nothing was changed; rows were written since the gate looked"
    return (
        f"{done} statement(s) of {revision} are done and recorded; run online-migrate contract again: "
        "it puts back the triggers that it dropped, migrates the rows, and continues"
    )


class _Targets:
    """The tables that a contract revision is about, learned before anything is locked."""

    def __init__(self, stepper: Stepper, revision: str, required: Sequence[str]) -> None:
        self.named: tuple[LockTarget, ...] = ()
        self.names: tuple[str, ...] = ()
        if not required:
            return
        connection, dialect = stepper.session.connection, stepper.session.dialect
        statements = _rendered(stepper, revision)
        if dialect.metadata_only_under_lock:
            refuse_what_rebuilds(stepper, statements)
            self.named = self._in_text(stepper, revision, statements)
        tables = {t.table for t in self.named}
        for name in required:
            migration = stepper.project.data_migrations[name]
            with contextlib.suppress(exceptions.PendingUnreadable):
                tables |= {target.table for target in migration.subject(connection).lock_targets}
        connection.rollback()
        self.names = tuple(sorted(tables))

    @staticmethod
    def _in_text(stepper: Stepper, revision: str, statements: Sequence[str]) -> tuple[LockTarget, ...]:
        declared = stepper.project.graph.revisions[revision].locks
        words = {word for statement in statements for word in identifiers(statement)} | set(declared)
        ours = state.TABLES | {stepper.environment.version_table}
        tables = sa.inspect(stepper.session.connection).get_table_names()
        return tuple(LockTarget(table) for table in tables if table in words and table not in ours)


def _rendered(stepper: Stepper, revision: str) -> list[str]:
    try:
        engine = stepper.session.connection.engine
        return render(stepper.project, stepper.environment, engine, revision)
    except NotRendered as error:
        # A script that asks the database what to do; its ``locks = (...)`` says which tables.
        statements: list[str] = error.statements
        return statements


def refuse_what_rebuilds(stepper: Stepper, statements: Sequence[str]) -> None:
    """Refuses, before anything is done, what could not be done while readers wait."""
    connection, dialect = stepper.session.connection, stepper.session.dialect
    dropped: set[str] = set()
    for statement in statements:
        if dialect.kind(statement, autocommit=False) is Kind.DATA:
            raise exceptions.NotUnderLock(statement=shorten(statement), reason=_ROWS, hint=_ROWS_HINT)
        dropped |= set(dropped_indexes(statement))
        for table, column in dropped_columns(statement):
            in_the_way = [i for i in dialect.indexes_of_column(connection, table, column) if i not in dropped]
            if in_the_way:
                lines = "\n".join(f"    op.drop_index({index!r}, {table!r})" for index in in_the_way)
                raise exceptions.NotUnderLock(
                    statement=shorten(statement),
                    reason=f"column {column} is indexed ({', '.join(in_the_way)}), so dropping it "
                    "rebuilds the table while every reader waits",
                    hint=f"drop the index in the script before the column:\n{lines}",
                )


_ROWS = "it changes rows, and whether it was done could not be told after a kill"
_ROWS_HINT = "move it into a data migration, or into a contract revision with requires = ()"


_ENDS_A_SAVEPOINT = frozenset({"ROLLBACK"})


class LockedLook:
    """The guard of one run of one contract revision."""

    confines = True

    def __init__(
        self,
        stepper: Stepper,
        required: Sequence[str],
        journal: Journal,
        named: Sequence[LockTarget],
        applied: frozenset[str],
    ) -> None:
        self._stepper = stepper
        self._required = required
        self._named = named
        self._dialect = stepper.session.dialect
        self._connection: Connection = stepper.session.connection
        self._records = stepper.session.side or self._connection
        self._verification = LockedVerification(journal, self._connection, self._records, required, applied)
        self._lock: HeldLock | None = None
        self._look_again = False

    def __enter__(self) -> LockedLook:
        self._verification.open()
        try:
            self._lock_and_look()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_down()

    def _take_down(self) -> None:
        if self._lock is not None:
            self._lock.free()
            self._lock = None

    def pass_by(self, statement: str) -> None:
        """Refuses a script that ends our transaction, or frees our lock, by hand."""
        if self._required and first_words(statement) & self._dialect.frees_locks:
            raise exceptions.NotUnderLock(
                statement=shorten(statement),
                reason="it ends the transaction, or frees the lock, under which the rows were counted",
                hint="take it out; what cannot run in a transaction goes into an autocommit_block",
            )
        if first_word(statement) in _ENDS_A_SAVEPOINT:
            # What was locked, and what was recorded, inside of the savepoint is gone.
            self._look_again = True

    def admit(self, statement: str, kind: Kind) -> Sequence[str]:
        """Lets a destructive statement through only under the lock, after a look that saw nothing."""
        if not self._required:
            return [statement]
        if kind is Kind.OUTSIDE:
            if self._dialect.metadata_only_under_lock:
                self._take_down()
            return [statement]
        if kind is Kind.DATA and self._dialect.metadata_only_under_lock:
            raise exceptions.NotUnderLock(statement=shorten(statement), reason=_ROWS, hint=_ROWS_HINT)
        if self._is_autocommit():
            raise exceptions.NotUnderLock(
                statement=shorten(statement),
                reason="it stands in an autocommit_block, where no lock lasts",
                hint="take it out of the block; before it, the rows are counted again under a new lock",
            )
        if self._look_again or self._lock is None or not self._lock.is_held():
            self._lock_and_look()
        return self._dialect.forms_under_lock(statement)

    def done(self, statement: str, kind: Kind) -> None:
        """Notices what a statement under the lock has taken away, or written."""
        if not self._required or self._is_autocommit():
            return
        if kind is Kind.DATA or is_data(statement):
            self._look_again = True
        if self._dialect.transactional_ddl:
            self._verification.after_statement()
        elif self._lock is not None and kind is Kind.LOCKED:
            self._lock.forget_missing(self._exists)

    def _is_autocommit(self) -> bool:
        return self._connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"

    # --- the last look ---------------------------------------------------------------------------

    def _lock_and_look(self) -> None:
        if not self._required:
            return
        if self._dialect.metadata_only_under_lock:
            # A table that is not among the locked ones could not be read.
            self._take_down()
        subjects = self._subjects()
        targets = {target for subject in subjects.values() for target in subject.lock_targets}
        targets |= set(self._still_there())
        reads = self._verification.reads(subjects)
        self._lock = None
        if targets:
            self._lock = HeldLock(self._dialect, self._connection, sorted(targets, key=str))
        blockers: list[Blocker] = []
        for name, subject in subjects.items():
            migration = self._stepper.project.data_migrations[name]
            timeout = self._stepper.project.settings.look_timeout
            blockers += look(self._connection, migration, subject, timeout=timeout, brief=True)
        if blockers:
            raise exceptions.GateClosed(blockers)
        self._verification.record(subjects, reads)
        self._look_again = False

    def _subjects(self) -> Mapping[str, Subject]:
        """The rows to look at, without those that cannot be read any more and whose verification counts."""
        found = {}
        for name in self._required:
            try:
                subject = self._verification.subject(self._stepper.project.data_migrations[name])
            except exceptions.PendingUnreadable as error:
                blocker = Blocker(
                    "pending-unreadable", name, str(error), f"correct the pending expression of {name}"
                )
                raise exceptions.GateClosed([blocker]) from error
            if subject is not None:
                found[name] = subject
        return found

    def _still_there(self) -> list[LockTarget]:
        if not self._named:
            return []
        tables = set(sa.inspect(self._connection).get_table_names())
        return [target for target in self._named if target.table in tables]

    def _exists(self, target: LockTarget) -> bool:
        found = self._dialect.has_table(self._records, target.table, target.schema)
        self._records.commit()
        return found


def half_applied(stepper: Stepper, revisions: Sequence[str]) -> list[str]:
    """Those of *revisions* that an earlier run began and did not finish."""
    return [revision for revision in revisions if stepper.journal(revision).begun]


def put_back(stepper: Stepper, revision: str) -> list[str]:
    """Puts back the triggers that a half-applied revision had dropped; gives the statements undone.

    But for those that use a column or a table which is gone: they would make every write of the
    application fail.
    """
    journal = stepper.journal(revision)
    applied = [e for e in journal.statements if e.done or journal.was_applied(e)]
    gone = {name for entry in applied for name in taken_away(entry.statement)}
    undone = []
    # What was dropped last comes back first: a trigger needs its function.
    for entry in reversed(applied):
        definition: list[str] = json.loads(entry.undo) if entry.undo else []
        if not definition or gone & set(identifiers(" ".join(definition))):
            continue
        try:
            _make_again(stepper, entry.statement, definition)
        except ServerFault as error:
            stepper.say(f"contract {revision}: could not be undone: {entry.statement}: {words_of(error)}")
        else:
            undone.append(shorten(entry.statement))
            journal.forget(entry)
    return undone


def _make_again(stepper: Stepper, drop: str, definition: Sequence[str]) -> None:
    with private_connection(stepper.session.connection.engine) as connection:
        if stepper.session.dialect.undo_of_drop(connection, drop) is None:
            connection.execution_options(no_parameters=True)  # a percent sign is a percent sign
            for statement in definition:
                connection.exec_driver_sql(statement)
            connection.commit()
