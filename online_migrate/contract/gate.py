"""The gate: every reason why contract is refused. An empty list means open.

It fails closed: no record, an unreadable table, an unknown name, a count that takes too long are all
reasons. What is counted is the data, now; what is recorded is only asked for the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.contract.locked_verification import counts, missing_in, verified_facts
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.evidence.pending import (
    Remaining,
    any_row,
    fails_verify,
    find,
    is_pending,
    still_failing,
)
from online_migrate.evidence.visibility import reads_of, visibility_problem
from online_migrate.exceptions import Blocker
from online_migrate.revision.data_migration import DataMigration, Subject
from online_migrate.revision.graph import UNDECLARED, Graph, Phase

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def to_contract(graph: Graph, applied: frozenset[str], target: str | None = None) -> list[str]:
    """The contract revisions to apply, in order, up to *target* or the end of the branch. Pure."""
    head = target if target is not None else graph.heads.get(Phase.CONTRACT)
    if head is None:
        return []
    if graph.phase(head) is not Phase.CONTRACT:
        raise exceptions.UnknownRevision(
            revision=head, hint=f"it is on the {graph.phase(head)} branch; contract wants a contract revision"
        )
    return [r for r in graph.missing(applied, head) if graph.phase(r) is Phase.CONTRACT]


def expand_hint(graph: Graph, revision: str) -> str:
    """The command that applies an expand revision, and no later one. Pure."""
    if graph.heads.get(Phase.EXPAND) == revision:
        return "online-migrate expand"
    return f"online-migrate expand {revision}"


def schema_blockers(graph: Graph, applied: frozenset[str], revisions: Sequence[str]) -> list[Blocker]:
    """What the revision graph alone says against *revisions*. Pure."""
    found: list[Blocker] = []
    for revision in revisions:
        if graph.revisions[revision].requires is UNDECLARED:
            found.append(
                Blocker(
                    "requires-undeclared",
                    revision,
                    "the script does not say which data migrations it requires",
                    f"write requires = ('name', ...) into {graph.revisions[revision].path}, "
                    "or requires = () to say that none is needed",
                )
            )
        depends = graph.ancestors(revision)
        for needed in graph.order(graph.needed(revision) - applied):
            if graph.phase(needed) is not Phase.CONTRACT and not any(b.object == needed for b in found):
                phase = graph.phase(needed)
                hint = expand_hint(graph, needed) if phase is Phase.EXPAND else f"alembic upgrade {needed}"
                reason = f"{phase} revision {needed} is not applied"
                if needed not in depends:
                    reason += f", and {revision} has no depends_on that says which one it needs"
                found.append(Blocker("expand-not-applied", needed, reason, hint))
    return found


@dataclasses.dataclass(frozen=True)
class Gate:
    """Looks at a database for the blockers of contract revisions. Locks nothing, changes nothing."""

    graph: Graph
    migrations: Mapping[str, DataMigration]
    connection: Connection
    applied: frozenset[str]
    timeout: float
    """Seconds that counting may take for each data migration."""

    def blockers(self, revisions: Sequence[str]) -> list[Blocker]:
        """Every blocker that stands before *revisions*."""
        found = schema_blockers(self.graph, self.applied, revisions)
        names: dict[str, str] = {}
        for revision in revisions:
            required = self.graph.revisions[revision].requires
            if required is not UNDECLARED:
                names |= {name: revision for name in required if name not in names}
        problem = dialect_of(self.connection).contract_problem(self.connection) if names else None
        if problem is not None:
            found.append(Blocker("server", dialect_of(self.connection).name, problem.reason, problem.hint))
        for name, revision in names.items():
            found += self._of_migration(name, revision)
        self.connection.rollback()
        return found

    def _of_migration(self, name: str, revision: str) -> list[Blocker]:
        migration = self.migrations.get(name)
        if migration is None:
            known = ", ".join(self.migrations) or "none"
            reason = f"contract revision {revision} requires a data migration that does not exist"
            return [Blocker("data-migration-unknown", name, reason, f"known names: {known}")]
        if not migration.has_pending:
            reason = "it has no pending expression, so nobody can count what is left"
            return [Blocker("no-pending", name, reason, f"say pending=... in {migration.path}")]
        try:
            record = state.get_record(self.connection, name) if state.exists(self.connection) else None
        except ServerFault as error:
            self.connection.rollback()
            reason = f"its record cannot be read: {words_of(error)}"
            return [Blocker("registry-unreadable", name, reason, "online-migrate status")]
        if record is None:
            return self._without_record(migration)
        rows = self._of_rows(migration, record)
        if rows is None:
            return []
        if record.status is not state.Status.COMPLETE and not rows:
            why = f": {record.error}" if record.error else ""
            reason = f"it is not complete ({record.status}{why})"
            return [Blocker("not-complete", name, reason, f"online-migrate migrate {name}")]
        return rows

    def _without_record(self, migration: DataMigration) -> list[Blocker]:
        """It never ran; and, if its expand is applied, how many rows that leaves."""
        name = migration.name
        blocker = Blocker(
            "no-record", name, "there is no record that it ever ran", f"online-migrate migrate {name}"
        )
        try:
            subject = migration.subject(self.connection)
        except exceptions.PendingUnreadable:
            return [blocker]
        except ServerFault as error:
            return [self._not_reflected(migration, error)]
        for rows in look(self.connection, migration, subject, timeout=self.timeout):
            if rows.id in _NO_PROOF:
                return [blocker, rows]
            reason = f"{blocker.reason}; {rows.reason}"
            return [dataclasses.replace(rows, id=blocker.id, reason=reason, hint=blocker.hint)]
        return [blocker]

    def _of_rows(self, migration: DataMigration, record: state.Record) -> list[Blocker] | None:
        """None: they cannot be read any more, and an earlier verification under a lock counts."""
        try:
            subject = migration.subject(self.connection)
            reason = missing_in(self.connection, subject)
            if reason is not None:
                raise exceptions.PendingUnreadable(name=migration.name, reason=reason)
        except exceptions.PendingUnreadable as error:
            return None if self._counts(record) else [_unreadable(migration.name, str(error))]
        except ServerFault as error:
            return [self._not_reflected(migration, error)]
        blockers = look(self.connection, migration, subject, timeout=self.timeout)
        failing = {}
        if not any(blocker.id in _UNCOUNTED for blocker in blockers):
            failing = still_failing(self.connection, migration, subject)
        return [_with_failures(blocker, len(failing)) for blocker in blockers]

    def _counts(self, record: state.Record) -> bool:
        half_applied = state.open_revisions(self.connection)
        if not counts_as_verified(record, self.applied, half_applied):
            return False
        if record.verified_by in self.applied:
            return True
        facts = verified_facts(self.connection, str(record.verified_by))
        return counts(self.connection, facts.get(record.name))

    def _not_reflected(self, migration: DataMigration, error: Exception) -> Blocker:
        self.connection.rollback()
        dialect = dialect_of(self.connection)
        tables = [str(getattr(migration.table, "name", migration.table)).rpartition(".")[-1]]
        held_by = _holders(dialect, self.connection, tables) if dialect.is_lock_timeout(error) else []
        return _not_counted(dialect, migration.name, error, self.timeout, held_by)


_NO_PROOF = ("rows-hidden", "reads-unknown")
"""A count would prove nothing."""
_UNCOUNTED = ("pending-unreadable", "not-counted", *_NO_PROOF)


def _with_failures(blocker: Blocker, failed: int) -> Blocker:
    if not failed or blocker.id != "pending-rows":
        return blocker
    return dataclasses.replace(
        blocker,
        reason=f"{blocker.reason}; {failed:,} of them could not be migrated",
        hint=f"online-migrate status shows the rows that failed; mend them, then: {blocker.hint}",
    )


def counts_as_verified(
    record: state.Record | None, applied: frozenset[str], half_applied: Sequence[str]
) -> bool:
    """True if what was seen under the lock of an earlier contract revision stands for the rows. Pure.

    Once that revision has taken away a column that ``pending`` reads, the rows cannot be asked again.
    """
    if record is None or record.verified_by is None:
        return False
    return record.verified_by in applied or record.verified_by in half_applied


def look(
    connection: Connection, migration: DataMigration, subject: Subject, *, timeout: float, brief: bool = False
) -> list[Blocker]:
    """Looks at the rows: those that are pending, and those of which ``verify`` does not hold.

    *brief*: under a lock, where a first row is enough and is counted only if it is there.
    """
    dialect = dialect_of(connection)
    if subject.pending is None:
        return [_unreadable(migration.name, "it has no pending expression")]
    conditions = {"pending-rows": is_pending(subject.pending)}
    wrong = fails_verify(subject)
    if wrong is not None:
        conditions["unverified-rows"] = wrong
    found: list[Blocker] = []
    try:
        with dialect.statement_timeout(connection, timeout):
            found += _no_proof(connection, migration, subject)
            if found:
                return found
            for id_, condition in conditions.items():
                if brief and not any_row(connection, subject, condition):
                    continue
                remaining = find(connection, subject, condition)
                if remaining.count:
                    found.append(_rows_blocker(id_, migration.name, subject, remaining))
    except ServerFault as error:
        connection.rollback()
        tables = [target.table for target in subject.lock_targets]
        held_by = _holders(dialect, connection, tables) if dialect.is_lock_timeout(error) else []
        return [_not_counted(dialect, migration.name, error, timeout, held_by)]
    return found


def _no_proof(connection: Connection, migration: DataMigration, subject: Subject) -> list[Blocker]:
    """Why a count of the rows would prove nothing."""
    reads = reads_of(connection, subject)
    hidden = visibility_problem(connection, migration, subject, reads.targets)
    if hidden is not None:
        return [Blocker("rows-hidden", migration.name, hidden.reason, hidden.hint)]
    if reads.problem is not None:
        return [Blocker("reads-unknown", migration.name, reads.problem.reason, reads.problem.hint)]
    return []


def _holders(dialect: Dialect, connection: Connection, tables: Sequence[str]) -> list[str]:
    try:
        return dialect.blocking_sessions(connection, tables)
    except ServerFault:
        # Only a help for the person who reads it; not everybody may look at other sessions.
        return []
    finally:
        connection.rollback()


def _rows_blocker(id_: str, name: str, subject: Subject, remaining: Remaining) -> Blocker:
    what = "pending" if id_ == "pending-rows" else "migrated, but do not verify"
    hint = f"online-migrate migrate {name}"
    if id_ != "pending-rows":
        hint = f"mend these rows, or the verify expression of {name}"
    more = ", ..." if remaining.count > len(remaining.keys) else ""
    return Blocker(
        id_,
        name,
        f"{remaining} row(s) of {subject.table.name} are {what}: {', '.join(remaining.keys)}{more}",
        hint,
        count=remaining.count,
        at_least=remaining.at_least,
        keys=remaining.keys,
    )


def _not_counted(
    dialect: Dialect, name: str, error: Exception, timeout: float, held_by: Sequence[str]
) -> Blocker:
    if dialect.is_connection_lost(error):
        raise error
    if dialect.is_lock_timeout(error):
        holders = "".join(f"; {line}" for line in held_by)
        return Blocker(
            "not-counted",
            name,
            f"its rows cannot be counted, because somebody holds a lock on their table{holders}",
            "end that session, or wait until it has ended: then online-migrate gate",
        )
    if dialect.is_statement_timeout(error):
        return Blocker(
            "not-counted",
            name,
            f"its rows could not be counted within {timeout:g} s",
            "raise look_timeout or gate_timeout in [online_migrate], or add an index that pending can use",
        )
    return _unreadable(name, words_of(error))


def _unreadable(name: str, reason: str) -> Blocker:
    return Blocker(
        "pending-unreadable",
        name,
        f"what is pending cannot be counted: {reason}",
        "mend its pending expression",
    )
