"""The blockers of recorded syncs: their triggers must be intact until the contract revision drops them.

While a sync is intact, a write of either version leaves both shapes in step. A column that a trigger uses may
only go after the trigger: on MySQL and MariaDB each later write of the table would fail.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from online_migrate.dialects.facets.revisions import TEMPORARY_PREFIX
from online_migrate.exceptions import Blocker
from online_migrate.phases.known import Server
from online_migrate.phases.script import read
from online_migrate.runtime.rendering import Rendered
from online_migrate.sql.operations.operation import (
    CreateTable,
    DropColumn,
    DropObject,
    DropTable,
    Operation,
    RedefineColumn,
    RenameColumn,
    RenameTable,
    SetColumnType,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sync.expressions import comparable
from online_migrate.sync.recorded import SyncState, TriggerState

if TYPE_CHECKING:
    from online_migrate.state import RecordedSync

_IDS = {
    TriggerState.MISSING: "sync-missing",
    TriggerState.DISABLED: "sync-disabled",
    TriggerState.CHANGED: "sync-changed",
}
DROPPED = "sync-dropped"
"""The blocker of a sync whose triggers the next run of contract creates again."""
_WHY = "writes of one version may not have reached the columns of the other"


class Standing(enum.Enum):
    """What earlier runs have executed of a contract revision."""

    NOT_BEGUN = enum.auto()
    HALF_APPLIED = enum.auto()
    SOAKS = enum.auto()


class SyncCheck:
    """Compares one contract revision with the recorded syncs.

    *rendered*: the statements of the revision. *required*: the tables of its data migrations.
    *standing*: whether it was begun.
    """

    def __init__(
        self,
        revision: str,
        rendered: Rendered,
        server: Server,
        *,
        required: Collection[str],
        standing: Standing = Standing.NOT_BEGUN,
    ) -> None:
        self._revision = revision
        self._product = server.product
        self._operations = [
            operation for one in rendered.statements for operation in read(one.text, server) or ()
        ]
        self._incomplete = rendered.reason is not None
        self._required = required
        self._standing = standing

    def blockers(self, states: Iterable[SyncState], gone: Collection[str]) -> list[Blocker]:
        """Returns the blockers of the syncs that concern the revision.

        *gone*: the names of the syncs of which a column or a table does not exist any more.
        """
        found = []
        for one in states:
            if not self._concerns(one.sync):
                continue
            if not one.intact and not self._may_be_gone(one.sync, gone):
                dropped = self._standing is Standing.HALF_APPLIED and self.drops(one.sync)
                found.append(self._dropped(one.sync) if dropped else _not_intact(one))
            found += self._in_use(one.sync)
            found += self._without_data_migration(one.sync)
        return found

    def drops(self, sync: RecordedSync) -> bool:
        """Returns True if the revision drops all triggers of the sync."""
        return self._dropped_before(sync, None)

    def _dropped(self, sync: RecordedSync) -> Blocker:
        return Blocker(
            DROPPED,
            sync.name,
            f"contract revision {self._revision} is half applied, and has dropped its triggers: {_WHY}",
            "online-migrate contract   (it creates them again, and names the rows that differ)",
        )

    def _may_be_gone(self, sync: RecordedSync, gone: Collection[str]) -> bool:
        """Returns True if an earlier run of the revision has dropped the triggers for good."""
        if self._standing is Standing.HALF_APPLIED:
            removes = any(self._taken(one, sync, ()) for one in self._operations)
            return self.drops(sync) and removes and sync.name in gone
        return self._standing is Standing.SOAKS and self.drops(sync)

    def _concerns(self, sync: RecordedSync) -> bool:
        tables = {self._same(table) for table in sync.columns_used}
        if self._incomplete or tables & {self._same(table) for table in self._required}:
            return True
        named = (getattr(operation, "table", None) for operation in self._operations)
        altered = {self._same(one.name) for one in named if isinstance(one, Name)}
        return self.drops(sync) or bool(tables & altered)

    def _same(self, name: str) -> str:
        return comparable(name, self._product)

    def _dropped_before(self, sync: RecordedSync, operation: Operation | None) -> bool:
        """Returns True if all triggers of the sync are dropped before *operation*; None: at the end."""
        dropped = set()
        for one in self._operations:
            if one is operation:
                break
            if isinstance(one, DropObject) and one.kind == "trigger":
                dropped.add(one.object.name)
        return dropped >= set(sync.triggers)

    def _in_use(self, sync: RecordedSync) -> list[Blocker]:
        copied = {
            self._same(operation.table.name.removeprefix(TEMPORARY_PREFIX))
            for operation in self._operations
            if isinstance(operation, CreateTable) and operation.table.name.startswith(TEMPORARY_PREFIX)
        }
        for operation in self._operations:
            taken = self._taken(operation, sync, copied)
            if taken and not self._dropped_before(sync, operation):
                return [
                    Blocker(
                        "sync-in-use",
                        sync.name,
                        f"contract revision {self._revision} removes or changes {taken}, which the sync uses",
                        f'write op.drop_sync("{sync.name}") into the script, before that operation',
                    )
                ]
        return []

    def _without_data_migration(self, sync: RecordedSync) -> list[Blocker]:
        """Returns a blocker if nothing shows that older rows are in the new shape, and no lock is taken."""
        tables = {self._same(table) for table in sync.columns_used}
        if not self.drops(sync) or tables & {self._same(table) for table in self._required}:
            return []
        taken = [found for one in self._operations if (found := self._taken(one, sync, ())) is not None]
        if not taken:
            return []
        return [
            Blocker(
                "sync-without-data-migration",
                sync.name,
                f"contract revision {self._revision} removes or changes {taken[0]}, and requires no data "
                f"migration of {sync.table_name}: the sync does not see rows that were there before it",
                "write the data migration that gives these rows their new values, and its name into requires "
                "of the script",
            )
        ]

    def _taken(self, operation: Operation, sync: RecordedSync, copied: Collection[str]) -> str | None:
        """Returns the column or table that the operation takes away from the triggers; None: nothing."""
        used = {self._same(table): names for table, names in sync.columns_used.items()}
        match operation:
            case DropColumn(table=table, column=column) | SetColumnType(table=table, column=column):
                found = column
            case RenameColumn(table=table, column=column) | RedefineColumn(table=table, old=column):
                found = column
            case CreateTable(table=table) if table.name.startswith(TEMPORARY_PREFIX):
                name = table.name.removeprefix(TEMPORARY_PREFIX)
                kept = {self._same(column.name) for column in operation.columns}
                lost = [column for column in used.get(self._same(name), ()) if self._same(column) not in kept]
                return f"column {name}.{lost[0]}" if lost else None
            case DropTable(table=table) | RenameTable(table=table):
                name = self._same(table.name)
                return f"table {table}" if name in used and name not in copied else None
            case _:
                return None
        names = {self._same(one) for one in used.get(self._same(table.name), ())}
        return f"column {table.name}.{found}" if self._same(found) in names else None


def _not_intact(found: SyncState) -> Blocker:
    sync, state = found.sync, found.state
    names = ", ".join(name for name, one in found.triggers.items() if one is state)
    hints = {
        TriggerState.DISABLED: f"ALTER TABLE {sync.table_name} ENABLE TRIGGER {names}",
        TriggerState.CHANGED: "restore its text, or create the sync again in a new expand revision",
        TriggerState.MISSING: "create the sync again in a new expand revision",
    }
    reasons = {
        TriggerState.DISABLED: "is disabled",
        TriggerState.CHANGED: "is not as it was created",
        TriggerState.MISSING: "is missing",
    }
    reason = f"trigger {names} of table {sync.table_name} {reasons[state]}: {_WHY}"
    hint = f'{hints[state]}; if the sync is no longer needed: op.drop_sync("{sync.name}")'
    return Blocker(_IDS[state], sync.name, reason, hint)
