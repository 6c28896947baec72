"""The catalog of MySQL and MariaDB: information_schema."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects.catalog import Catalog, Facts, with_columns
from online_migrate.dialects.facets.catalog_objects import CatalogObjects
from online_migrate.dialects.mysql_errors import BEING_CHANGED, error_code
from online_migrate.dialects.query import rows
from online_migrate.driver_errors import CLEANUP_ERRORS
from online_migrate.sql.catalog_effects.effect import Effect
from online_migrate.sql.statement import dropped
from online_migrate.waiting import backoff

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

_ATTEMPTS = 10
_UNREAD = frozenset({1205, 1213, 1317, 1969})
"""Codes of the warnings that report a definition that was not read, because of a lock or a time limit."""

_TABLE = """
    SELECT table_type AS kind, table_comment AS comment FROM information_schema.tables
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name
"""
_NAMES = """
    SELECT column_name AS name FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name
"""
_COLUMN = """
    SELECT column_type AS type, is_nullable AS nullable, column_default AS standard,
           column_comment AS comment, character_set_name AS charset, collation_name AS collation,
           column_key AS part
    FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND column_name = :name
"""
_INDEXES = """
    SELECT index_name AS name, non_unique AS repeats, column_name AS part, sub_part AS length
    FROM information_schema.statistics
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
    ORDER BY index_name, seq_in_index
"""
_CONSTRAINTS = """
    SELECT constraint_name AS name, constraint_type AS kind FROM information_schema.table_constraints
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_FOREIGN = """
    SELECT constraint_name AS name, column_name AS part, referenced_table_name AS referred
    FROM information_schema.key_column_usage
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND referenced_table_name IS NOT NULL
    ORDER BY constraint_name, ordinal_position
"""
_TRIGGER = """
    SELECT event_object_table FROM information_schema.triggers
    WHERE trigger_schema = COALESCE(:schema, DATABASE()) AND trigger_name = :name
"""
_ROUTINE = """
    SELECT routine_type FROM information_schema.routines
    WHERE routine_schema = COALESCE(:schema, DATABASE()) AND routine_name = :name
"""
_INDEXES_OF_COLUMN = """
    SELECT DISTINCT index_name FROM information_schema.statistics
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND column_name = :column
"""


class MySQLCatalog(Catalog):
    """The catalog of MySQL, and the base of :class:`MariaDBCatalog`."""

    server: ClassVar[str] = "mysql"

    def table(self, effect: Effect) -> Facts | None:
        rows = self.rows(_TABLE, schema=effect.schema, name=effect.name)
        if not rows or rows[0].kind in ("VIEW", "SYSTEM VIEW", "SEQUENCE"):
            return None
        names = [row.name for row in self.rows(_NAMES, schema=effect.schema, name=effect.name)]
        return {"comment": rows[0].comment, "includes": names}

    def view(self, effect: Effect) -> Facts | None:
        rows = self.rows(_TABLE, schema=effect.schema, name=effect.name)
        return {} if rows and rows[0].kind == "VIEW" else None

    def sequence(self, effect: Effect) -> Facts | None:
        rows = self.rows(_TABLE, schema=effect.schema, name=effect.name)
        return {} if rows and rows[0].kind == "SEQUENCE" else None

    def column(self, effect: Effect) -> Facts | None:
        rows = self.rows(_COLUMN, schema=effect.schema, table=effect.table, name=effect.name)
        if not rows:
            return None
        [row] = rows
        return {
            "type": _text(row.type),
            "nullable": row.nullable == "YES",
            "default": _text(row.standard),
            "comment": _text(row.comment),
            "charset": row.charset,
            "collation": row.collation,
            "primary": row.part == "PRI",
        }

    def index(self, effect: Effect) -> Facts | None:
        groups: dict[str, Facts] = {}
        for row in self.rows(_INDEXES, schema=effect.schema, table=effect.table):
            facts = groups.setdefault(row.name.lower(), {"columns": [], "unique": not int(row.repeats)})
            facts["columns"].append([row.part, None if row.length is None else int(row.length)])
        if effect.name:
            return groups.get(effect.name.lower())
        return with_columns(groups, effect.facts["columns"])

    def primary_key(self, effect: Effect) -> Facts | None:
        return self.index(type(effect)("index", "PRIMARY", effect.table, effect.schema))

    def constraint(self, effect: Effect) -> Facts | None:
        for row in self.rows(_CONSTRAINTS, schema=effect.schema, table=effect.table):
            if row.name.lower() == effect.name.lower():
                return {"kind": row.kind}
        return None

    def check(self, effect: Effect) -> Facts | None:
        found = self.constraint(effect)
        return found if found is not None and found["kind"] == "CHECK" else None

    def foreign_key(self, effect: Effect) -> Facts | None:
        groups: dict[str, Facts] = {}
        for row in self.rows(_FOREIGN, schema=effect.schema, table=effect.table):
            facts = groups.setdefault(row.name.lower(), {"columns": [], "referred": row.referred})
            facts["columns"].append([row.part, None])
        if effect.name:
            return groups.get(effect.name.lower())
        return with_columns(groups, effect.facts["columns"])

    def trigger(self, effect: Effect) -> Facts | None:
        return {} if self.rows(_TRIGGER, schema=effect.schema, name=effect.name) else None

    def routine(self, effect: Effect) -> Facts | None:
        return {} if self.rows(_ROUTINE, schema=effect.schema, name=effect.name) else None


class MariaDBCatalog(MySQLCatalog):
    """The catalog of MariaDB, which stores defaults as expressions and JSON as LONGTEXT.

    A query of its information_schema opens the table. While another session has locked the table, the query
    returns no row and a warning instead of an error, as if the object did not exist. :meth:`rows` repeats
    such a query, and raises :class:`~online_migrate.exceptions.LockGivenUp` after the last attempt.
    """

    server: ClassVar[str] = "mariadb"

    def rows(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        for _attempt in range(_ATTEMPTS):
            found = super().rows(query, **parameters)
            warnings = super().rows("SHOW WARNINGS")
            if _UNREAD.isdisjoint(warning.Code for warning in warnings):
                return found
        seconds = self._connection.scalar(sa.text("SELECT @@SESSION.lock_wait_timeout"))
        what = ", ".join(str(value) for value in parameters.values() if value)
        raise exceptions.LockGivenUp(what=what, attempts=_ATTEMPTS, timeout=float(seconds or 0), blockers="")


def _text(value: object) -> str | None:
    """Returns the value as text: some columns of MySQL's data dictionary are returned as bytes."""
    if value is None:
        return None
    return value.decode() if isinstance(value, bytes) else str(value)


class MySQLCatalogObjects(CatalogObjects):
    """Reads information_schema; a trigger is created again under the ``sql_mode`` that it had."""

    catalog: ClassVar[type[Catalog]] = MySQLCatalog

    def has_table(self, connection: Connection, name: str, schema: str | None = None) -> bool:
        for pause in backoff(waited=0.02, attempts=20, longest=1.0, jitter=random.Random()):
            try:
                return super().has_table(connection, name, schema)
            except CLEANUP_ERRORS as error:
                if error_code(error) != BEING_CHANGED:
                    raise
            time.sleep(pause)
        return super().has_table(connection, name, schema)

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        name = dropped(drop, "TRIGGER", self.name)
        if name is None:
            return None
        if self.catalog(connection).trigger(Effect("trigger", name)) is None:
            return None
        quoted = connection.dialect.identifier_preparer.quote(name)
        row = connection.exec_driver_sql(f"SHOW CREATE TRIGGER {quoted}").one()
        # A trigger runs under the sql_mode with which it was created.
        return [f"SET SESSION sql_mode = '{row[1]}'", str(row[2])]

    def indexes_of_column(
        self, connection: Connection, table: str, column: str, schema: str | None = None
    ) -> list[str]:
        found = rows(connection, _INDEXES_OF_COLUMN, table=table, column=column, schema=schema)
        return sorted(row[0] for row in found)
