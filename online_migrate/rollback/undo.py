"""Undoes one expand revision by the ``downgrade()`` of its script."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.ddl.journal import Journal
from online_migrate.dialects import Dialect, LockTarget
from online_migrate.exceptions import Blocker
from online_migrate.phases.script import read
from online_migrate.rollback.guard import RollbackGuard, tables_of
from online_migrate.rollback.losses import Candidate, Loss, candidates, losses
from online_migrate.rollback.new_code import NewCode
from online_migrate.rollback.removals import Created, Removals
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.catalog_schema import server_of
from online_migrate.runtime.environment import Environment
from online_migrate.runtime.rendering import Rendered, render_offline
from online_migrate.runtime.sync_operations import SyncScope
from online_migrate.script.project import Project
from online_migrate.sql.operations.operation import DropObject

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class Undo:
    """What a rollback does to one revision. *migrations*: the data migrations whose records it removes."""

    revision: str
    statements: tuple[str, ...]
    created: Created
    removals: Removals
    tables: tuple[LockTarget, ...]
    migrations: tuple[str, ...]


class Undoing:
    """Makes the :class:`Undo` of revisions, and counts what they would lose."""

    def __init__(self, project: Project, environment: Environment, connection: Connection) -> None:
        self._project = project
        self._environment = environment
        self._connection = connection
        self._server = server_of(connection)

    def of(self, revision: str) -> Undo:
        """Returns what is done. Raises :class:`~online_migrate.exceptions.RollbackRefused`."""
        upgrade, downgrade = self._render(revision, undo=False), self._render(revision, undo=True)
        created = Created([one.text for one in upgrade.statements], self._server)
        statements = [one.text for one in downgrade.statements]
        blockers = [
            *_unrendered(revision, upgrade, "upgrade"),
            *_unrendered(revision, downgrade, "downgrade"),
            *(_refused(revision, one, "it cannot be read") for one in created.unknown),
            *(
                _refused(revision, one.statement, one.reason)
                for text in statements
                for one in created.judge(text)
            ),
        ]
        if not blockers:
            blockers = [
                _refused(revision, one, "downgrade() does not remove it, so expand could not create it again")
                for one in created.left(statements)
            ]
        removals = created.removals(statements)
        blockers += self._in_use(revision, removals, statements)
        if blockers:
            raise exceptions.RollbackRefused(blockers)
        names = [n for n, one in self._project.data_migrations.items() if one.revision == revision]
        tables = [LockTarget(one.name, one.schema) for one in removals.tables]
        tables += tables_of(statements, self._server.product)
        return Undo(
            revision, tuple(statements), created, removals, tuple(dict.fromkeys(tables)), tuple(names)
        )

    def _render(self, revision: str, *, undo: bool) -> Rendered:
        return render_offline(
            self._project.config,
            self._project.script,
            revision,
            server=self._connection.engine.dialect.name,
            options=self._environment.options,
            scope=SyncScope.of(self._connection),
            undo=undo,
        )

    def _in_use(self, revision: str, removals: Removals, statements: Sequence[str]) -> list[Blocker]:
        """Returns the recorded syncs whose triggers would stay on columns that are removed."""
        operations = [one for text in statements for one in read(text, self._server) or ()]
        dropped = {one.object.name for one in operations if isinstance(one, DropObject)}
        return [
            Blocker(
                "sync-in-use",
                revision,
                f"downgrade() removes column {table}.{added.column.name}, which sync {sync.name} uses",
                f'write op.drop_sync("{sync.name}") into downgrade(), before that operation',
            )
            for sync in state.recorded_syncs(self._connection)
            for table, added in removals.columns
            if added.column.name in sync.columns_used.get(table.name, ())
            and not set(sync.triggers) <= dropped
        ]

    def losses(self, undo: Undo) -> list[Loss]:
        """Returns the rows that would lose something now, without a lock."""
        found = candidates(self._connection, self._project.data_migrations, undo.removals)
        return losses(self._connection, found, self._project.settings.gate_timeout)


def rows_of(lost: Sequence[Loss]) -> int:
    """Returns the number of rows; one that loses several values counts for each."""
    return sum(loss.rows.count for loss in lost)


def refuse_losses(lost: Mapping[str, Sequence[Loss]], accepted: int) -> None:
    """Raises :class:`~online_migrate.exceptions.RollbackRefused` if more rows are lost than *accepted*.

    *lost*: by revision.
    """
    every = [(revision, loss) for revision, some in lost.items() for loss in some]
    total = sum(rows_of(some) for some in lost.values())
    if total > accepted or any(loss.rows.at_least for _revision, loss in every):
        raise exceptions.RollbackRefused([loss.blocker(revision, total) for revision, loss in every])


def refuse_barriers(connection: Connection, names: Sequence[str], tables: Sequence[LockTarget]) -> None:
    """Raises :class:`~online_migrate.exceptions.RollbackRefused` if there is a barrier.

    *names*: the data migrations of the revision. *tables*: those that the downgrade alters or drops. A
    barrier refuses what the old version writes; its triggers break every write once a column that they read
    is gone.
    """
    altered = {target.table for target in tables}
    blockers = [
        Blocker(
            "barrier",
            name,
            f"its barrier {recorded.barrier} refuses what the old version writes to {recorded.table_name}",
            f"online-migrate verify {name} --drop-barrier",
        )
        for name, recorded in state.all_verifications(connection).items()
        if recorded.barrier is not None and (name in names or recorded.table_name in altered)
    ]
    if blockers:
        raise exceptions.RollbackRefused(blockers)


def refuse_workers(connection: Connection, dialect: Dialect, names: Sequence[str], lease: float) -> None:
    """Raises :class:`~online_migrate.exceptions.RollbackRefused` if a data migration has a live worker."""
    found = {
        name: [
            one
            for one in state.workers_of(connection, name, dialect.epoch())
            if not one.released and one.seconds_since_heartbeat <= lease
        ]
        for name in names
    }
    blockers = [
        Blocker(
            "workers-active",
            name,
            f"{len(workers)} worker(s) migrate rows: {workers[0].runner}",
            f"online-migrate cancel {name}",
        )
        for name, workers in found.items()
        if workers
    ]
    if blockers:
        raise exceptions.RollbackRefused(blockers)


def _unrendered(revision: str, rendered: Rendered, function: str) -> list[Blocker]:
    if rendered.reason is None:
        return []
    reason = f"what {function}() does is not known before it runs: {rendered.reason}"
    return [Blocker("not-rendered", revision, reason, "change the schema back by a new expand revision")]


def _refused(revision: str, statement: str, reason: str) -> Blocker:
    hint = (
        "write into downgrade() only what reverts what upgrade() creates, or change the schema back by a new "
        "expand revision"
    )
    return Blocker("not-a-removal", revision, f"{statement}: {reason}", hint)


def undo(runner: RevisionRunner, what: Undo, new_code: NewCode, *, accepted: int) -> None:
    """Undoes one revision; the same checks are repeated under the lock.

    *new_code*: the check of the services. *accepted*: the number of rows that may lose something. Raises
    :class:`~online_migrate.exceptions.RollbackRefused`, and what
    :meth:`~online_migrate.runtime.apply.RevisionRunner.apply` raises.
    """
    session, project = runner.session, runner.project
    connection, dialect = session.connection, session.dialect
    records = session.journal_connection or connection
    beside = records is not connection

    def before() -> None:
        nonlocal new_code
        new_code = new_code.before_lock(connection)

    def found() -> list[Candidate]:
        return candidates(connection, project.data_migrations, what.removals)

    def check(removed: list[Candidate]) -> None:
        lost = losses(connection, removed, project.settings.look_timeout)
        refuse_losses({what.revision: lost}, accepted)
        if beside:
            records.rollback()  # read in a transaction that begins under the lock
        refuse_workers(records, dialect, what.migrations, project.settings.lease)
        new_code.refuse(records, holder=connection if beside and _locks(what, new_code) else None)
        if beside:
            records.rollback()

    def watch(journal: Journal) -> RollbackGuard:
        return RollbackGuard(runner, journal, what.created, what.tables, found, check)

    def finish() -> None:
        for name in what.migrations:
            state.forget_migration(connection, name)

    doc = project.graph.revisions[what.revision].doc or "no message"
    runner.echo(f"rollback {what.revision}: {doc}")
    tables = [target.table for target in what.tables]
    runner.apply(what.revision, before=before, watch=watch, finish=finish, tables=tables, undo=True)


def _locks(what: Undo, new_code: NewCode) -> bool:
    """Returns True if a table in which services report is among the locked ones."""
    return bool(new_code.services.tables & {target.table for target in what.tables})
