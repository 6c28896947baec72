"""Sync triggers on SQLite, which cannot assign to NEW: AFTER triggers that update the row that was written.

Such an UPDATE fires the triggers of the other direction. Their conditions do not hold then, because the two
shapes are in step; so it makes no difference whether ``recursive_triggers`` is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.sync_between_tables import Statements, Words
from online_migrate.dialects.facets.sync_triggers import (
    FoundTrigger,
    SyncedColumn,
    SyncShape,
    SyncTriggers,
    joined,
)
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TRIGGERS = """
    SELECT name, sql AS body FROM sqlite_master
    WHERE type = 'trigger' AND tbl_name = :name COLLATE NOCASE ORDER BY name
"""
_KIND = "SELECT type, sql FROM sqlite_master WHERE name = :name COLLATE NOCASE AND type IN ('table', 'view')"
_PRIMARY_KEY = """
    SELECT name, dflt_value IS NOT NULL AS has_default,
        (SELECT count(*) FROM pragma_index_list(:name, :schema) WHERE origin = 'pk') AS indexes
    FROM pragma_table_info(:name, :schema) WHERE pk > 0
"""
_ROW_IDS = ("rowid", "_rowid_", "oid")
_TRIGGER = """\
CREATE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH ROW
WHEN {condition}
BEGIN
    UPDATE {table} SET {assignments} WHERE {row};
END"""


class SQLiteSyncTriggers(SyncTriggers):
    """Reads sqlite_master. A trigger cannot be disabled."""

    suffixes: ClassVar[tuple[str, ...]] = ("_insert_old", "_insert_new", "_update_old", "_update_new")
    name_limit: ClassVar[int] = 200
    sync_needs_defaults: ClassVar[bool] = True

    def sync_statements(self, shape: SyncShape) -> Sequence[str]:
        if shape.target is not None:
            return self._between(shape)
        conditions = _conditions(shape)
        assigned = {"old": _assignments(shape.new), "new": _assignments(shape.old)}
        found = []
        for name, suffix in zip(self.sync_trigger_names(shape.name), self.suffixes, strict=True):
            event, written = suffix[1:].split("_")
            found.append(
                _TRIGGER.format(
                    trigger=_path(name, shape.schema),
                    event=event.upper(),
                    table=_quoted(shape.table),
                    condition=conditions[suffix[1:]],
                    assignments=assigned[written],
                    row=" AND ".join(f"{key} IS NEW.{key}" for key in _key(shape)),
                )
            )
        return found

    def _between(self, shape: SyncShape) -> Sequence[str]:
        statements = Statements(shape, _WORDS)
        sides = zip(shape.tables, (statements.of_source(), statements.of_target()), strict=True)
        names = iter(self.sync_trigger_names(shape.name, between=True))
        return [
            f"CREATE TRIGGER {_path(next(names), shape.schema)} AFTER {event.upper()} ON {_quoted(table)} "
            f"FOR EACH ROW\nBEGIN{''.join(f'{chr(10)}    {text};' for text in texts)}\nEND"
            for table, of_event in sides
            for event, texts in of_event.items()
        ]

    def _sync_path(self, name: str, schema: str | None) -> str:
        return _path(name, schema)

    def sync_triggers(
        self, connection: Connection, table: str, schema: str | None
    ) -> Mapping[str, FoundTrigger]:
        return {str(row.name): FoundTrigger(str(row.body)) for row in rows(connection, _TRIGGERS, name=table)}

    def sync_table_problem(self, connection: Connection, table: str, schema: str | None) -> str | None:
        found = rows(connection, _KIND, name=table)
        if not found:
            return "it does not exist"
        if found[0].type == "view":
            return "it is a view"
        return "it is a virtual table" if str(found[0].sql).upper().startswith("CREATE VIRTUAL") else None

    def sync_row_key(self, connection: Connection, table: str, schema: str | None) -> tuple[str, ...]:
        inspector = sa.inspect(connection)
        columns = {column["name"].lower() for column in inspector.get_columns(table, schema=schema)}
        name = next((one for one in _ROW_IDS if one not in columns), None)
        try:
            connection.exec_driver_sql(f"SELECT {name or 'rowid'} FROM {_quoted(table)} LIMIT 0")
        except sa.exc.OperationalError:
            name = None  # a table WITHOUT ROWID
        if name is not None:
            return (name,)
        return tuple(inspector.get_pk_constraint(table, schema=schema)["constrained_columns"])

    def sync_filled_columns(self, connection: Connection, table: str, schema: str | None) -> frozenset[str]:
        # A primary key that is the rowid fills itself. It is the only one that has no index of its own:
        # that of another type, of several columns, or of a table WITHOUT ROWID has one. Such a key may be
        # NULL in a table with a rowid, so SQLite would insert a row whose key is NULL.
        key = rows(connection, _PRIMARY_KEY, name=table, schema=schema or "main")
        missing = {str(column.name) for column in key if column.indexes and not column.has_default}
        row_id = {str(column.name) for column in key if not column.indexes}
        return super().sync_filled_columns(connection, table, schema) - missing | row_id


def _key(shape: SyncShape) -> Sequence[str]:
    return [key if key in _ROW_IDS else _quoted(key) for key in shape.row_key or ("rowid",)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _path(name: str, schema: str | None) -> str:
    return ".".join(_quoted(part) for part in (schema, name) if part)


def _new(column: str) -> str:
    return f"NEW.{_quoted(column)}"


def _differ(first: str, second: str) -> str:
    """Returns the condition that two values are not the same, to the character."""
    return f"{first} COLLATE BINARY IS NOT {second}"


def _assignments(columns: Sequence[SyncedColumn]) -> str:
    values = [(column.name, column.value(_new)) for column in columns if column.value is not None]
    return ", ".join(f"{_quoted(name)} = {value}" for name, value in values)


def _conditions(shape: SyncShape) -> Mapping[str, str]:
    """Returns the condition of each trigger, by event and written shape."""
    inserted, updated, differs, present = {}, {}, {}, {}
    for side, columns in (("old", shape.old), ("new", shape.new)):
        assigned = [(column, column.value) for column in columns if column.value is not None]
        names = [column.name for column in columns]
        inserted[side] = _any(
            _differ(_new(column.name), f"({column.default or 'NULL'})") for column in columns
        )
        updated[side] = _any(_differ(_new(name), f"OLD.{_quoted(name)}") for name in names)
        differs[side] = _any(_differ(_new(column.name), value(_new)) for column, value in assigned)
        present[side] = _any(f"{_new(column.name)} IS NOT NULL" for column, _ in assigned)
    out_of_step = f"(NOT {present['new']} OR {differs['old']})"
    return {
        "insert_old": f"NOT {inserted['new']} AND {out_of_step}",
        "insert_new": f"{inserted['new']} AND NOT {inserted['old']} AND {differs['new']}",
        "update_old": f"{updated['old']} AND NOT {updated['new']} AND {out_of_step}",
        "update_new": f"{updated['new']} AND NOT {updated['old']} AND {differs['new']}",
    }


def _any(conditions: Iterable[str]) -> str:
    return f"({joined(list(conditions), 'OR')})"


_WORDS = Words(
    _quoted,
    lambda _column, first, second: _differ(first, second),
    # Not OR IGNORE, which would hide the violation of another constraint.
    "INSERT INTO {table} ({columns}) SELECT {values} WHERE {condition} ON CONFLICT ({key}) DO NOTHING",
)
