"""The gate: every reason why contract is refused. An empty list means that the gate is open.

The gate fails closed: a missing record, an unreadable table, an unknown name and a count that takes too long
are all reasons. Pending rows are counted in the data at the time of the check; the record is only read for
what the data does not show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.contract.graph_blockers import schema_blockers
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.locked_verification import counts, missing_in, verified_facts
from online_migrate.contract.soak_gate import soak_blockers
from online_migrate.contract.sync_blockers import SyncCheck
from online_migrate.counting import Remaining, any_row, find, still_failing
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import fails_verify, is_pending
from online_migrate.kinds.subject import Subject
from online_migrate.kinds.visibility import reads_of, visibility_problem
from online_migrate.runtime.catalog_schema import server_of
from online_migrate.runtime.rendering import Rendered
from online_migrate.script.graph import UNDECLARED, Graph
from online_migrate.sql.table_lock import TableLock
from online_migrate.sync.recorded import sync_states

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class GateReport:
    """The result of the gate."""

    blockers: tuple[Blocker, ...]
    services_checked: bool
    """False if the project declares no services, and none has ever reported."""
    services_note: str | None = None
    """What the check of the services does not see."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """Checks a database for the blockers of contract revisions. Locks nothing and changes nothing."""

    graph: Graph
    migrations: Mapping[str, DataMigration]
    connection: Connection
    applied: frozenset[str]
    timeout: float
    """Seconds that a count may take for each data migration; set as the statement timeout."""
    services: LiveServices
    render: Callable[[str], Rendered]
    """Renders the script of a contract revision; called if there are recorded syncs."""
    end_soak: bool = False
    """What soaks may be dropped before its time is over."""
    for_soak: bool = False
    """The check is for a soak, which may have begun."""

    def blockers(self, revisions: Sequence[str]) -> list[Blocker]:
        """Returns every blocker of *revisions*."""
        return list(self.report(revisions).blockers)

    def report(self, revisions: Sequence[str]) -> GateReport:
        """Returns every blocker of *revisions*, and whether services were checked."""
        found = schema_blockers(self.graph, self.applied, revisions)
        names: dict[str, str] = {}
        for revision in revisions:
            required = self.graph.revisions[revision].requires
            if required is not UNDECLARED:
                names |= {name: revision for name in required if name not in names}
        problem = dialect_of(self.connection).check_contract_server(self.connection) if names else None
        if problem is not None:
            found.append(Blocker("server", dialect_of(self.connection).name, problem.reason, problem.hint))
        for name, revision in names.items():
            found += self._of_migration(name, revision)
        found += self._of_syncs(revisions)
        found += self._of_rollbacks(revisions)
        if not self.for_soak:
            found += soak_blockers(self.connection, revisions, end_soak=self.end_soak)
        self.connection.rollback()
        services = self.services.check(self.connection, revisions)
        self.connection.rollback()
        return GateReport((*found, *services.blockers), services.checked, self.services.note)

    def _of_rollbacks(self, revisions: Sequence[str]) -> list[Blocker]:
        undone = set(state.half_rolled_back(self.connection)) if state.exists(self.connection) else set()
        return [
            Blocker(
                "rollback-unfinished",
                revision,
                f"the rollback of expand revision {expand}, which it needs, is not finished",
                f"online-migrate rollback {expand}",
            )
            for revision in revisions
            for expand in sorted(undone & self.graph.needed(revision))
        ]

    def _of_syncs(self, revisions: Sequence[str]) -> list[Blocker]:
        states = sync_states(self.connection)
        if not states:
            return []
        half_applied = [*state.open_revisions(self.connection), *state.soaks(self.connection)]
        found: dict[tuple[str, str], Blocker] = {}
        for revision in revisions:
            check = SyncCheck(
                revision,
                self.render(revision),
                server_of(self.connection),
                required=self._required_tables(revision),
                half_applied=revision in half_applied,
            )
            for blocker in check.blockers(states):
                found.setdefault((blocker.id, blocker.object), blocker)
        return list(found.values())

    def _required_tables(self, revision: str) -> set[str]:
        required = self.graph.revisions[revision].requires
        names = required if isinstance(required, tuple) else ()
        tables = (self.migrations[name].table for name in names if name in self.migrations)
        return {str(getattr(table, "name", table)).rpartition(".")[-1] for table in tables}

    def _of_migration(self, name: str, revision: str) -> list[Blocker]:
        migration = self.migrations.get(name)
        if migration is None:
            known = ", ".join(self.migrations) or "none"
            reason = f"contract revision {revision} requires a data migration that does not exist"
            return [Blocker("data-migration-unknown", name, reason, f"known names: {known}")]
        if not migration.has_pending:
            reason = "it has no pending expression, so its remaining rows cannot be counted"
            return [Blocker("no-pending", name, reason, f"add pending=... to it in {migration.path}")]
        try:
            record = state.get_record(self.connection, name) if state.exists(self.connection) else None
        except DATABASE_ERRORS as error:
            self.connection.rollback()
            reason = f"its record cannot be read: {error_message(error)}"
            return [Blocker("registry-unreadable", name, reason, "online-migrate status")]
        if record is None and migration.needs_record:
            return self._without_record(migration)
        rows = self._of_rows(migration, record)
        if rows is None or record is None or not migration.needs_record:
            return rows or []
        if record.status is not state.Status.COMPLETE and not rows:
            why = f": {record.error}" if record.error else ""
            reason = f"it is not complete ({record.status}{why})"
            return [Blocker("not-complete", name, reason, f"online-migrate migrate {name}")]
        return rows

    def _without_record(self, migration: DataMigration) -> list[Blocker]:
        """Returns the blocker of a data migration that never ran; with a count if its expand is applied."""
        name = migration.name
        blocker = Blocker("no-record", name, "it has no record of a run", f"online-migrate migrate {name}")
        try:
            subject = migration.subject(self.connection)
        except exceptions.PendingUnreadable:
            return [blocker]
        except DATABASE_ERRORS as error:
            return [self._not_reflected(migration, error)]
        for rows in find_blocking_rows(self.connection, migration, subject, timeout=self.timeout):
            if rows.id in _NO_PROOF:
                return [blocker, rows]
            reason = f"{blocker.reason}; {rows.reason}"
            return [dataclasses.replace(rows, id=blocker.id, reason=reason, hint=blocker.hint)]
        return [blocker]

    def _of_rows(self, migration: DataMigration, record: state.Record | None) -> list[Blocker] | None:
        """Returns the blockers found in the rows.

        None: the rows can no longer be read, and an earlier verification under a lock counts instead.
        """
        try:
            subject = migration.subject(self.connection)
            reason = missing_in(self.connection, subject)
            if reason is not None:
                raise exceptions.PendingUnreadable(name=migration.name, reason=reason)
        except exceptions.PendingUnreadable as error:
            return None if self._counts(record) else [_unreadable(migration.name, str(error))]
        except DATABASE_ERRORS as error:
            return [self._not_reflected(migration, error)]
        blockers = find_blocking_rows(self.connection, migration, subject, timeout=self.timeout)
        failing = {}
        if not any(blocker.id in _UNCOUNTED for blocker in blockers):
            failing = still_failing(self.connection, migration, subject)
        return [_with_failures(blocker, len(failing)) for blocker in blockers]

    def _counts(self, record: state.Record | None) -> bool:
        half_applied = state.open_revisions(self.connection) if record is not None else []
        half_applied += state.soaks(self.connection) if record is not None else []
        if record is None or not counts_as_verified(record, self.applied, half_applied):
            return False
        if record.verified_by in self.applied:
            return True
        facts = verified_facts(self.connection, str(record.verified_by))
        return counts(self.connection, facts.get(record.name))

    def _not_reflected(self, migration: DataMigration, error: Exception) -> Blocker:
        self.connection.rollback()
        dialect = dialect_of(self.connection)
        tables = [str(getattr(migration.table, "name", migration.table)).rpartition(".")[-1]]
        held_by = (
            _blocking_sessions(dialect, self.connection, tables) if dialect.is_lock_timeout(error) else []
        )
        return _not_counted(dialect, migration.name, error, self.timeout, held_by)


_NO_PROOF = ("rows-hidden", "reads-unknown")
"""Blockers which mean that a count would prove nothing."""
_UNCOUNTED = ("pending-unreadable", "not-counted", *_NO_PROOF)


def _with_failures(blocker: Blocker, failed: int) -> Blocker:
    if not failed or blocker.id != "pending-rows":
        return blocker
    return dataclasses.replace(
        blocker,
        reason=f"{blocker.reason}; {failed:,} of them could not be migrated",
        hint=f"online-migrate status lists the failed rows; correct them, then: {blocker.hint}",
    )


def counts_as_verified(
    record: state.Record | None, applied: frozenset[str], half_applied: Sequence[str]
) -> bool:
    """Returns True if the verification under the lock of an earlier contract revision replaces a count. Pure.

    Once that revision has removed a column that ``pending`` reads, the rows cannot be counted again.
    """
    if record is None or record.verified_by is None:
        return False
    return record.verified_by in applied or record.verified_by in half_applied


def find_blocking_rows(
    connection: Connection, migration: DataMigration, subject: Subject, *, timeout: float, brief: bool = False
) -> list[Blocker]:
    """Returns the blockers found in the rows: pending rows, and rows that fail ``verify``.

    *timeout*: the statement timeout in seconds. *brief*: for a check under a lock: first reads a single row,
    and counts only if it exists. Database errors are returned as blockers; only a lost connection is raised.
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
                    found.append(_rows_blocker(id_, migration, subject, remaining))
    except DATABASE_ERRORS as error:
        connection.rollback()
        tables = [target.table for target in subject.lock_targets]
        held_by = _blocking_sessions(dialect, connection, tables) if dialect.is_lock_timeout(error) else []
        return [_not_counted(dialect, migration.name, error, timeout, held_by)]
    return found


def _no_proof(connection: Connection, migration: DataMigration, subject: Subject) -> list[Blocker]:
    """Returns the blocker that explains why a count of the rows would prove nothing, if there is one."""
    reads = reads_of(connection, subject)
    hidden = visibility_problem(connection, migration, subject, reads.targets)
    if hidden is not None:
        return [Blocker("rows-hidden", migration.name, hidden.reason, hidden.hint)]
    if reads.problem is not None:
        return [Blocker("reads-unknown", migration.name, reads.problem.reason, reads.problem.hint)]
    return []


def _blocking_sessions(dialect: Dialect, connection: Connection, tables: Sequence[str]) -> list[str]:
    try:
        locks = [TableLock(table) for table in tables]
        return [f"{holder}" for holder in dialect.lock_holders(connection, locks, blocked=True)]
    except DATABASE_ERRORS:
        # The list is additional information; the user may lack the privilege to read other sessions.
        return []
    finally:
        connection.rollback()


def _rows_blocker(id_: str, migration: DataMigration, subject: Subject, remaining: Remaining) -> Blocker:
    name = migration.name
    what = "pending" if id_ == "pending-rows" else "migrated, but verify fails"
    hint = migration.next_command
    if id_ != "pending-rows":
        hint = f"correct these rows, or the verify expression of {name}"
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
            f"its rows cannot be counted: another session holds a lock on the table{holders}",
            "end that session, or wait until it ends, then: online-migrate gate",
        )
    if dialect.is_statement_timeout(error):
        return Blocker(
            "not-counted",
            name,
            f"its rows could not be counted within {timeout:g} s",
            "raise look_timeout or gate_timeout in [online_migrate], "
            "or add an index for the pending expression",
        )
    return _unreadable(name, error_message(error))


def _unreadable(name: str, reason: str) -> Blocker:
    return Blocker(
        "pending-unreadable",
        name,
        f"its pending rows cannot be counted: {reason}",
        f"correct the pending expression of {name}",
    )
