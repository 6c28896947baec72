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
from online_migrate.contract.barrier import BARRIER_GONE
from online_migrate.contract.blocking_rows import (
    NO_PROOF,
    blocking_sessions,
    check_rows,
    find_blocking_rows,
    not_counted,
    unreadable,
)
from online_migrate.contract.graph_blockers import schema_blockers
from online_migrate.contract.live_services import LiveServices
from online_migrate.contract.locked_verification import counts, missing_in, verified_facts
from online_migrate.contract.soak_gate import soak_blockers, unsoak_blockers
from online_migrate.contract.sync_blockers import Standing, SyncCheck
from online_migrate.contract.sync_rows import compare_rows
from online_migrate.counting import still_failing
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.kinds.base import DataMigration
from online_migrate.runtime.catalog_schema import server_of
from online_migrate.runtime.rendering import Rendered
from online_migrate.script.graph import UNDECLARED, Graph
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
    verified: tuple[str, ...] = ()
    """The data migrations whose rows were not counted: a barrier is in place, and each row was verified."""


@dataclasses.dataclass
class _Proofs:
    """The data migrations whose rows need no count."""

    verified: list[str] = dataclasses.field(default_factory=list)
    """A barrier is in place, and each row was verified."""
    earlier: list[str] = dataclasses.field(default_factory=list)
    """The rows cannot be read any more, and were verified by an earlier contract revision."""

    @property
    def names(self) -> set[str]:
        return {*self.verified, *self.earlier}


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
        proofs = _Proofs()
        rows = [blocker for name in names for blocker in self._of_migration(name, names[name], proofs)]
        rows += self._of_syncs(revisions)
        rows += self._of_rollbacks(revisions)
        if self.for_soak:
            rows += unsoak_blockers(self.connection, revisions)
        else:
            rows += soak_blockers(self.connection, revisions, end_soak=self.end_soak)
        if names:
            found += self._of_server(barriers=proofs.names >= set(names))
        self.connection.rollback()
        services = self.services.check(self.connection, revisions)
        self.connection.rollback()
        blockers = (*found, *rows, *services.blockers)
        return GateReport(blockers, services.checked, self.services.note, tuple(proofs.verified))

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
        standings = dict.fromkeys(state.open_revisions(self.connection), Standing.HALF_APPLIED)
        soaks = state.soaks(self.connection).values()
        soaking = (one.revision for one in soaks if one.state is not state.SoakState.RETURNED)
        standings |= dict.fromkeys(soaking, Standing.SOAKS)
        found: dict[tuple[object, ...], Blocker] = {}
        for revision in revisions:
            standing = standings.get(revision, Standing.NOT_BEGUN)
            check = SyncCheck(
                revision,
                self.render(revision),
                server_of(self.connection),
                required=self._required_tables(revision),
                standing=standing,
            )
            half_applied = standing is Standing.HALF_APPLIED
            dropped = [one.sync for one in states if half_applied and check.drops(one.sync)]
            compared = compare_rows(self.connection, dropped, self.timeout)
            blockers = [*compared.blockers, *check.blockers(states, compared.gone)]
            for blocker in blockers:
                found.setdefault((blocker.id, blocker.object, blocker.keys), blocker)
        return list(found.values())

    def _required_tables(self, revision: str) -> set[str]:
        required = self.graph.revisions[revision].requires
        names = required if isinstance(required, tuple) else ()
        tables = (self.migrations[name].table for name in names if name in self.migrations)
        return {str(getattr(table, "name", table)).rpartition(".")[-1] for table in tables}

    def _of_server(self, *, barriers: bool) -> list[Blocker]:
        """Returns why a verification under the lock proves nothing here; *barriers*: none is needed."""
        dialect = dialect_of(self.connection)
        problem = dialect.check_contract_server(self.connection, barriers=barriers)
        return [] if problem is None else [Blocker("server", dialect.name, problem.reason, problem.hint)]

    def of_migration(self, name: str, revision: str) -> list[Blocker]:
        """Returns the blockers of data migration *name*, which contract revision *revision* requires."""
        return self._of_migration(name, revision, _Proofs())

    def _of_migration(self, name: str, revision: str, proofs: _Proofs) -> list[Blocker]:
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
        rows = self._of_rows(migration, record, proofs)
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
            if rows.id in NO_PROOF:
                return [blocker, rows]
            reason = f"{blocker.reason}; {rows.reason}"
            return [dataclasses.replace(rows, id=blocker.id, reason=reason, hint=blocker.hint)]
        return [blocker]

    def _of_rows(
        self, migration: DataMigration, record: state.Record | None, proofs: _Proofs
    ) -> list[Blocker] | None:
        """Returns the blockers found in the rows.

        None: the rows can no longer be read, and an earlier verification under a lock counts instead.
        """
        try:
            subject = migration.subject(self.connection)
            reason = missing_in(self.connection, subject)
            if reason is not None:
                raise exceptions.PendingUnreadable(name=migration.name, reason=reason)
        except exceptions.PendingUnreadable as error:
            if not self._counts(record):
                return [unreadable(migration.name, str(error))]
            proofs.earlier.append(migration.name)
            return None
        except DATABASE_ERRORS as error:
            return [self._not_reflected(migration, error)]
        rows = check_rows(self.connection, migration, subject, timeout=self.timeout)
        if rows.verified:
            proofs.verified.append(migration.name)
            return []
        failing = {}
        if not any(blocker.id in _UNCOUNTED for blocker in rows.blockers):
            failing = still_failing(self.connection, migration, subject)
        return [_with_failures(blocker, len(failing)) for blocker in rows.blockers]

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
            blocking_sessions(dialect, self.connection, tables) if dialect.is_lock_timeout(error) else []
        )
        return not_counted(dialect, migration.name, error, self.timeout, held_by)


_UNCOUNTED = ("pending-unreadable", "not-counted", *BARRIER_GONE, *NO_PROOF)


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
