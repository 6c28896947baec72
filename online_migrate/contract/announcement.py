"""Announces a contract revision to services that start while it is applied.

The announcement is committed before the services are checked under the lock, and a service registers before
it reads the announcements. See :mod:`online_migrate.state.contracted`. On a server with a single writer it is
in the transaction of the revision, for whose end a service that registers waits. If an ``autocommit_block``
of the script ends that transaction early, the announcement is committed with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType

from online_migrate import state
from online_migrate.contract.not_null import remove_left_behind
from online_migrate.contract.until_free import until_free
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script.graph import Phase
from online_migrate.services.squashed import folded_into, squashed_of
from online_migrate.state import ContractState


class Announcement:
    """Announces a revision inside its ``with`` block.

    It is withdrawn if the block raises an error and no statement of the revision was executed. An
    announcement that a killed process leaves behind refuses old code until :func:`reconcile` corrects it.
    *attestation*: what an operator vouches for, recorded with the revision. *begun*: returns True if a
    statement was executed; None: the journal of the revision tells it.
    """

    def __init__(
        self,
        runner: RevisionRunner,
        revision: str,
        *,
        attestation: str | None,
        begun: Callable[[], bool] | None = None,
    ) -> None:
        self._runner = runner
        self._revision = revision
        self._attestation = attestation
        self._folded = folded_into(squashed_of(runner.project.settings)).get(revision, ())
        self._connection = runner.session.journal_connection or runner.session.connection
        self._number = 0
        self._begun = begun or (lambda: runner.journal(revision).begun)

    def __enter__(self) -> Announcement:
        if not self._runner.session.dialect.single_writer:
            until_free(self._runner, self._revision, lambda: self._record(ContractState.CONTRACTING))
        return self

    def begin(self) -> None:
        """Announces in the transaction of the revision, on a server with a single writer."""
        if self._runner.session.dialect.single_writer:
            state.set_contracted(
                self._connection,
                self._revision,
                ContractState.CONTRACTING,
                folded=self._folded,
                after=self._number,
                attestation=self._attestation,
            )

    def finish(self) -> None:
        """Records that the revision is applied; called in the transaction that writes its version row."""
        state.set_contracted(
            self._runner.session.connection,
            self._revision,
            ContractState.CONTRACTED,
            folded=self._folded,
            after=self._number,
            attestation=self._attestation,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._runner.session.dialect.single_writer:
            return
        with contextlib.suppress(*CLEANUP_ERRORS):
            # After a lost connection the announcement stays, until the next command corrects it.
            if self._revision not in self._runner.applied() and not self._begun():
                self._record(ContractState.WITHDRAWN)

    def _record(self, new: ContractState) -> None:
        connection = self._connection
        connection.rollback()
        with self._runner.session.dialect.write_transaction(connection):
            self._number = state.set_contracted(
                connection,
                self._revision,
                new,
                folded=self._folded,
                after=self._number,
                attestation=self._attestation,
            )
            connection.commit()


def reconcile(runner: RevisionRunner) -> None:
    """Makes the announcements agree with the revisions that the database has, and drops what a kill left.

    The contract revisions of an older engine were not announced, and an announcement of a killed process was
    not withdrawn.
    """
    contracts = runner.project.graph.of(Phase.CONTRACT)
    squashed = squashed_of(runner.project.settings)
    folded, scripts = folded_into(squashed), {*contracts, *squashed}
    connection = runner.session.connection
    applied = runner.applied() & set(contracts)
    opened = set(state.open_revisions(connection))
    known = state.contracted_revisions(connection)
    soaks = state.soaks(connection).values()
    soaking = {one.revision for one in soaks if one.state is not state.SoakState.RETURNED} & set(contracts)
    connection.rollback()
    for one in known:
        if one.state == ContractState.CONTRACTING:
            remove_left_behind(runner, one.revision)
    half = {revision for revision in contracts if revision in opened and runner.journal(revision).begun}
    half |= soaking
    changes = state.contracted_changes(known, applied, half, scripts=scripts, folded=folded)
    if not changes:
        return

    def record() -> None:
        with runner.session.dialect.write_transaction(connection):
            for revision, new in changes.items():
                state.set_contracted(connection, revision, new, folded=folded.get(revision, ()))
            connection.commit()

    until_free(runner, next(iter(changes)), record)
