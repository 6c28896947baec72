"""The statements of a sync between two tables, which every server understands but for a few words. Pure.

A row of the other table that is absent is the same as one whose values are all NULL: the new version creates
the row of the first table before that of the second one, which a trigger must not have created by then.

The statements are conditional by their WHERE, because the triggers of SQLite have no IF.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from online_migrate.dialects.facets.sync_triggers import Reference, SyncedColumn, SyncShape, joined


@dataclasses.dataclass(frozen=True)
class Words:
    """What differs between the servers.

    *quote*: quotes a name. *differ*: the condition that two values of a column are not the same. *insert*: an
    INSERT without an effect if there is a row of the key with these values, with the places {table},
    {columns}, {values}, {condition}, {key}, {row} for the condition of that row, {assignments} of the values
    to the columns without the key, and {differs} for the condition that the row has other values.
    """

    quote: Callable[[str], str]
    differ: Callable[[SyncedColumn, str, str], str]
    insert: str


EVENTS = ("insert", "update", "delete")


class Statements:
    """The statements of the triggers of both tables."""

    def __init__(self, shape: SyncShape, words: Words) -> None:
        assert shape.target is not None
        self._shape = shape
        self._words = words
        self._target = self._path(shape.target)
        self._source = self._path(shape.table)
        self._of_target = self._reference(shape.target)
        self._of_source = self._reference(shape.table)

    def of_source(self) -> Mapping[str, Sequence[str]]:
        """Returns the statements on the second table, by the event of the first one."""
        new, old = self._row("NEW"), self._row("OLD")
        changed = self._changed(self._shape.old)
        moved = self._changed_key(source=True)
        keys = ", ".join(f"{self._words.quote(target)} = {new(source)}" for target, source in self._shape.key)
        follow = f"UPDATE {self._target} SET {keys} WHERE {self._target_of(old)} AND {moved}"
        return {
            "insert": self._write_target(new, ""),
            "update": [follow, *self._write_target(new, f" AND ({changed})")],
            "delete": [f"DELETE FROM {self._target} WHERE {self._target_of(old)}"],
        }

    def of_target(self) -> Mapping[str, Sequence[str]]:
        """Returns the statements on the first table, by the event of the second one."""
        new, old = self._row("NEW"), self._row("OLD")
        moved = self._changed_key(source=False)
        changed = f"({self._changed(self._shape.new)} OR {moved})"
        return {
            "insert": [self._write_source(new)],
            "update": [f"{self._empty_source(old)} AND {moved}", f"{self._write_source(new)} AND {changed}"],
            "delete": [self._empty_source(old)],
        }

    def source_row_of_new(self) -> str:
        """Returns the first table, and the condition of its row that belongs to the new row of the second."""
        return f"{self._source} WHERE {self._source_of(self._row('NEW'))}"

    def _write_target(self, row: Reference, condition: str) -> list[str]:
        """Returns the statements that give the second table the values of the row of the first one."""
        values = [(column, column.value(row)) for column in self._shape.new if column.value is not None]
        present = joined([f"{value} IS NOT NULL" for _, value in values], "OR")
        differs = joined(
            [
                self._words.differ(column, column.value(self._of_target), row(column.name))
                for column in self._shape.old
                if column.value is not None
            ],
            "OR",
        )
        quote = self._words.quote
        update = (
            f"UPDATE {self._target} SET {', '.join(f'{quote(c.name)} = {v}' for c, v in values)} "
            f"WHERE {self._target_of(row)} AND ({present}) AND ({differs}){condition}"
        )
        insert = self._words.insert.format(
            table=self._target,
            columns=", ".join(quote(name) for name in (*dict(self._shape.key), *(c.name for c, _ in values))),
            values=", ".join([*(row(source) for _, source in self._shape.key), *(v for _, v in values)]),
            condition=f"({present}){condition}",
            key=", ".join(quote(target) for target, _ in self._shape.key),
            row=self._target_of(row),
            assignments=", ".join(f"{quote(column.name)} = {value}" for column, value in values),
            differs=differs,
        )
        absent = f"WHERE {self._target_of(row)} AND NOT ({present}){condition}"
        if any(column.definition is not None and not column.definition.nullable for column, _ in values):
            return [update, insert, f"DELETE FROM {self._target} {absent}"]
        nulls = ", ".join(f"{quote(column.name)} = NULL" for column, _ in values)
        return [update, insert, f"UPDATE {self._target} SET {nulls} {absent}"]

    def _write_source(self, row: Reference) -> str:
        """Returns the statement that gives the first table the values of the row of the second one."""
        values = [(column, column.value(row)) for column in self._shape.old if column.value is not None]
        differs = [
            self._words.differ(column, column.value(self._of_source), row(column.name))
            for column in self._shape.new
            if column.value is not None
        ]
        return (
            f"UPDATE {self._source} SET "
            f"{', '.join(f'{self._words.quote(column.name)} = {value}' for column, value in values)} "
            f"WHERE {self._source_of(row)} AND ({joined(differs, 'OR')})"
        )

    def _empty_source(self, row: Reference) -> str:
        names = [column.name for column in self._shape.old if column.value is not None]
        present = joined([f"{self._of_source(name)} IS NOT NULL" for name in names], "OR")
        nulls = ", ".join(f"{self._words.quote(name)} = NULL" for name in names)
        return f"UPDATE {self._source} SET {nulls} WHERE {self._source_of(row)} AND ({present})"

    def _target_of(self, row: Reference) -> str:
        """Returns the condition of the row of the second table that belongs to a row of the first one."""
        return joined(
            [f"{self._of_target(target)} = {row(source)}" for target, source in self._shape.key], "AND"
        )

    def _source_of(self, row: Reference) -> str:
        return joined(
            [f"{self._of_source(source)} = {row(target)}" for target, source in self._shape.key], "AND"
        )

    def _changed(self, columns: Sequence[SyncedColumn]) -> str:
        new, old = self._row("NEW"), self._row("OLD")
        return joined([self._words.differ(one, new(one.name), old(one.name)) for one in columns], "OR")

    def _changed_key(self, *, source: bool) -> str:
        names = [pair[1] if source else pair[0] for pair in self._shape.key]
        new, old = self._row("NEW"), self._row("OLD")
        return f"({joined([f'{new(name)} <> {old(name)}' for name in names], 'OR')})"

    def _row(self, record: str) -> Reference:
        return lambda column: f"{record}.{self._words.quote(column)}"

    def _reference(self, table: str) -> Reference:
        return lambda column: f"{self._words.quote(table)}.{self._words.quote(column)}"

    def _path(self, table: str) -> str:
        return ".".join(self._words.quote(part) for part in (self._shape.schema, table) if part)
