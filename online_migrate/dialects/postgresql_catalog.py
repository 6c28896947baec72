"""The catalog of PostgreSQL: pg_catalog."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.catalog import Catalog, Facts, with_columns
from online_migrate.dialects.facets.catalog_objects import CatalogObjects
from online_migrate.dialects.query import rows
from online_migrate.sql.statement import dropped, identifiers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.sql.catalog_effects.effect import Effect

_HERE = """
    (CAST(:schema AS text) IS NULL AND pg_table_is_visible(c.oid)
     OR c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema))
"""
_RELATION = f"""
    SELECT c.oid, c.relkind AS kind, obj_description(c.oid, 'pg_class') AS comment
    FROM pg_class c WHERE c.relname = :name AND {_HERE}
"""
_NAMES = """
    SELECT attname AS name FROM pg_attribute
    WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped
"""
_COLUMN = f"""
    SELECT format_type(a.atttypid, a.atttypmod) AS type, NOT a.attnotnull AS nullable,
           pg_get_expr(d.adbin, d.adrelid) AS standard,
           EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                   AND a.attnum = ANY(i.indkey)) AS part_of_key
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relname = :table AND a.attname = :name AND {_HERE}
"""
_INDEX_FACTS = """
    SELECT x.relname AS name, i.indisvalid AND i.indisready AS valid, i.indisunique AS uniq,
           ARRAY(SELECT (SELECT a.attname FROM pg_attribute a
                         WHERE a.attrelid = i.indrelid AND a.attnum = k.number AND k.number <> 0)
                 FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                 WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
"""
_INDEX_BY_NAME = f"""{_INDEX_FACTS} JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relname = :name AND {_HERE}
"""
_INDEXES_OF_TABLE = f"""{_INDEX_FACTS} JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relname = :table AND {_HERE} AND (NOT :primary OR i.indisprimary)
"""
_CONSTRAINTS = f"""
    SELECT k.conname AS name, k.contype AS kind, k.convalidated AS validated,
           (SELECT f.relname FROM pg_class f WHERE f.oid = k.confrelid) AS referred,
           ARRAY(SELECT (SELECT a.attname FROM pg_attribute a
                         WHERE a.attrelid = k.conrelid AND a.attnum = n.number)
                 FROM unnest(k.conkey) WITH ORDINALITY AS n(number, place) ORDER BY n.place) AS columns
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relname = :table AND {_HERE}
"""
_TRIGGER = f"""
    SELECT 1 FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgname = :name AND c.relname = :table AND NOT t.tgisinternal AND {_HERE}
"""
_ROUTINE = """
    SELECT 1 FROM pg_proc p
    WHERE p.proname = :name
      AND (CAST(:schema AS text) IS NULL AND pg_function_is_visible(p.oid)
           OR p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema))
"""
_TYPE = """
    SELECT t.oid FROM pg_type t
    WHERE t.typname = :name
      AND (CAST(:schema AS text) IS NULL AND pg_type_is_visible(t.oid)
           OR t.typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema))
"""
_LABEL = "SELECT 1 FROM pg_enum WHERE enumtypid = :oid AND enumlabel = :name"
_TRIGGER_DEFINITION = """
    SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgname = :name AND c.relname = ANY(:names) AND NOT t.tgisinternal
"""
_TRIGGER_STATE = """
    SELECT format('ALTER TABLE %s %s TRIGGER %I', c.oid::regclass,
                  CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS'
                  ELSE 'ENABLE REPLICA' END, t.tgname) AS statement
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgname = :name AND c.relname = ANY(:names) AND NOT t.tgisinternal AND t.tgenabled <> 'O'
"""
_FUNCTION_DEFINITION = """
    SELECT pg_get_functiondef(oid) FROM pg_proc
    WHERE proname = :name AND prokind = 'f' AND pg_function_is_visible(oid)
"""


class PostgreSQLCatalog(Catalog):
    """The catalog of PostgreSQL. Names are compared exactly: the effects contain unquoted names folded."""

    server: ClassVar[str] = "postgresql"

    def _relation(self, effect: Effect, kinds: str) -> Facts | None:
        for row in self.rows(_RELATION, schema=effect.schema, name=effect.name):
            if row.kind in kinds:
                return {"comment": row.comment or "", "oid": row.oid}
        return None

    def table(self, effect: Effect) -> Facts | None:
        found = self._relation(effect, "rpf")
        if found is not None:
            found["includes"] = [row.name for row in self.rows(_NAMES, oid=found["oid"])]
        return found

    def view(self, effect: Effect) -> Facts | None:
        return self._relation(effect, "vm")

    def sequence(self, effect: Effect) -> Facts | None:
        return self._relation(effect, "S")

    def type(self, effect: Effect) -> Facts | None:
        rows = self.rows(_TYPE, schema=effect.schema, name=effect.name)
        return {"oid": rows[0].oid} if rows else None

    def enum_value(self, effect: Effect) -> Facts | None:
        rows = self.rows(_TYPE, schema=effect.schema, name=effect.table)
        return {} if rows and self.rows(_LABEL, oid=rows[0].oid, name=effect.name) else None

    def column(self, effect: Effect) -> Facts | None:
        rows = self.rows(_COLUMN, schema=effect.schema, table=effect.table, name=effect.name)
        if not rows:
            return None
        [row] = rows
        return {
            "type": row.type,
            "nullable": row.nullable,
            "default": row.standard,
            "primary": row.part_of_key,
        }

    def _indexes(self, query: str, **parameters: object) -> dict[str, Facts]:
        return {
            row.name: {
                "columns": [[column, None] for column in row.columns],
                "unique": row.uniq,
                "valid": row.valid,
            }
            for row in self.rows(query, **parameters)
        }

    def index(self, effect: Effect) -> Facts | None:
        if effect.name:
            return self._indexes(_INDEX_BY_NAME, schema=effect.schema, name=effect.name).get(effect.name)
        found = self._indexes(_INDEXES_OF_TABLE, schema=effect.schema, table=effect.table, primary=False)
        return with_columns(found, effect.facts["columns"])

    def primary_key(self, effect: Effect) -> Facts | None:
        found = self._indexes(_INDEXES_OF_TABLE, schema=effect.schema, table=effect.table, primary=True)
        return next(iter(found.values()), None)

    def _constraints(self, effect: Effect, kinds: str) -> dict[str, Facts]:
        return {
            row.name: {
                "validated": row.validated,
                "referred": row.referred,
                "columns": [[column, None] for column in row.columns],
            }
            for row in self.rows(_CONSTRAINTS, schema=effect.schema, table=effect.table)
            if row.kind in kinds
        }

    def constraint(self, effect: Effect) -> Facts | None:
        return self._constraints(effect, "cfpuxtn").get(effect.name)

    def check(self, effect: Effect) -> Facts | None:
        return self._constraints(effect, "c").get(effect.name)

    def foreign_key(self, effect: Effect) -> Facts | None:
        found = self._constraints(effect, "f")
        return found.get(effect.name) if effect.name else with_columns(found, effect.facts["columns"])

    def trigger(self, effect: Effect) -> Facts | None:
        rows = self.rows(_TRIGGER, schema=effect.schema, table=effect.table, name=effect.name)
        return {} if rows else None

    def routine(self, effect: Effect) -> Facts | None:
        return {} if self.rows(_ROUTINE, schema=effect.schema, name=effect.name) else None


_VISIBLE = sa.text("""
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY (CAST(:names AS name[])) AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
        AND pg_table_is_visible(c.oid) AND n.nspname <> 'pg_catalog'
""")


class PostgreSQLCatalogObjects(CatalogObjects):
    """Reads pg_catalog, which stores unquoted names in lower case."""

    catalog: ClassVar[type[Catalog]] = PostgreSQLCatalog

    def has_table(self, connection: Connection, name: str, schema: str | None = None) -> bool:
        if schema is None:
            return self.has_tables(connection, (name,))
        return super().has_table(connection, name, schema)

    def has_tables(self, connection: Connection, names: Collection[str]) -> bool:
        """One query by the index of pg_class, for what each command asks many times."""
        return int(connection.scalar(_VISIBLE, {"names": list(names)}) or 0) == len(set(names))

    def folded(self, name: str, *, quoted: bool) -> str:
        return name if quoted else name.lower()

    def comparable(self, name: str) -> str:
        return name

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        trigger = dropped(drop, "TRIGGER", self.name)
        function = dropped(drop, "FUNCTION", self.name)
        if trigger is not None:
            found = rows(connection, _TRIGGER_DEFINITION, name=trigger, names=identifiers(drop, self.name))
        elif function is not None:
            found = rows(connection, _FUNCTION_DEFINITION, name=function)
        else:
            return None
        return [str(row[0]) for row in found] or None

    def recreated(self, connection: Connection, drop: str) -> list[str]:
        created = self.undo_of_drop(connection, drop) or []
        trigger = dropped(drop, "TRIGGER", self.name)
        if trigger is None:
            return created
        states = rows(connection, _TRIGGER_STATE, name=trigger, names=identifiers(drop, self.name))
        return [*created, *(str(row.statement) for row in states)]
