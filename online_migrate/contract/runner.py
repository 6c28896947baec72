"""Applies contract revisions, each after a verification of the rows under the lock of its statements.

Invariants:

* No other session writes between the verification under the lock, which found no pending row, and the
  destructive statement.
* The intent and the result of the verification are recorded before the first statement.
* A revision that was half applied when its run was killed is completed by the next run. The triggers that it
  had dropped are recreated first, unless they use a column or a table that is gone. They keep the rows of the
  old version in step while the rows that were written in between are migrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.contract.announcement import Announcement
from online_migrate.contract.before_lock import ROWS, ROWS_HINT, Targets, refusal
from online_migrate.contract.blocking_rows import check_rows
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.locked_barriers import LockedBarriers
from online_migrate.contract.locked_verification import LockedVerification, missing_in
from online_migrate.contract.not_null import NotNullProofs
from online_migrate.ddl.executor import Translate
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.ddl.journal import Journal
from online_migrate.dialects import Dialect, LockTarget
from online_migrate.dialects.facets.revisions import TEMPORARY_PREFIX
from online_migrate.exceptions import Blocker
from online_migrate.kinds.subject import Subject
from online_migrate.kinds.visibility import reads_of
from online_migrate.phases.script import only_adds
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.catalog_schema import server_of
from online_migrate.runtime.veto import permit
from online_migrate.script.declarations import by_default_note
from online_migrate.script.graph import UNDECLARED, Graph
from online_migrate.sql.classification.verdict import Impact
from online_migrate.sql.statement import Kind, altered_table, shorten

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def run(runner: RevisionRunner, revision: str, services: LiveServices) -> None:
    """Applies one contract revision; the gate has already checked the whole range of revisions.

    Raises :class:`~online_migrate.exceptions.GateClosed` if the verification under the lock finds a pending
    row, or a service whose code does not survive the revision,
    :class:`~online_migrate.exceptions.Refused` if the script does not declare what it requires, and what
    :meth:`~online_migrate.runtime.apply.RevisionRunner.apply` raises.
    """
    graph = runner.project.graph
    required = required_by(graph, revision)
    soak = state.soaks(runner.session.connection).get(revision)
    runner.session.connection.rollback()
    translate = None if soak is None else translation(soak, runner.session.dialect.name)
    targets = Targets(runner, revision, required, translate)
    applied = runner.applied()
    runner.echo(f"contract {revision}: {graph.revisions[revision].doc or 'no message'}")
    if revision in runner.project.requires_by_default:
        runner.echo(f"contract {revision}: {by_default_note(required)}")
    announcement = Announcement(runner, revision, attestation=services.attestation)
    proofs = NotNullProofs(runner, revision, required, applied, targets.proofs)

    def before() -> None:
        nonlocal services
        services = services.before_lock(runner.session.connection)

    def watch(journal: Journal) -> ContractGuard:
        announcement.begin()
        return ContractGuard(runner, revision, required, journal, targets.named, applied, proofs, services)

    def finish() -> None:
        announcement.finish()
        state.end_soak(runner.session.connection, revision)

    with permit(runner.project.config, [revision]), announcement:
        try:
            if targets.proofs:
                # The CHECKs refuse values of old code before the lock is taken.
                services.require(runner.session.connection, revision, beside=True)
            with proofs.prepared():
                runner.apply(
                    revision,
                    before=before,
                    watch=watch,
                    finish=finish,
                    tables=targets.names,
                    translate=translate,
                )
        except exceptions.GateClosed as closed:
            hint = _what_is_done(runner, revision, closed.blockers)
            raise exceptions.GateClosed(closed.blockers, hint=hint) from closed


def required_by(graph: Graph, revision: str) -> tuple[str, ...]:
    """Returns the data migrations that a contract revision requires.

    Raises :class:`~online_migrate.exceptions.Refused` if it does not declare them.
    """
    required = graph.revisions[revision].requires
    if required is UNDECLARED:
        raise exceptions.Refused(
            reason=f"contract revision {revision} does not declare what it requires",
            hint=f"write requires = ('name', ...) into {graph.revisions[revision].path}",
        )
    return tuple(required)


def translation(soak: state.Soak, server: str) -> Translate:
    """Returns the function that gives a statement of the script the names that its objects have now."""
    return lambda statement: soak.plan.translated(statement, server)


def _what_is_done(runner: RevisionRunner, revision: str, blockers: Sequence[Blocker]) -> str:
    done = sum(entry.done for entry in runner.journal(revision).statements)
    if not done and all(blocker.id.startswith("service") for blocker in blockers):
        return "nothing was changed; the services changed after the check of the gate"
    if not done:
        return "nothing was changed; rows became pending after the check of the gate"
    return (
        f"{done} statement(s) of {revision} are done and recorded; run online-migrate contract again: "
        "it recreates the triggers that it dropped, migrates the rows, and continues"
    )


class ContractGuard:
    """The guard of one run of one contract revision: destructive statements run under a proved lock only.

    It has many methods because the proof is in their order: observe a statement, lock, verify, record.
    """

    access_refusal = exceptions.PastTheLock

    def __init__(
        self,
        runner: RevisionRunner,
        revision: str,
        required: Sequence[str],
        journal: Journal,
        named: Sequence[LockTarget],
        applied: frozenset[str],
        proofs: NotNullProofs,
        services: LiveServices,
    ) -> None:
        self._runner = runner
        self._services = services
        self._revision = revision
        self._required = required
        self._named = named
        self._proofs = proofs
        self._dialect = runner.session.dialect
        self._connection: Connection = runner.session.connection
        self._records = runner.session.journal_connection or self._connection
        self._beside = self._records is not self._connection
        self._verification = LockedVerification(
            revision, journal, self._connection, self._records, required, applied
        )
        self._barriers = LockedBarriers(self._dialect, self._connection, self._records, required)
        self._subjects_checked: Mapping[str, Subject] = {}
        self._lock: HeldLock | None = None
        self._must_verify = False
        self._server = server_of(self._connection)
        self._copies_table = False

    def __enter__(self) -> ContractGuard:
        self._verification.open()
        self._barriers.read()
        try:
            self._lock_and_verify()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()
        if error is None:
            self._barriers.drop(self._required)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.free()
            self._lock = None

    def observe(self, statement: str) -> None:
        """Refuses a statement of the script that ends the engine's transaction or releases its lock.

        Raises :class:`~online_migrate.exceptions.StatementRefused`.
        """
        verdict = self._dialect.classify(statement)
        if self._required and verdict.impact is Impact.CONTROL:
            raise refusal(statement, verdict)
        if verdict.rewinds:
            # The locks and the records that were made inside the savepoint are gone.
            self._must_verify = True

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        """Returns the forms of a statement. A destructive one needs the lock and a verification under it.

        If the lock is no longer proved, the tables are locked and verified again. Raises
        :class:`~online_migrate.exceptions.GateClosed`,
        :class:`~online_migrate.exceptions.StatementRefused` or
        :class:`~online_migrate.exceptions.NotUnderLock`.
        """
        self._say_if_additive(statement)
        if not self._required:
            return [statement]
        if kind is Kind.UNLOCKED:
            if self._dialect.metadata_only_under_lock:
                self._release()
            return [statement]  # the executor chooses the form
        if kind is Kind.REFUSED:
            raise refusal(statement, self._dialect.classify(statement))
        if kind is Kind.DATA and self._dialect.metadata_only_under_lock:
            raise exceptions.NotUnderLock(statement=shorten(statement), reason=ROWS, hint=ROWS_HINT)
        if self._is_autocommit():
            raise exceptions.NotUnderLock(
                statement=shorten(statement),
                reason="it is in an autocommit_block, where no lock is held between statements",
                hint="move it out of the block; the rows are then counted again under a new lock",
            )
        if self._must_verify or self._lock is None or not self._lock.is_held():
            self._lock_and_verify()
        self._barriers.drop_before()
        if self._lock is not None:
            self._lock.skip_look()
        return self._forms(statement)

    def _say_if_additive(self, statement: str) -> None:
        """Prints a line for a statement that only adds, except for the copy of a table in batch mode."""
        self._copies_table = self._copies_table or TEMPORARY_PREFIX in statement
        if not self._copies_table and only_adds(statement, self._server):
            self._runner.echo(
                f"contract {self._revision}: only adds, and could be in an expand script: "
                f"{shorten(statement)}"
            )

    def _forms(self, statement: str) -> Sequence[str]:
        """Returns the forms to try, in order; the last one rebuilds the table, if ``rebuilds`` permits it."""
        forms = self._dialect.metadata_only_forms(statement)
        table = altered_table(statement, self._dialect.name)
        if statement in forms or table not in self._runner.project.graph.revisions[self._revision].rebuilds:
            return forms
        self._runner.echo(
            f"contract {self._revision}: rebuilding {table}, which blocks its readers and writers"
        )
        return [*forms, statement]

    def done(self, statement: str, kind: Kind) -> None:
        """Records what a statement under the lock removed; requires a new verification if it wrote rows."""
        if not self._required or self._is_autocommit():
            return
        for drop in self._proofs.drop_after(statement):
            self._connection.exec_driver_sql(drop)
        verdict = self._dialect.classify(statement)
        if kind is Kind.DATA or verdict.impact is Impact.ROWS or not verdict.recorded:
            self._must_verify = True
        if self._dialect.transactional_ddl:
            self._verification.after_statement()
        elif self._lock is not None and kind is Kind.LOCKED:
            self._lock.forget_missing(self._exists)
            self._drop_unreadable_barriers()

    def _drop_unreadable_barriers(self) -> None:
        """Drops, where the lock did not permit it earlier, the barriers that read a column that is gone."""
        if not self._barriers.lock_stops_all_writers:
            gone = [
                n for n, s in self._subjects_checked.items() if missing_in(self._connection, s) is not None
            ]
            self._barriers.drop(gone)

    def _is_autocommit(self) -> bool:
        return self._connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"

    # --- verification under the lock -------------------------------------------------------------

    def _lock_and_verify(self) -> None:
        if not self._required:
            self._services.require(self._records, self._revision, beside=self._beside)
            return
        _refuse_server(self._dialect, self._connection, barriers=True)
        if self._dialect.metadata_only_under_lock:
            # Under the old lock, a table that is not among the locked ones could not be read.
            self._release()
        subjects = self._subjects()
        targets = {t for subject in subjects.values() for t in reads_of(self._connection, subject).targets}
        targets |= set(self._existing_targets())
        reads = self._verification.reads(subjects)
        # The columns that these read are gone: a killed run did not drop the barriers.
        self._barriers.drop([name for name in self._required if name not in subjects])
        self._subjects_checked = subjects
        self._lock = None
        # The settings of the session are changed before the lock is taken: each statement under it is a wait.
        with self._dialect.exact(self._connection):
            if targets:
                queue = self._runner.session.queue
                self._lock = HeldLock(self._dialect, self._connection, queue, sorted(targets, key=str))
            blockers = self._blocking_rows(subjects)
        if blockers:
            raise exceptions.GateClosed(blockers)
        locked = self._lock is not None and self._lock.covers(self._services.tables)
        # No other session can read a table that this one has locked.
        holder = self._connection if locked else None
        self._services.require(self._records, self._revision, beside=self._beside, holder=holder)
        self._verification.record(subjects, reads)
        self._must_verify = False

    def _blocking_rows(self, subjects: Mapping[str, Subject]) -> list[Blocker]:
        timeout = self._runner.project.settings.look_timeout
        blockers: list[Blocker] = []
        for name, subject in subjects.items():
            migration = self._runner.project.data_migrations[name]
            rows = check_rows(
                self._connection, migration, subject, timeout=timeout, brief=True, records=self._records
            )
            blockers += rows.blockers
            if not rows.verified and not self._barriers.lock_stops_all_writers:
                _refuse_server(self._dialect, self._connection, barriers=False)
        if self._beside:
            self._records.commit()
        return blockers

    def _subjects(self) -> Mapping[str, Subject]:
        """Returns the rows to verify, without unreadable ones whose earlier verification counts.

        Raises :class:`~online_migrate.exceptions.GateClosed` if rows are unreadable and no verification
        counts.
        """
        found = {}
        for name in self._required:
            try:
                subject = self._verification.subject(self._runner.project.data_migrations[name])
            except exceptions.PendingUnreadable as error:
                blocker = Blocker(
                    "pending-unreadable", name, str(error), f"correct the pending expression of {name}"
                )
                raise exceptions.GateClosed([blocker]) from error
            if subject is not None:
                found[name] = subject
        return found

    def _existing_targets(self) -> list[LockTarget]:
        if not self._named:
            return []
        inspector = sa.inspect(self._connection)
        return [target for target in self._named if inspector.has_table(target.table, schema=target.schema)]

    def _exists(self, target: LockTarget) -> bool:
        found = self._dialect.has_table(self._records, target.table, target.schema)
        self._records.commit()
        return found


def half_applied(runner: RevisionRunner, revisions: Sequence[str]) -> list[str]:
    """Returns those of *revisions* that an earlier run began and did not finish."""
    return [revision for revision in revisions if runner.journal(revision).begun]


def _refuse_server(dialect: Dialect, connection: Connection, *, barriers: bool) -> None:
    """Refuses a server that has become a member of a cluster since the gate counted the rows.

    *barriers*: the rows are verified behind barriers, so no lock has to stop the writers.
    """
    problem = dialect.check_contract_server(connection, barriers=barriers)
    if problem is not None:
        raise exceptions.GateClosed([Blocker("server", dialect.name, problem.reason, problem.hint)])
