"""The schema after a sequence of operations, as far as it follows from them. Pure.

It is never wrong: what an operation touches without saying what becomes of it is not known afterwards.
"""

from __future__ import annotations

from online_migrate.phases import replay_objects  # noqa: F401 - registers the effects of other operations
from online_migrate.phases.known import KnownSchema, NothingKnown
from online_migrate.phases.replay import EFFECTS
from online_migrate.phases.schema_state import SchemaState
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import Column, Name, SqlType


class VirtualSchema:
    """A :class:`~.known.KnownSchema` that operations fill.

    *below*: what is known before the first operation. *empty*: the database has no table before it, as before
    the first revision. What operations create is new until :meth:`begin_group` is called.
    """

    def __init__(self, below: KnownSchema | None = None, *, empty: bool = False) -> None:
        self._state = SchemaState(below or NothingKnown(), empty=empty)

    def begin_group(self) -> None:
        """Begins the next group of revisions: what exists now is not new in it."""
        self._state.begin_group()

    def apply(self, operation: Operation) -> None:
        """Changes the schema as the operation does; an operation that is not known makes everything unknown.

        An operation that a script declares as additive, with a reason, need not be applied.
        """
        effect = EFFECTS.get(type(operation))
        if effect is None:
            self._state.forget_everything()
        else:
            effect(self._state, operation)

    def is_new_table(self, table: Name) -> bool:
        known = self._state.tables.get(table)
        if known is not None:
            return known.new
        return not self._state.siblings(table) and self._state.below.is_new_table(table)

    def is_written_through(self, table: Name) -> bool:
        known = self._state.tables.get(table)
        if known is not None and known.written_through:
            return True
        return (known is None or not known.created) and self._state.below.is_written_through(table)

    def is_new_column(self, table: Name, column: str) -> bool:
        known = self._state.tables.get(table)
        if known is None:
            return not self._state.siblings(table) and self._state.below.is_new_column(table, column)
        if column in known.columns:
            return known.columns[column].new
        return known.new or (known.asks_below(column) and self._state.below.is_new_column(table, column))

    def column(self, table: Name, column: str) -> Column | None:
        known = self._state.tables.get(table)
        if known is None:
            return None if self._state.siblings(table) else self._state.below.column(table, column)
        if column in known.columns:
            return known.columns[column].definition
        asks = known.defined and known.asks_below(column)
        return self._state.below.column(table, column) if asks else None

    def table_exists(self, table: Name) -> bool | None:
        return self._state.exists(table)

    def type_kind(self, type: SqlType) -> str | None:
        return self._state.others.types.get(type.name) or self._state.below.type_kind(type)

    def is_new_object(self, kind: str, name: Name) -> bool:
        return (kind, name) in self._state.others.created or self._state.below.is_new_object(kind, name)

    def new_code(self, words: frozenset[str]) -> tuple[str, ...]:
        return self._state.others.called_by(words) + self._state.below.new_code(words)

    def restriction(self, table: Name, parent: Name) -> str | None:
        known = self._state.tables.get(table)
        if known is None:
            return self._state.below.restriction(table, parent)
        if known.restriction is not None and known.restriction != f"it has the constraints of {parent}":
            return known.restriction
        for name, column in known.columns.items():
            of_parent = self.column(parent, name)
            nullable = column.definition is not None and column.definition.nullable
            if not nullable and (of_parent is None or of_parent.nullable):
                return f"its column {name} is NOT NULL"
        found = (self.restriction(partition, parent) for partition in known.partitions)
        return next((one for one in found if one is not None), None)

    def hides_table(self, table: Name) -> bool | None:
        return self._state.below.hides_table(table)

    def routine_exists(self, routine: Name) -> bool | None:
        return self._state.routine_exists(routine.name)

    def role_exists(self, role: str) -> bool | None:
        return self._state.below.role_exists(role)
