"""The syncs that were created, as the bookkeeping table has them."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.state.tables import now, sync


@dataclasses.dataclass(frozen=True)
class RecordedSync:
    """A sync that was created.

    *forward*, *backward*: the expression of each column that a trigger assigns, as text of this server.
    *columns_used*: by table, every column that a trigger reads or assigns. *triggers*: by name, the text that
    the catalog showed after the trigger was created. *target*: the other table and its key, as
    JSON; None: both shapes are in one table.
    """

    name: str
    revision: str | None
    table_name: str
    table_schema: str | None
    target: Mapping[str, object] | None
    forward: Mapping[str, str]
    backward: Mapping[str, str]
    columns_used: Mapping[str, tuple[str, ...]]
    triggers: Mapping[str, str]
    changed_at: datetime.datetime = dataclasses.field(default_factory=now)


def recorded_syncs(connection: Connection) -> list[RecordedSync]:
    """Returns all recorded syncs by name; empty if the table does not exist."""
    if not has_sync_table(connection):
        return []
    return [_read(row) for row in connection.execute(sa.select(sync).order_by(sync.c.name))]


def has_sync_table(connection: Connection) -> bool:
    """Returns True if the engine's tables are recent enough to record syncs."""
    return dialect_of(connection).has_table(connection, sync.name)


def _read(row: sa.Row[tuple[object, ...]]) -> RecordedSync:
    values: dict[str, Any] = dict(row._mapping)
    for key in ("forward", "backward", "triggers"):
        values[key] = json.loads(values[key])
    values["columns_used"] = {
        table: tuple(found) for table, found in json.loads(values["columns_used"]).items()
    }
    values["target"] = None if values["target"] is None else json.loads(values["target"])
    return RecordedSync(**values)


def put_sync(connection: Connection, recorded: RecordedSync) -> None:
    """Records a sync; replaces the record of the same name."""
    remove_sync(connection, recorded.name)
    values = dataclasses.asdict(recorded)
    for key in ("forward", "backward", "columns_used", "triggers"):
        values[key] = json.dumps(values[key])
    values["target"] = None if recorded.target is None else json.dumps(recorded.target)
    connection.execute(sa.insert(sync).values(**values))


def remove_sync(connection: Connection, name: str) -> None:
    """Removes the record of a sync."""
    connection.execute(sa.delete(sync).where(sync.c.name == name))
