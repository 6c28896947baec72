"""What uses a column or a table on PostgreSQL, where views follow a rename, and function bodies do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_migrate.dialects.facets.soaks import REFUSES_ROWS, RequiredColumn, Soaks, Use
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.query import rows
from online_migrate.sql.soaked import SoakedObject
from online_migrate.sql.statement import identifiers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_VIEWS = """
    SELECT DISTINCT v.oid::regclass::text AS name
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:table) AND v.oid <> d.refobjid
      AND (CAST(:column AS text) IS NULL OR d.refobjsubid =
           (SELECT attnum FROM pg_attribute WHERE attrelid = d.refobjid AND attname = :column))
"""
_GENERATED = """
    SELECT DISTINCT a.attname AS name
    FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    JOIN pg_depend d ON (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid)
      OR (d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum)
    JOIN pg_attribute s ON s.attrelid = d.refobjid AND s.attnum = d.refobjsubid
    WHERE a.attrelid = to_regclass(:table) AND a.attgenerated <> '' AND d.refobjid = a.attrelid
      AND s.attname = :column AND s.attnum <> a.attnum
"""
_FOREIGN_KEYS = """
    SELECT k.conname || ' of ' || k.conrelid::regclass AS name, k.conrelid::regclass::text AS child
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.confrelid = to_regclass(:table) AND k.conrelid <> k.confrelid
      AND k.conparentid = 0
      AND (CAST(:column AS text) IS NULL OR
           (SELECT attnum FROM pg_attribute WHERE attrelid = k.confrelid AND attname = :column)
           = ANY (k.confkey))
"""
_CHECKS = """
    WITH RECURSIVE tables(id) AS (
        SELECT to_regclass(:table)::oid UNION SELECT inhrelid FROM pg_inherits JOIN tables ON inhparent = id
    )
    SELECT DISTINCT k.conname AS name FROM tables JOIN pg_constraint k ON k.conrelid = id AND k.contype = 'c'
    LEFT JOIN pg_attribute a ON a.attrelid = id AND a.attname = :column
    WHERE a.attnum = ANY (k.conkey) OR 0 = ANY (k.conkey)
"""
_DOMAINS = """
    WITH RECURSIVE types(id) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :column
        UNION SELECT typbasetype FROM pg_type JOIN types ON pg_type.oid = id WHERE typtype = 'd'
    )
    SELECT typname AS name FROM types JOIN pg_type ON pg_type.oid = id
    WHERE typtype = 'd' AND (typnotnull OR EXISTS (SELECT FROM pg_constraint WHERE contypid = id))
"""
_ONE_NULL = """
    SELECT i.indexrelid::regclass::text AS name
    FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = to_regclass(:table) AND a.attname = :column
      AND to_jsonb(i) ->> 'indnullsnotdistinct' = 'true'
"""
_POLICIES = """
    SELECT DISTINCT p.polname AS name FROM pg_policy p
    JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:table) AND a.attname = :column
"""
_PARTITIONING = """
    SELECT partrelid::regclass::text AS name, pg_get_partkeydef(partrelid) AS body
    FROM pg_partitioned_table WHERE partrelid = to_regclass(:table)
"""
_TRIGGERS = """
    SELECT t.tgname AS name, t.tgrelid = to_regclass(:table) AS own,
           pg_get_triggerdef(t.oid) || ' ' || p.prosrc AS body
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal
"""


_COLUMN_USES = (
    ("generated column", "is computed from it", _GENERATED),
    ("check constraint", REFUSES_ROWS, _CHECKS),
    ("domain", "is its type, and may refuse rows of new code, which have no value in it", _DOMAINS),
    ("index", "permits NULL in one row only, and would refuse rows of new code", _ONE_NULL),
    ("policy", REFUSES_ROWS, _POLICIES),
)


class PostgreSQLSoaks(Soaks):
    """Reads the system catalogs."""

    def uses_of(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        quote = connection.dialect.identifier_preparer.quote_identifier
        table = ".".join(quote(part) for part in (subject.schema, subject.table) if part)
        facts = {"table": table, "column": subject.column}
        found = [
            Use("view", row.name, "follows the rename, so code that uses it still reaches the object")
            for row in rows(connection, _VIEWS, **facts)
        ]
        found += [
            Use("foreign key", row.name, "refers to it, and would refuse rows of new code", row.child)
            for row in rows(connection, _FOREIGN_KEYS, **facts)
        ]
        if subject.column is not None:
            found += [
                Use(kind, row.name, reason)
                for kind, reason, query in _COLUMN_USES
                for row in rows(connection, query, **facts)
            ]
            found += [
                Use("partitioning of table", row.name, "uses it")
                for row in rows(connection, _PARTITIONING, table=table)
                if _mentions(row.body, subject, own=True)
            ]
        found += [
            Use("trigger", row.name, "uses its name, so writes would fail")
            for row in rows(connection, _TRIGGERS, table=table)
            if _mentions(row.body, subject, own=row.own)
        ]
        return found

    def relaxed(self, connection: Connection, subject: SoakedObject) -> RequiredColumn | Problem:
        quote = connection.dialect.identifier_preparer.quote_identifier
        table = ".".join(quote(part) for part in (subject.schema, subject.table) if part)
        change = f"ALTER TABLE {table} ALTER COLUMN {quote(str(subject.column))}"
        return RequiredColumn(f"{change} DROP NOT NULL", f"{change} SET NOT NULL", before_lock=False)


def _mentions(body: str, subject: SoakedObject, *, own: bool) -> bool:
    words = {word.casefold() for word in identifiers(body, "postgresql")}
    if subject.column is None:
        return not own and subject.table.casefold() in words
    return subject.column.casefold() in words and (own or subject.table.casefold() in words)
