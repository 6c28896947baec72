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
from online_migrate.dialects.qualified import altered_schema, qualified_names
from online_migrate.dialects.statement import (
    Kind,
    altered_table,
    dropped_columns,
    dropped_indexes,
    identifiers,
    shorten,
    taken_away,
)
from online_migrate.evidence.visibility import reads_of
from online_migrate.exceptions import Blocker
from online_migrate.revision.data_migration import Subject
from online_migrate.revision.environment import permit
from online_migrate.revision.graph import UNDECLARED
from online_migrate.revision.stepping import NotRendered, Stepper, render
from online_migrate.sql.verdict import Classification, Impact

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
        refuse_unknown(stepper, statements)
        if dialect.metadata_only_under_lock:
            refuse_what_rebuilds(stepper, statements)
            self.named = self._in_text(stepper, revision, statements)
        tables = {t.table for t in self.named}
        for name in required:
            migration = stepper.project.data_migrations[name]
            with contextlib.suppress(exceptions.PendingUnreadable):
                subject = migration.subject(connection)
                tables |= {target.table for target in reads_of(connection, subject).targets}
        connection.rollback()
        self.names = tuple(sorted(tables))

    @staticmethod
    def _in_text(stepper: Stepper, revision: str, statements: Sequence[str]) -> tuple[LockTarget, ...]:
        declared = stepper.project.graph.revisions[revision].locks
        words = {word for statement in statements for word in identifiers(statement)} | set(declared)
        ours = state.TABLES | {stepper.environment.version_table}
        inspector = sa.inspect(stepper.session.connection)
        own = [LockTarget(table) for table in inspector.get_table_names() if table in words]
        names = {name for text in (*statements, *declared) for name in qualified_names(text)}
        schemas = set(inspector.get_schema_names()) & {schema for schema, _table in names}
        others = [
            LockTarget(table, schema)
            for schema, table in sorted(names)
            if schema in schemas and inspector.has_table(table, schema=schema)
        ]
        return tuple(target for target in (*own, *others) if target.table not in ours)


def _rendered(stepper: Stepper, revision: str) -> list[str]:
    try:
        engine = stepper.session.connection.engine
        return render(stepper.project, stepper.environment, engine, revision)
    except NotRendered as error:
        # A script that asks the database what to do; its ``locks = (...)`` says which tables.
        statements: list[str] = error.statements
        return statements


def refuse_unknown(stepper: Stepper, statements: Sequence[str]) -> None:
    """Refuses, before anything is done, what is not known to be safe."""
    for statement in statements:
        verdict = stepper.session.dialect.classify(statement)
        if verdict.impact in (Impact.REFUSED, Impact.CONTROL):
            raise _refusal(statement, verdict)


def _refusal(statement: str, verdict: Classification) -> exceptions.StatementRefused:
    return exceptions.StatementRefused(statement=shorten(statement), reason=verdict.reason, hint=verdict.hint)


def refuse_what_rebuilds(stepper: Stepper, statements: Sequence[str]) -> None:
    """Refuses, before anything is done, what could not be done while readers wait."""
    connection, dialect = stepper.session.connection, stepper.session.dialect
    dropped: set[str] = set()
    for statement in statements:
        if dialect.kind(statement, autocommit=False) is Kind.DATA:
            raise exceptions.NotUnderLock(statement=shorten(statement), reason=_ROWS, hint=_ROWS_HINT)
        dropped |= set(dropped_indexes(statement))
        for table, column in dropped_columns(statement):
            indexes = dialect.indexes_of_column(connection, table, column, altered_schema(statement))
            in_the_way = [index for index in indexes if index not in dropped]
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
        self._revision = journal.revision
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
        verdict = self._dialect.classify(statement)
        if self._required and verdict.impact is Impact.CONTROL:
            raise _refusal(statement, verdict)
        if verdict.rewinds:
            # What was locked, and what was recorded, inside of the savepoint is gone.
            self._look_again = True

    def admit(self, statement: str, kind: Kind) -> Sequence[str]:
        """Lets a destructive statement through only under the lock, after a look that saw nothing."""
        if not self._required:
            return [statement]
        if kind is Kind.OUTSIDE:
            if self._dialect.metadata_only_under_lock:
                self._take_down()
            return self._dialect.forms_outside_lock(statement)
        if kind is Kind.REFUSED:
            raise _refusal(statement, self._dialect.classify(statement))
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
        return self._forms(statement)

    def _forms(self, statement: str) -> Sequence[str]:
        """The forms to try, at last the one that rebuilds the table, if the script says that it may."""
        forms = self._dialect.forms_under_lock(statement)
        table = altered_table(statement)
        if statement in forms or table not in self._stepper.project.graph.revisions[self._revision].rebuilds:
            return forms
        self._stepper.say(
            f"contract {self._revision}: while {table} is rebuilt, its readers and writers wait"
        )
        return [*forms, statement]

    def done(self, statement: str, kind: Kind) -> None:
        """Notices what a statement under the lock has taken away, or written."""
        if not self._required or self._is_autocommit():
            return
        verdict = self._dialect.classify(statement)
        if kind is Kind.DATA or verdict.impact is Impact.ROWS or not verdict.recorded:
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
        self._refuse_server()
        if self._dialect.metadata_only_under_lock:
            # A table that is not among the locked ones could not be read.
            self._take_down()
        subjects = self._subjects()
        targets = {t for subject in subjects.values() for t in reads_of(self._connection, subject).targets}
        targets |= set(self._still_there())
        reads = self._verification.reads(subjects)
        self._lock = None
        if targets:
            self._lock = HeldLock(self._dialect, self._connection, sorted(targets, key=str))
        blockers: list[Blocker] = []
        timeout = self._stepper.project.settings.look_timeout
        with self._dialect.exact(self._connection):
            for name, subject in subjects.items():
                migration = self._stepper.project.data_migrations[name]
                blockers += look(self._connection, migration, subject, timeout=timeout, brief=True)
        if blockers:
            raise exceptions.GateClosed(blockers)
        self._verification.record(subjects, reads)
        self._look_again = False

    def _refuse_server(self) -> None:
        """Refuses a server that has become the member of a cluster since the gate counted the rows."""
        problem = self._dialect.contract_problem(self._connection)
        if problem is not None:
            raise exceptions.GateClosed([Blocker("server", self._dialect.name, problem.reason, problem.hint)])

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
        inspector = sa.inspect(self._connection)
        return [target for target in self._named if inspector.has_table(target.table, schema=target.schema)]

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
    gone = {name for e in applied for name in {*taken_away(e.statement), *journal.taken_away(e)}}
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
