"""What is known of tables and columns while operations are replayed. Pure.

Names are compared as they are written, so a change of ``public.t`` or of ``T`` makes ``t`` unknown.
"""

from __future__ import annotations

import dataclasses

from online_migrate.phases.known import KnownSchema, NothingKnown
from online_migrate.phases.other_objects import OtherObjects
from online_migrate.sql.operations.parts import Column, Name


@dataclasses.dataclass
class ColumnState:
    """*definition*: None if it is not known. *dropped*: old code knows it, and this group dropped it."""

    definition: Column | None = None
    new: bool = False
    dropped: bool = False


@dataclasses.dataclass
class TableState:
    """What is known of a table or a view.

    *dropped*: old code knows it, and this group dropped it. *created*: it was created here, so the schema
    below says nothing of it. *whole*: *columns* has every column. *defined*: the definitions of the schema
    below still hold. *written_through*: a view, or a table with a trigger or a rule: a write to it may change
    another table. *restriction*: why a new table may refuse a row. *partitions*: its new partitions.
    *temporary*: it may hide another one of the same name.
    """

    exists: bool | None = True
    new: bool = False
    dropped: bool = False
    created: bool = False
    whole: bool = False
    defined: bool = True
    written_through: bool = False
    restriction: str | None = None
    temporary: bool = False
    partitions: list[Name] = dataclasses.field(default_factory=list)
    columns: dict[str, ColumnState] = dataclasses.field(default_factory=dict)

    def siblings(self, column: str) -> list[str]:
        """Returns the other names that may stand for the same column, where case does not matter."""
        folded = column.casefold()
        return [name for name in self.columns if name != column and name.casefold() == folded]

    def asks_below(self, column: str) -> bool:
        """Returns True if the schema below still says what the column is."""
        return column not in self.columns and not self.created and not self.siblings(column)


def _unknown_table() -> TableState:
    return TableState(exists=None, created=True)


class _Tables(dict[Name, TableState]):
    """The touched tables by their names, and the names by their text without regard to case.

    A table is added by ``tables[name] = ...`` only, and never removed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folded: dict[str, list[Name]] = {}

    def __setitem__(self, name: Name, table: TableState) -> None:
        if name not in self:
            self._folded.setdefault(name.name.casefold(), []).append(name)
        super().__setitem__(name, table)

    def same_but_for_case(self, name: Name) -> list[Name]:
        """Returns the names with the same text but for case, in any schema."""
        return self._folded.get(name.name.casefold(), [])


class SchemaState:
    """The tables that the operations touched, above a schema that was known before them.

    *empty*: no table exists before the first operation.
    """

    def __init__(self, below: KnownSchema, *, empty: bool) -> None:
        self.below = below
        self.empty = empty
        self.tables = _Tables()
        self.routines: dict[str, bool] = {}
        """Whether old code knows the routine, by the name."""
        self.others = OtherObjects()
        self.certain = True
        """False after an operation whose effect is not known: what is created after it may not be new."""

    def siblings(self, table: Name) -> list[Name]:
        """Returns the other touched names that may stand for the same table."""
        return [name for name in self.tables.same_but_for_case(table) if name != table]

    def exists(self, table: Name) -> bool | None:
        """Returns whether the table exists; None if it is not known."""
        if table in self.tables:
            return self.tables[table].exists
        if self.siblings(table):
            return None
        return False if self.empty else self.below.table_exists(table)

    def touch(self, table: Name) -> TableState:
        """Returns the state of a table that an operation changes."""
        known = self.tables.get(table)
        hidden = self.siblings(table)
        for name in hidden:
            self.tables[name] = _unknown_table()
        if known is None:
            known = _unknown_table() if hidden else TableState(new=self.below.is_new_table(table))
            self.tables[table] = known
        return known

    def create(self, table: Name, columns: dict[str, ColumnState], *, whole: bool) -> None:
        """After CREATE of a table or view that did not exist."""
        dropped = self.touch(table).dropped
        new = self.certain and not dropped
        for column in columns.values():
            column.new = new
        self.tables[table] = TableState(new=new, dropped=dropped, created=True, whole=whole, columns=columns)

    def remove(self, table: Name) -> None:
        """After DROP or a rename of a table; it may not have existed."""
        if self.exists(table) is False:
            return
        state = self.touch(table)
        if state.temporary:
            self.tables[table] = _unknown_table()  # the one that it has hidden
        else:
            self.tables[table] = TableState(
                exists=False, dropped=state.dropped or not state.new, created=True
            )

    def forget_table(self, table: Name) -> None:
        """After an operation that leaves uncertain what the table is, and whether it is new."""
        self.touch(table)
        self.tables[table] = _unknown_table()

    def forget_definitions(self, table: Name) -> None:
        """After an operation that may change the definition of every column."""
        state = self.touch(table)
        state.defined = False
        for column in state.columns.values():
            column.definition = None

    def forget_everything(self) -> None:
        """After an operation whose effect is not known."""
        self.below, self.empty, self.certain = NothingKnown(), False, False
        self.tables, self.routines = _Tables(), {}
        self.others.forget()

    def routine_exists(self, name: str) -> bool | None:
        """Returns whether old code may call a routine of this name; None if it is not known."""
        known = self.routines.get(name.casefold())
        if known is not None:
            return known
        return False if self.empty else self.below.routine_exists(Name(name))

    def create_routine(self, name: str) -> None:
        """After CREATE of a function or procedure."""
        before = self.routine_exists(name)
        if before is not None and self.certain:
            self.routines[name.casefold()] = before

    def column(self, table: Name, name: str) -> ColumnState:
        """Returns the state of a column that an operation changes."""
        state = self.touch(table)
        for other in state.siblings(name):
            state.columns[other].definition = None
        if name not in state.columns:
            asks = state.asks_below(name)
            definition = self.below.column(table, name) if asks and state.defined else None
            new = state.new or (asks and self.below.is_new_column(table, name))
            state.columns[name] = ColumnState(definition, new)
        return state.columns[name]

    def add_column(self, table: Name, column: Column) -> None:
        """After ADD COLUMN of a column that did not exist."""
        state = self.touch(table)
        before = state.columns.get(column.name)
        known = before is not None and before.dropped
        known_to_old_code = known or not self.certain
        state.columns[column.name] = ColumnState(column, state.new or not known_to_old_code, known)

    def remove_column(self, table: Name, name: str) -> None:
        """After DROP COLUMN or a rename of a column."""
        state = self.column(table, name)
        state.definition, state.dropped = None, state.dropped or not state.new
        state.new = False

    def begin_group(self) -> None:
        """What exists now is not new, and was not dropped, in the next group of operations."""
        self.certain = True
        self.others.begin_group()
        self.routines = dict.fromkeys(self.routines, True)
        for table in self.tables.values():
            table.new = table.dropped = False
            for column in table.columns.values():
                column.new = column.dropped = False
