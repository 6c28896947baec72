"""The triggers that keep two shapes of a row in step: their statements, and what the catalog shows."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.sql.operations.parts import Column

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PREFIX = "online_migrate_sync_"
"""The beginning of the name of every trigger, and of every function, of a sync."""
DATA_MIGRATION = "online_migrate_data_migration"
"""The setting of a session that writes rows for a data migration, where the server has such settings."""

DATA_MIGRATION_SETTING = "online_migrate.data_migration"
"""The same on PostgreSQL, where the name of a setting has two parts."""

Reference = Callable[[str], str]
"""Returns the SQL that stands for a column."""


@dataclasses.dataclass(frozen=True)
class Template:
    """An expression; a part is a piece of SQL, or the name of a column in a tuple of its own."""

    parts: tuple[str | tuple[str], ...]

    def __call__(self, reference: Reference) -> str:
        """Returns the text with *reference* for each column, in parentheses."""
        found = (part if isinstance(part, str) else reference(part[0]) for part in self.parts)
        return f"({''.join(found)})"

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the expression reads."""
        return frozenset(part[0] for part in self.parts if not isinstance(part, str))


@dataclasses.dataclass(frozen=True)
class SyncedColumn:
    """A column of one shape.

    *value*: its value, from the columns of the other shape; None: it is only read. *definition*: None: it is
    not known, because no database is asked; then it counts as a column without a default.
    """

    name: str
    value: Template | None
    definition: Column | None = None

    @property
    def default(self) -> str | None:
        """The text of the default; None: the default is NULL."""
        definition = self.definition
        if definition is None or definition.default is None:
            return None
        return definition.default.text

    @property
    def type(self) -> str:
        """The name of the type in normal form; empty: it is not known."""
        definition = self.definition
        return "" if definition is None or definition.type is None else definition.type.name


@dataclasses.dataclass(frozen=True)
class SyncShape:
    """A sync for one server.

    *old*, *new*: the columns of the two shapes. *row_key*: the columns by which a trigger finds the row that
    was written, where it cannot assign to the row; empty: the row has an identity of its own. *target*: the
    table of the new shape, None if it is the same one. *key*: its columns, each with that of the first table.
    """

    name: str
    table: str
    schema: str | None
    old: tuple[SyncedColumn, ...]
    new: tuple[SyncedColumn, ...]
    row_key: tuple[str, ...] = ()
    target: str | None = None
    key: tuple[tuple[str, str], ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that have triggers."""
        return (self.table,) if self.target is None else (self.table, self.target)

    @property
    def columns_used(self) -> Mapping[str, tuple[str, ...]]:
        """By table, the columns that the triggers read or assign, sorted."""
        old, new = ({column.name for column in columns} for columns in (self.old, self.new))
        if self.target is None:
            return {self.table: tuple(sorted(old | new))}
        return {
            self.table: tuple(sorted(old | {source for _, source in self.key})),
            self.target: tuple(sorted(new | {target for target, _ in self.key})),
        }


@dataclasses.dataclass(frozen=True)
class FoundTrigger:
    """A trigger in the catalog; *enabled*: it fires for the writes of an ordinary session."""

    text: str
    enabled: bool = True


class SyncTriggers:
    """Renders, finds and drops the triggers of a sync."""

    name_limit: ClassVar[int] = 63
    """The longest name of a trigger, in bytes."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """The ends of the names of the triggers of a sync of one table."""
    suffixes_between: ClassVar[tuple[str, ...]] = tuple(
        f"_{side}_{event}" for side in ("old", "new") for event in ("insert", "update", "delete")
    )
    """The ends of the names of the triggers of a sync between two tables: those of the first one at first."""
    sync_needs_defaults: ClassVar[bool] = False
    """A trigger cannot fill a NOT NULL column that an INSERT leaves out."""

    def sync_trigger_names(self, name: str, *, between: bool = False) -> tuple[str, ...]:
        """Returns the names of the triggers of the sync *name*; *between*: two tables."""
        suffixes = self.suffixes_between if between else self.suffixes
        return tuple(self._short(f"{PREFIX}{name}{suffix}") for suffix in suffixes)

    def _short(self, name: str) -> str:
        if len(name.encode()) <= self.name_limit:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:10]
        kept = name.encode()[: self.name_limit - 11].decode(errors="ignore")
        return f"{kept}_{digest}"

    def sync_statements(self, shape: SyncShape) -> Sequence[str]:
        """Returns the statements that create the triggers, in order."""
        raise NotImplementedError

    def drop_sync_statements(
        self, name: str, table: str, schema: str | None, target: str | None = None
    ) -> Sequence[str]:
        """Returns the statements that drop the triggers, in order; *target*: see :class:`SyncShape`."""
        triggers = self.sync_trigger_names(name, between=target is not None)
        return [f"DROP TRIGGER IF EXISTS {self._sync_path(trigger, schema)}" for trigger in triggers]

    def _sync_path(self, name: str, schema: str | None) -> str:
        raise NotImplementedError

    def sync_triggers(
        self, connection: Connection, table: str, schema: str | None
    ) -> Mapping[str, FoundTrigger]:
        """Returns the triggers of a table by name, with the text that is compared later."""
        raise NotImplementedError

    def sync_order_problem(self, trigger: str, others: Mapping[str, FoundTrigger]) -> Sequence[str]:
        """Returns the triggers among *others* that fire after *trigger*, and may change the row again."""
        return ()

    def sync_table_problem(self, connection: Connection, table: str, schema: str | None) -> str | None:
        """Returns why the relation cannot have a sync; None: it is a table."""
        raise NotImplementedError

    def sync_problem(self, connection: Connection, shape: SyncShape) -> tuple[str, str] | None:
        """Returns why triggers for *shape* would break or miss a write on this server, and a hint.

        Executes queries that read no row, and changes nothing.
        """
        return None

    def sync_gaps(
        self, connection: Connection, table: str, schema: str | None, columns: Sequence[str]
    ) -> Sequence[str]:
        """Returns what writes *columns* of a table without firing its triggers, a sentence each."""
        return ()

    def sync_row_key(self, connection: Connection, table: str, schema: str | None) -> tuple[str, ...]:
        """Returns the columns of :attr:`SyncShape.row_key`."""
        return ()

    def sync_filled_columns(self, connection: Connection, table: str, schema: str | None) -> frozenset[str]:
        """Returns the columns that an INSERT may leave out, with their names in the catalog.

        The server gives such a column NULL, its default or a number of its own.
        """
        return frozenset(
            column["name"]
            for column in sa.inspect(connection).get_columns(table, schema)
            if column["nullable"]
            or column["default"] is not None
            or column.get("autoincrement") is True
            or column.get("identity")
        )

    def sync_privilege(self, connection: Connection, error: Exception, table: str) -> str | None:
        """Returns the statement that gives the privilege whose lack *error* is; None: it is another error."""
        return None


def joined(parts: Sequence[str], word: str) -> str:
    """Returns conditions that AND or OR connects."""
    return f" {word} ".join(parts)
