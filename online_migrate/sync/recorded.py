"""The recorded syncs of a database, and whether their triggers are still as they were created."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.dialects import dialect_of
from online_migrate.dialects.facets.sync_triggers import FoundTrigger, SyncShape
from online_migrate.dialects.query import quoted
from online_migrate.state import RecordedSync

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class TriggerState(enum.StrEnum):
    """What the catalog shows of a trigger that was created."""

    THERE = "there"
    DISABLED = "disabled"
    CHANGED = "changed"
    MISSING = "missing"


@dataclasses.dataclass(frozen=True)
class SyncState:
    """A recorded sync, and the state of each of its triggers by name."""

    sync: RecordedSync
    triggers: Mapping[str, TriggerState]
    gaps: tuple[str, ...] = ()
    """What writes the columns without firing the triggers."""

    @property
    def state(self) -> TriggerState:
        """The worst state of its triggers."""
        found = [self.triggers[name] for name in sorted(self.triggers, key=lambda n: _RANK[self.triggers[n]])]
        return found[0] if found else TriggerState.MISSING

    @property
    def intact(self) -> bool:
        """True if every trigger is there, enabled and unchanged."""
        return self.state is TriggerState.THERE


_RANK = {
    state: rank
    for rank, state in enumerate(
        (TriggerState.MISSING, TriggerState.DISABLED, TriggerState.CHANGED, TriggerState.THERE)
    )
}


def sync_states(connection: Connection) -> list[SyncState]:
    """Returns the recorded syncs of the database with the state of their triggers, by name."""
    return [_state_of(connection, sync) for sync in state.recorded_syncs(connection)]


def _state_of(connection: Connection, sync: RecordedSync) -> SyncState:
    found: dict[str, FoundTrigger] = {}
    gaps: list[str] = []
    dialect = dialect_of(connection)
    for table, columns in sync.columns_used.items():
        found |= dialect.sync_triggers(connection, table, sync.table_schema)
        gaps += dialect.sync_gaps(connection, table, sync.table_schema, columns)
    states = {name: _compare(text, found.get(name)) for name, text in sync.triggers.items()}
    return SyncState(sync, states, tuple(gaps))


def _compare(recorded: str, found: FoundTrigger | None) -> TriggerState:
    if found is None:
        return TriggerState.MISSING
    if not found.enabled:
        return TriggerState.DISABLED
    return TriggerState.THERE if found.text == recorded else TriggerState.CHANGED


def record(connection: Connection, shape: SyncShape, revision: str | None) -> None:
    """Records a sync whose triggers exist, with their texts in the catalog."""
    dialect = dialect_of(connection)
    found: dict[str, FoundTrigger] = {}
    for table in shape.tables:
        found |= dialect.sync_triggers(connection, table, shape.schema)
    names = dialect.sync_trigger_names(shape.name, between=shape.target is not None)
    texts = {name: found[name].text if name in found else "" for name in names}
    state.put_sync(connection, dataclasses.replace(as_recorded(connection, shape, revision), triggers=texts))


def as_recorded(connection: Connection, shape: SyncShape, revision: str | None) -> RecordedSync:
    """Returns the record of a sync, without the texts of its triggers."""

    def quote(name: str) -> str:
        return quoted(connection, name)

    return RecordedSync(
        name=shape.name,
        revision=revision,
        table_name=shape.table,
        table_schema=shape.schema,
        target=None if shape.target is None else {"table": shape.target, "key": dict(shape.key)},
        forward={column.name: column.value(quote) for column in shape.new if column.value is not None},
        backward={column.name: column.value(quote) for column in shape.old if column.value is not None},
        columns_used=shape.columns_used,
        triggers={},
    )
