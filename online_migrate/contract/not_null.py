"""The CHECKs that are validated before contract locks its tables, so that SET NOT NULL reads no row under it.

Invariants:

* A CHECK is added under the same lock and the same verification as a statement of the revision: no row was
  pending, so nothing that still writes NULL is stopped earlier than by the revision itself.
* Each step can be repeated: the name of the CHECK is the same in each run, and the catalog shows whether it
  exists. It is dropped in the transaction of SET NOT NULL, after a refusal, or, if the process was killed, by
  the next command that applies revisions.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.contract.blocking_rows import check_rows
from online_migrate.contract.locked_verification import LockedVerification
from online_migrate.contract.until_free import until_free
from online_migrate.ddl.held_lock import HeldLock
from online_migrate.ddl.lock_queue import LockNotFree
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.kinds.subject import Subject
from online_migrate.kinds.visibility import reads_of
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.forms.not_null_proof import NotNullProof

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class NotNullProofs:
    """The CHECKs of one contract revision.

    *required*: the data migrations that it requires. *applied*: the revisions that the database has.
    *proofs*: see :func:`~online_migrate.sql.forms.not_null_proof.not_null_proofs`.
    """

    def __init__(
        self,
        runner: RevisionRunner,
        revision: str,
        required: Sequence[str],
        applied: frozenset[str],
        proofs: Sequence[NotNullProof],
    ) -> None:
        self._runner = runner
        self._revision = revision
        self._required = required
        self._applied = applied
        self._proofs = proofs
        self._connection: Connection = runner.session.connection

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Adds and validates the CHECKs; removes them if the block, which applies the revision, fails."""
        if not self._proofs or not self._can_verify():
            yield
            return
        try:
            missing = [proof for proof in self._proofs if not proof.exists]
            if missing:
                until_free(self._runner, self._revision, lambda: self._add(missing))
            for proof in self._proofs:
                self._runner.echo(
                    f"contract {self._revision}: reading {proof.table} before the lock, for NOT NULL of "
                    f"{proof.column}"
                )
                validate = functools.partial(_send, self._runner, [proof.validate])
                until_free(self._runner, self._revision, validate)
            yield
        except Exception:
            self._remove()
            raise

    def drop_after(self, statement: str) -> Sequence[str]:
        """Returns the statements that drop the CHECKs of *statement*, in its transaction."""
        return [proof.drop for proof in self._proofs if proof.statement == statement.strip()]

    def _can_verify(self) -> bool:
        """Returns False if rows cannot be read any more, or a statement is done: the guard decides then."""
        if self._runner.journal(self._revision).begun:
            return False
        try:
            self._subjects()
        except exceptions.PendingUnreadable:
            return False
        finally:
            self._connection.rollback()
        return True

    def _add(self, proofs: Sequence[NotNullProof]) -> None:
        """Adds the CHECKs under the table lock, after a verification of the rows under it."""
        session, subjects = self._runner.session, self._subjects()
        targets = {t for subject in subjects.values() for t in reads_of(self._connection, subject).targets}
        timeout = self._runner.project.settings.look_timeout
        blockers: list[exceptions.Blocker] = []
        with session.dialect.exact(self._connection):
            if targets:
                HeldLock(session.dialect, self._connection, session.queue, sorted(targets, key=str))
            for name, subject in subjects.items():
                migration = self._runner.project.data_migrations[name]
                blockers += check_rows(
                    self._connection, migration, subject, timeout=timeout, brief=True
                ).blockers
        if blockers:
            raise exceptions.GateClosed(blockers)
        _send(self._runner, [proof.add for proof in proofs])

    def _subjects(self) -> dict[str, Subject]:
        """Returns the rows to verify, without those whose earlier verification counts."""
        journal, migrations = self._runner.journal(self._revision), self._runner.project.data_migrations
        verification = LockedVerification(
            self._revision, journal, self._connection, self._connection, self._required, self._applied
        )
        found = {name: verification.subject(migrations[name]) for name in self._required}
        return {name: subject for name, subject in found.items() if subject is not None}

    def _remove(self) -> None:
        """Drops the CHECKs, which would outlive the refusal; names those that it cannot drop now."""
        try:
            self._connection.rollback()
            _send(self._runner, [proof.drop for proof in self._proofs])
            self._connection.commit()
        except (*CLEANUP_ERRORS, LockNotFree):
            with contextlib.suppress(*CLEANUP_ERRORS):
                self._connection.rollback()
            left = "; ".join(proof.drop for proof in self._proofs)
            self._runner.echo(f"contract {self._revision}: not removed; the next run does it, or: {left}")


def remove_left_behind(runner: RevisionRunner, revision: str) -> None:
    """Drops the CHECKs of a command that was killed while it applied *revision*."""
    connection = runner.session.connection
    statements = runner.session.dialect.left_not_null_proofs(connection)
    connection.rollback()
    if statements:
        runner.echo(
            f"contract {revision}: removing what a killed command left behind: {'; '.join(statements)}"
        )
        until_free(runner, revision, lambda: _send(runner, statements))


def _send(runner: RevisionRunner, statements: Sequence[str]) -> None:
    for statement in statements:
        with runner.session.queue.entered(statement):
            runner.session.connection.exec_driver_sql(statement)
