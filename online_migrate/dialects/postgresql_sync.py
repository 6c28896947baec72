"""Sync triggers on PostgreSQL: one function, and one trigger BEFORE INSERT OR UPDATE.

Triggers of a table fire in the order of their names, in the C collation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.facets.sync_between_tables import Statements, Words
from online_migrate.dialects.facets.sync_triggers import (
    DATA_MIGRATION_SETTING,
    FoundTrigger,
    SyncedColumn,
    SyncShape,
    SyncTriggers,
    joined,
)
from online_migrate.dialects.query import rows
from online_migrate.driver_errors import DATABASE_ERRORS, error_message

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_COMPARABLE = frozenset(
    {"smallint", "integer", "bigint", "numeric", "real", "double", "boolean", "date", "time", "timetz"}
    | {"timestamp", "timestamptz", "interval", "uuid"}
)
"""The types whose values are equal if and only if they are the same value."""
_TRIGGERS = """
    SELECT t.tgname AS name, t.tgenabled::text AS state,
        pg_get_triggerdef(t.oid) || ' ' || p.prosrc || ' ' || coalesce(array_to_string(p.proconfig, ' '), '')
        AS body, (t.tgtype & 3) = 3 AS before_row
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(:name) AND NOT t.tgisinternal ORDER BY t.tgname
"""
_KIND = """
    SELECT c.relkind::text AS kind, c.relispartition AS is_part, c.relpersistence::text AS persistence
    FROM pg_class c WHERE c.oid = to_regclass(:name)
"""
_SUBSCRIPTIONS = """
    SELECT s.subname AS name FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
    WHERE r.srrelid = to_regclass(:name) ORDER BY 1
"""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_FUNCTION = """\
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path {path}
AS $online_migrate$
DECLARE
    other record;
    defaults record;
    old_written boolean;
    new_written boolean;
    in_step boolean := FALSE;
BEGIN
    IF TG_OP = 'INSERT' THEN
        defaults := NEW;
        {set_defaults}
        new_written := {new_inserted};
        old_written := {old_inserted} OR NOT new_written;
    ELSE
        old_written := {old_updated};
        new_written := {new_updated};
    END IF;
    IF old_written AND NOT new_written THEN
        IF {new_present} THEN
            other := NEW;
            {other_old}
            in_step := NOT ({old_differs});
        END IF;
        IF NOT in_step THEN
            {set_new}
        END IF;
    ELSIF new_written AND NOT old_written THEN
        other := NEW;
        {other_new}
        IF ({new_differs})
            AND (TG_OP = 'INSERT' OR coalesce(current_setting('{setting}', TRUE), '') <> 'on') THEN
            {set_old}
        END IF;
    END IF;
    RETURN NEW;
END
$online_migrate$"""


_IN_MIGRATION = (
    f"TG_OP <> 'DELETE' AND coalesce(current_setting('{DATA_MIGRATION_SETTING}', TRUE), '') = 'on'"
)
# A write of the first table does not see the new row before it is committed, and so must wait for that.
_LOCK = """
    IF TG_OP = 'INSERT' THEN
        PERFORM 1 FROM {row} FOR NO KEY UPDATE;
    END IF;"""
_FUNCTION_BETWEEN = """\
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path {path}
AS $online_migrate$
#variable_conflict use_column
DECLARE
    within text := coalesce(current_setting('online_migrate.sync', TRUE), '');
BEGIN
    IF within = '{sync}' THEN
        RETURN OLD;
    END IF;{lock}
    IF {skipped} THEN
        RETURN OLD;
    END IF;
    PERFORM set_config('online_migrate.sync', '{sync}', TRUE);
    IF TG_OP = 'INSERT' THEN{insert}
    ELSIF TG_OP = 'UPDATE' THEN{update}
    ELSE{delete}
    END IF;
    PERFORM set_config('online_migrate.sync', within, TRUE);
    RETURN OLD;
END
$online_migrate$"""


class PostgreSQLSyncTriggers(SyncTriggers):
    """Reads pg_trigger; a trigger that fires for no ordinary session counts as disabled."""

    suffixes: ClassVar[tuple[str, ...]] = ("",)
    suffixes_between: ClassVar[tuple[str, ...]] = ("_old", "_new", "_old_delete")
    name_limit: ClassVar[int] = 63

    def sync_statements(self, shape: SyncShape) -> Sequence[str]:
        if shape.target is not None:
            return self._between(shape)
        [name] = self.sync_trigger_names(shape.name)
        function, table = _path(name, shape.schema), _path(shape.table, shape.schema)
        trigger = (
            f"CREATE TRIGGER {_quoted(name)} BEFORE INSERT OR UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
        return (_FUNCTION.format(function=function, path=_search_path(shape), **_parts(shape)), trigger)

    def _between(self, shape: SyncShape) -> Sequence[str]:
        statements = Statements(shape, _WORDS)
        sides = (statements.of_source(), statements.of_target())
        *names, delete = self.sync_trigger_names(shape.name, between=True)
        found = []
        for name, table, of_event in zip(names, shape.tables, sides, strict=True):
            function = _path(name, shape.schema)
            body = {
                event: "".join(f"\n        {one};" for one in of_event[event])
                for event in ("insert", "update", "delete")
            }
            found.append(
                _FUNCTION_BETWEEN.format(
                    function=function,
                    sync=shape.name,
                    skipped=_IN_MIGRATION if table == shape.target else "FALSE",
                    lock=_LOCK.format(row=statements.source_row_of_new()) if table == shape.target else "",
                    path=_search_path(shape),
                    **body,
                )
            )
            events = "INSERT OR UPDATE" if table == shape.table else "INSERT OR UPDATE OR DELETE"
            of_trigger = f"ON {_path(table, shape.schema)} FOR EACH ROW EXECUTE FUNCTION {function}()"
            found.append(f"CREATE TRIGGER {_quoted(name)} AFTER {events} {of_trigger}")
            if table == shape.table:
                # The row of a child goes before that of its parent: a foreign key may refer to it.
                found.append(f"CREATE TRIGGER {_quoted(delete)} BEFORE DELETE {of_trigger}")
        return found

    def drop_sync_statements(
        self, name: str, table: str, schema: str | None, target: str | None = None
    ) -> Sequence[str]:
        found = []
        names = self.sync_trigger_names(name, between=target is not None)
        for trigger, on in zip(names, (table, target, table), strict=False):
            found.append(f"DROP TRIGGER IF EXISTS {_quoted(trigger)} ON {_path(str(on), schema)}")
        return [*found, *(f"DROP FUNCTION IF EXISTS {_path(trigger, schema)}()" for trigger in names[:2])]

    def sync_triggers(
        self, connection: Connection, table: str, schema: str | None
    ) -> Mapping[str, FoundTrigger]:
        found = rows(connection, _TRIGGERS, name=_path(table, schema))
        return {str(row.name): FoundTrigger(str(row.body), row.state in ("O", "A")) for row in found}

    def sync_order_problem(self, trigger: str, others: Mapping[str, FoundTrigger]) -> Sequence[str]:
        later = (name for name in others if name.encode() > trigger.encode())
        return [name for name in later if " BEFORE " in others[name].text.partition(" ON ")[0]]

    def sync_table_problem(self, connection: Connection, table: str, schema: str | None) -> str | None:
        relations = rows(connection, _KIND, name=_path(table, schema))
        if not relations:
            return "it does not exist"
        [found] = relations
        if found.is_part:
            return "it is a partition; create the sync on the partitioned table"
        if found.kind not in ("r", "p"):
            return f"it is {_KINDS.get(found.kind, 'not a table')}"
        return None

    def sync_problem(self, connection: Connection, shape: SyncShape) -> tuple[str, str] | None:
        """The body of a function is not checked before it runs, so its expressions are parsed here."""
        if shape.target is not None and self._is_partitioned(connection, shape):
            return (
                f"table {shape.table} is partitioned: an UPDATE of its key can move a row to another "
                f"partition, for which triggers see a DELETE and an INSERT, and its row of {shape.target} "
                "would be lost",
                "write both tables in the application",
            )
        sides = ((shape.table, shape.new), (shape.target or shape.table, shape.old))
        for table, columns in sides:
            for column in columns:
                if column.value is None:
                    continue
                expression = column.value(_quoted)
                query = f"SELECT {expression} FROM {_path(table, shape.schema)} LIMIT 0"
                try:
                    with connection.begin_nested():
                        connection.exec_driver_sql(query, execution_options={"no_parameters": True})
                except DATABASE_ERRORS as error:
                    return (
                        f"the expression of column {column.name} cannot be evaluated: {error_message(error)}",
                        "a type that is not in the search path needs its schema, for example public.mood",
                    )
        return None

    def _is_partitioned(self, connection: Connection, shape: SyncShape) -> bool:
        found = rows(connection, _KIND, name=_path(shape.table, shape.schema))
        return [row.kind for row in found] == ["p"]

    def sync_gaps(
        self, connection: Connection, table: str, schema: str | None, columns: Sequence[str]
    ) -> Sequence[str]:
        return [
            f"subscription {row.name} writes {table} without its triggers"
            for row in rows(connection, _SUBSCRIPTIONS, name=_path(table, schema))
        ]

    def sync_privilege(self, connection: Connection, error: Exception, table: str) -> str | None:
        text = str(error)
        if "permission denied for schema" in text:
            schema = text.partition("permission denied for schema ")[2].split()[0]
            return f"GRANT CREATE ON SCHEMA {schema} TO CURRENT_USER   (by the owner of the schema)"
        if "permission denied for" in text:
            return f"GRANT TRIGGER ON {table} TO CURRENT_USER   (by the owner of the table)"
        return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _path(name: str, schema: str | None) -> str:
    return ".".join(_quoted(part) for part in (schema, name) if part)


def _new(column: str) -> str:
    return f"NEW.{_quoted(column)}"


def _search_path(shape: SyncShape) -> str:
    """Returns the clause after SET search_path: types of the expressions are found as in the script."""
    return f"= pg_catalog, {_quoted(shape.schema)}, pg_temp" if shape.schema else "FROM CURRENT"


def _differ(column: SyncedColumn, first: str, second: str) -> str:
    """Returns the condition that two values of a column are not the same, to the character."""
    if column.type in _COMPARABLE:
        return f"{first} IS DISTINCT FROM {second}"
    # json has no operator of equality; citext and some collations call different texts equal.
    return f'{first}::text COLLATE "C" IS DISTINCT FROM {second}::text COLLATE "C"'


def _parts(shape: SyncShape) -> dict[str, str]:
    """Returns the conditions and the assignments of the function."""
    found = {"setting": DATA_MIGRATION_SETTING}
    # Assigned, so that the type of the column rounds them.
    found["set_defaults"] = " ".join(
        f"defaults.{_quoted(c.name)} := ({c.default or 'NULL'});" for c in (*shape.old, *shape.new)
    )
    for side, columns in (("old", shape.old), ("new", shape.new)):
        assigned = [(column, column.value) for column in columns if column.value is not None]
        named = [(column, _quoted(column.name)) for column in columns]
        inserted = [_differ(c, f"NEW.{name}", f"defaults.{name}") for c, name in named]
        updated = [_differ(c, f"NEW.{name}", f"OLD.{name}") for c, name in named]
        differs = [_differ(c, f"other.{_quoted(c.name)}", f"NEW.{_quoted(c.name)}") for c, _ in assigned]
        found |= {
            f"{side}_inserted": f"({joined(inserted, 'OR')})",
            f"{side}_updated": joined(updated, "OR"),
            f"{side}_present": joined([f"NEW.{_quoted(c.name)} IS NOT NULL" for c, _ in assigned], "OR"),
            f"{side}_differs": joined(differs, "OR"),
            f"other_{side}": " ".join(f"other.{_quoted(c.name)} := {value(_new)};" for c, value in assigned),
            f"set_{side}": " ".join(f"NEW.{_quoted(c.name)} := {value(_new)};" for c, value in assigned),
        }
    return found


_WORDS = Words(
    _quoted,
    _differ,
    # The row in conflict may be one that the UPDATE before did not see: its transaction had not committed.
    "INSERT INTO {table} ({columns}) SELECT {values} WHERE {condition} "
    "ON CONFLICT ({key}) DO UPDATE SET {assignments} WHERE {differs}",
)
