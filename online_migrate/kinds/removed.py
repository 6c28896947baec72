"""A data migration whose code was removed. The gate still counts its pending rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from online_migrate import exceptions
from online_migrate.kinds.base import DataMigration

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.kinds.command_database import CommandDatabase


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removed(DataMigration):
    """Stands for a data migration that an earlier release had, as long as a contract revision requires it.

    Its *table* and *pending* are those of the data migration. The gate counts the rows, so contract is as
    safe as before, also on a new database, and on one that skipped releases. ``migrate`` changes no row.
    *removed_in*: the release that no longer has the code. Raises
    :class:`~online_migrate.exceptions.DataMigrationBroken` without *table*, *pending* or *removed_in*.
    """

    kind: ClassVar[str] = "removed"
    commits_by_itself: ClassVar[bool] = True
    needs_record: ClassVar[bool] = False
    removed_in: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {"table": self.table, "pending": self.pending, "removed_in": self.removed_in or None}
        missing = [name for name, value in given.items() if value is None]
        if missing:
            raise exceptions.DataMigrationBroken(
                name=self.name or "Removed", reason=f"Removed(...) needs {', '.join(missing)}"
            )

    @property
    def next_command(self) -> str:
        return f"with the code of a release before {self.removed_in}: online-migrate migrate {self.name}"

    def plan_sql(self, connection: Connection) -> str:
        return f"-- no row is changed: the code was removed in release {self.removed_in}"

    def open_calls(self, database: CommandDatabase) -> Callable[[int], tuple[int, int]]:
        return lambda _max_count: (0, 0)

    def left_pending(self, pending: int) -> str:
        return (
            f"{pending} row(s) are pending, and its code was removed in release {self.removed_in}; "
            f"{self.next_command}"
        )
