"""Sync triggers on MySQL and MariaDB: one BEFORE INSERT, one BEFORE UPDATE.

Triggers of one event fire in the order of their creation, so a sync fires after those that exist. A NOT NULL
column without a default that an INSERT leaves out is NULL in a BEFORE INSERT trigger, which may fill it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.sync_between_tables import Statements, Words
from online_migrate.dialects.facets.sync_triggers import (
    DATA_MIGRATION,
    FoundTrigger,
    SyncedColumn,
    SyncShape,
    SyncTriggers,
    joined,
)
from online_migrate.dialects.mysql_errors import error_code
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TRIGGERS = """
    SELECT trigger_name AS name, action_statement AS body, event_manipulation AS event,
        action_timing AS timing, sql_mode AS mode
    FROM information_schema.triggers
    WHERE event_object_schema = COALESCE(:schema, DATABASE()) AND event_object_table = :name
    ORDER BY trigger_name
"""
_KIND = """
    SELECT table_type FROM information_schema.tables
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name
"""
_ENUMS = """
    SELECT column_name AS name, column_type AS type FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name
        AND data_type = 'enum' AND is_nullable = 'NO' AND column_default IS NULL
    ORDER BY ordinal_position
"""
_CASCADES = """
    SELECT k.constraint_name AS name, k.column_name AS column_name
    FROM information_schema.referential_constraints r JOIN information_schema.key_column_usage k
        ON k.constraint_schema = r.constraint_schema AND k.constraint_name = r.constraint_name
        AND k.table_name = r.table_name
    WHERE r.constraint_schema = COALESCE(:schema, DATABASE()) AND r.table_name = :name
        AND (r.delete_rule IN ('SET NULL', 'SET DEFAULT')
            OR r.update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))
    ORDER BY 1, 2
"""
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_VARIABLES = frozenset(
    {"tinyint", "smallint", "mediumint", "integer", "bigint", "numeric", "real", "double", "boolean"}
    | {"date", "time", "datetime", "timestamp", "year", "bit", "json"}
)
_INSERT = """\
CREATE TRIGGER {trigger} BEFORE INSERT ON {table} FOR EACH ROW
BEGIN
    DECLARE old_written BOOLEAN;
    DECLARE new_written BOOLEAN;
    DECLARE in_step BOOLEAN DEFAULT FALSE;
    {variables}
    SET new_written = {new_inserted};
    SET old_written = {old_inserted} OR NOT new_written;
    {body}
END"""
_UPDATE = """\
CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} FOR EACH ROW
BEGIN
    DECLARE old_written BOOLEAN;
    DECLARE new_written BOOLEAN;
    DECLARE in_step BOOLEAN DEFAULT FALSE;
    {variables}
    SET old_written = {old_updated};
    SET new_written = {new_updated};
    {body}
END"""
_BODY = """\
IF old_written AND NOT new_written THEN
        IF {new_present} THEN
            {other_old}
            SET in_step = NOT ({old_differs});
        END IF;
        IF NOT in_step THEN
            {set_new}
        END IF;
    ELSEIF new_written AND NOT old_written THEN
        {other_new}
        IF ({new_differs}) THEN
            {set_old}
        END IF;
    END IF;"""


# The variable says that a statement is one of the triggers. Its value is that of one statement of the client:
# NOW(6) is constant within a statement and the triggers that it fires. After a deadlock, a lock timeout or
# KILL QUERY (1213, 1205, 1317) no handler runs, and the variable keeps its value.
_BETWEEN = """\
CREATE TRIGGER {trigger} {event} ON {table} FOR EACH ROW
BEGIN
    DECLARE within VARCHAR(255) DEFAULT COALESCE(@online_migrate_sync, '');
    DECLARE marker VARCHAR(255) DEFAULT CONCAT('{sync} ', NOW(6));
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        SET @online_migrate_sync = within;
        RESIGNAL;
    END;
    IF within <> marker AND NOT ({skipped}) THEN
        SET @online_migrate_sync = marker;{statements}
        SET @online_migrate_sync = within;
    END IF;
END"""


class MySQLSyncTriggers(SyncTriggers):
    """Reads information_schema. A trigger cannot be disabled."""

    suffixes: ClassVar[tuple[str, ...]] = ("_insert", "_update")
    name_limit: ClassVar[int] = 64
    sync_breaks_enums: ClassVar[bool] = False
    """A trigger BEFORE INSERT takes the implicit default from each ENUM NOT NULL of the table (1364)."""

    def sync_statements(self, shape: SyncShape) -> Sequence[str]:
        if shape.target is not None:
            return self._between(shape)
        parts = _parts(shape)
        found = []
        for name, text in zip(self.sync_trigger_names(shape.name), (_INSERT, _UPDATE), strict=True):
            body = _BODY
            if text is _UPDATE:
                not_migrating = f"COALESCE(@{DATA_MIGRATION}, 0) = 0"
                body = body.replace("({new_differs})", f"({{new_differs}}) AND {not_migrating}")
            trigger, table = _path(name, shape.schema), _path(shape.table, shape.schema)
            found.append(text.replace("{body}", body).format(trigger=trigger, table=table, **parts))
        return found

    def _between(self, shape: SyncShape) -> Sequence[str]:
        statements = Statements(shape, _WORDS)
        sides = zip(shape.tables, (statements.of_source(), statements.of_target()), strict=True)
        names = iter(self.sync_trigger_names(shape.name, between=True))
        found = []
        for table, of_event in sides:
            for event, texts in of_event.items():
                # The row of a child goes before that of its parent: a foreign key may refer to it.
                before = event == "delete" and table == shape.table
                skipped = table == shape.target and event != "delete"
                found.append(
                    _BETWEEN.format(
                        trigger=_path(next(names), shape.schema),
                        event=f"{'BEFORE' if before else 'AFTER'} {event.upper()}",
                        table=_path(table, shape.schema),
                        sync=shape.name,
                        skipped=f"COALESCE(@{DATA_MIGRATION}, 0) = 1" if skipped else "FALSE",
                        statements="".join(f"\n        {text};" for text in texts),
                    )
                )
        return found

    def _sync_path(self, name: str, schema: str | None) -> str:
        return _path(name, schema)

    def sync_triggers(
        self, connection: Connection, table: str, schema: str | None
    ) -> Mapping[str, FoundTrigger]:
        found = rows(connection, _TRIGGERS, name=table, schema=schema)
        return {
            str(row.name): FoundTrigger(f"{row.timing} {row.event} [{row.mode}] {row.body}") for row in found
        }

    def sync_table_problem(self, connection: Connection, table: str, schema: str | None) -> str | None:
        found = [str(row[0]) for row in rows(connection, _KIND, name=table, schema=schema)]
        if not found:
            return "it does not exist"
        return None if found[0] == "BASE TABLE" else f"it is a {found[0].lower()}"

    def sync_problem(self, connection: Connection, shape: SyncShape) -> tuple[str, str] | None:
        if shape.target is not None:
            return None
        used = shape.columns_used[shape.table]
        for row in rows(connection, _ENUMS, name=shape.table, schema=shape.schema):
            if not self.sync_breaks_enums and row.name not in used:
                continue
            effect = "fails" if self.sync_breaks_enums else "has no value"
            default = str(row.type)[len("enum(") :].partition("',")[0].rstrip("')") + "'"
            return (
                f"column {row.name} is an ENUM NOT NULL without a default: an INSERT that leaves it out "
                f"{effect} while the table has a BEFORE INSERT trigger",
                f"give it the default that it has now: ALTER TABLE {shape.table} ALTER {row.name} "
                f"SET DEFAULT {default}",
            )
        return None

    def sync_gaps(
        self, connection: Connection, table: str, schema: str | None, columns: Sequence[str]
    ) -> Sequence[str]:
        return [
            f"foreign key {row.name} of {table}.{row.column_name} changes it without a trigger"
            for row in rows(connection, _CASCADES, name=table, schema=schema)
            if str(row.column_name) in columns
        ]

    def sync_privilege(self, connection: Connection, error: Exception, table: str) -> str | None:
        code = error_code(error)
        if code == 1419:
            return "SET GLOBAL log_bin_trust_function_creators = 1   (by an administrator)"
        if code != 1142:
            return None
        user = str(connection.scalar(sa.text("SELECT CURRENT_USER()")))
        name, _, host = user.rpartition("@")
        return f"GRANT TRIGGER ON {table} TO '{name}'@'{host}'"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _path(name: str, schema: str | None) -> str:
    return ".".join(_quoted(part) for part in (schema, name) if part)


def _new(column: str) -> str:
    return f"NEW.{_quoted(column)}"


def _differ(column: SyncedColumn, first: str, second: str) -> str:
    """Returns the condition that two values of a column are not the same, to the character."""
    if column.type in _TEXTS:
        # A collation calls different texts equal.
        first, second = (f"CAST(CONVERT({one} USING utf8mb4) AS BINARY)" for one in (first, second))
    return f"NOT ({first} <=> {second})"


def _default(column: SyncedColumn) -> str:
    return column.default or "NULL"


def _variable(column: SyncedColumn) -> str | None:
    """Returns the type of a variable that converts a value as the column does; None: it is not known."""
    type = None if column.definition is None else column.definition.type
    if type is None:
        return None
    if type.name in _TEXTS:
        return "LONGTEXT CHARACTER SET utf8mb4"
    if type.name in _BYTES:
        return "LONGBLOB"
    if type.name == "real":
        return str(type).replace("real", "FLOAT")  # REAL is DOUBLE
    return str(type) if type.name in _VARIABLES else None


def _parts(shape: SyncShape) -> dict[str, str]:
    """Returns the variables, the conditions and the assignments of the triggers."""
    found: dict[str, str] = {}
    variables: list[str] = []
    for side, columns in (("old", shape.old), ("new", shape.new)):
        inserted = []
        for number, column in enumerate(columns, start=1):
            default, type = _default(column), _variable(column)
            if column.default is not None and type is not None and type.startswith("FLOAT"):
                variables.append(f"DECLARE {side}_default_{number} {type} DEFAULT {default};")
                default = f"{side}_default_{number}"  # the column rounds its default
            inserted.append(_differ(column, _new(column.name), default))
        updated = [_differ(column, _new(column.name), f"OLD.{_quoted(column.name)}") for column in columns]
        assigned = [(column, column.value(_new)) for column in columns if column.value is not None]
        set_other, differs = [], []
        for number, (column, value) in enumerate(assigned, start=1):
            type, other = _variable(column), value
            if type is not None:
                other = f"{side}_{number}"
                variables.append(f"DECLARE {other} {type};")
                set_other.append(f"SET {other} = {value};")
            differs.append(_differ(column, other, _new(column.name)))
        found |= {
            f"{side}_inserted": f"({joined(inserted, 'OR')})",
            f"{side}_updated": f"({joined(updated, 'OR')})",
            f"{side}_present": joined([f"{_new(column.name)} IS NOT NULL" for column, _ in assigned], "OR"),
            f"{side}_differs": joined(differs, "OR"),
            f"other_{side}": " ".join(set_other),
            f"set_{side}": " ".join(f"SET {_new(column.name)} = {value};" for column, value in assigned),
        }
    return found | {"variables": " ".join(variables)}


_WORDS = Words(
    _quoted,
    _differ,
    # Not ON DUPLICATE KEY, which would hide the violation of another unique key.
    "INSERT INTO {table} ({columns}) SELECT {values} FROM DUAL WHERE {condition} "
    "AND NOT EXISTS (SELECT 1 FROM {table} WHERE {row})",
)
