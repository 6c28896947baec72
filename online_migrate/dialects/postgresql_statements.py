"""The steps of a statement on PostgreSQL, and the facts of the catalog that they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.facets.statements import Statements
from online_migrate.dialects.query import rows
from online_migrate.sql.forms.form import Form, IndexFacts, Partition, Table
from online_migrate.sql.forms.not_null_proof import LABEL, NotNullProof, not_null_proofs
from online_migrate.sql.forms.postgresql import form_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SMALL = 1 << 20
"""The size in bytes up to which a table is read in some milliseconds, while its writers wait."""
_TABLE = """
    SELECT CAST(c.oid AS bigint) AS oid, c.oid::regclass::text AS name, c.relname, c.relkind = 'p' AS parts,
           CAST(c.relnamespace AS bigint) AS schema
    FROM pg_class c WHERE c.oid = to_regclass(:name) AND c.relkind IN ('r', 'p', 'm')
"""
_TREE = """
    SELECT p.relid::regclass::text AS name, p.parentrelid::regclass::text AS parent, p.isleaf AS leaf,
           p.level AS level, pg_table_size(p.relid) AS size, c.relkind AS kind
    FROM pg_partition_tree(CAST(CAST(:oid AS bigint) AS oid)) p JOIN pg_class c ON c.oid = p.relid
    ORDER BY p.level, p.relid
"""
_SIZE = "SELECT pg_table_size(CAST(CAST(:oid AS bigint) AS oid))"
_NULLABLE = """
    SELECT attname AS name FROM pg_attribute
    WHERE attrelid = CAST(:oid AS bigint) AND attnum > 0 AND NOT attisdropped AND NOT attnotnull
"""
_TAKEN = """
    SELECT relname AS name FROM pg_class WHERE relnamespace = CAST(:schema AS bigint)
    UNION SELECT conname FROM pg_constraint WHERE conrelid = CAST(:oid AS bigint)
"""
_INDEX = """
    SELECT CAST(i.indrelid AS bigint) AS table, x.relkind = 'i' AND NOT EXISTS (
               SELECT FROM pg_constraint k WHERE k.conindid = x.oid)
             AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = x.oid) AS droppable
    FROM pg_class x JOIN pg_index i ON i.indexrelid = x.oid WHERE x.oid = to_regclass(:name)
"""
_LEFT = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', conrelid::regclass, conname) AS statement
    FROM pg_constraint
    WHERE contype = 'c' AND coninhcount = 0 AND right(conname, length(:label)) = :label ORDER BY 1
"""


class CatalogFacts:
    """Reads the facts of the forms on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def table(self, name: str) -> Table | None:
        found = rows(self._connection, _TABLE, name=name)
        if not found:
            return None
        [row] = found
        tree = rows(self._connection, _TREE, oid=row.oid) if row.parts else []
        size = sum(part.size for part in tree) if row.parts else self._size(row.oid)
        return Table(
            name=row.name,
            plain_name=row.relname,
            small=size <= SMALL,
            partitioned=row.parts,
            nullable=frozenset(column.name for column in rows(self._connection, _NULLABLE, oid=row.oid)),
            partitions=tuple(
                Partition(part.name, part.parent, part.leaf)
                for part in tree
                if part.level and part.kind in "rp"
            ),
            taken=frozenset(r.name for r in rows(self._connection, _TAKEN, schema=row.schema, oid=row.oid)),
        )

    def index(self, name: str) -> IndexFacts | None:
        found = rows(self._connection, _INDEX, name=name)
        if not found:
            return None
        return IndexFacts(small=self._size(found[0].table) <= SMALL, droppable=found[0].droppable)

    def _size(self, oid: int) -> int:
        return int(self._connection.scalar(sa.text(_SIZE), {"oid": oid}) or 0)


class PostgreSQLStatements(Statements):
    """Executes a statement that would block writers as several steps."""

    def safe_form(self, connection: Connection, statement: str, *, may_convert: bool) -> Form:
        return form_of(statement, CatalogFacts(connection))

    def not_null_proofs(self, connection: Connection, statements: Sequence[str]) -> Sequence[NotNullProof]:
        return not_null_proofs(statements, CatalogFacts(connection))

    def left_not_null_proofs(self, connection: Connection) -> Sequence[str]:
        return [row.statement for row in rows(connection, _LEFT, label=f"_{LABEL}")]
