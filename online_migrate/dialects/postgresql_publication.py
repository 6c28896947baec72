"""Published tables that refuse every UPDATE, because their rows have no replica identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.problem import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_WITHOUT_IDENTITY = """
    WITH members AS (
        SELECT to_regclass(:table)::oid AS oid
        UNION SELECT relid FROM pg_partition_tree(to_regclass(:table)) WHERE isleaf
    )
    SELECT c.oid::regclass::text AS name, p.pubname, c.relreplident,
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_primary_key
    FROM members m
    JOIN pg_class c ON c.oid = m.oid AND c.relkind = 'r' AND c.relpersistence = 'p'
    JOIN pg_publication_tables t ON to_regclass(format('%I.%I', t.schemaname, t.tablename))::oid
         IN (SELECT c.oid UNION SELECT relid FROM pg_partition_ancestors(c.oid))
    JOIN pg_publication p ON p.pubname = t.pubname AND p.pubupdate
    WHERE CASE c.relreplident
          WHEN 'f' THEN false
          WHEN 'n' THEN true
          WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
          ELSE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
          END
    ORDER BY name, p.pubname
"""
_USABLE_INDEX = """
    SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(:table) AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid
                      AND a.attnum = ANY(i.indkey::int2[]) AND NOT a.attnotnull)
    ORDER BY x.relname LIMIT 1
"""


def publication_problem(connection: Connection, table: str) -> Problem | None:
    """Why an UPDATE of *table*, a name as SQL has it, would be refused: error 55000."""
    rows = connection.execute(sa.text(_WITHOUT_IDENTITY), {"table": table}).all()
    if not rows:
        return None
    first = rows[0]
    identity = "DEFAULT" if first.has_primary_key else _identity(connection, first.name)
    return Problem(
        reason=f"table {first.name} is published ({first.pubname}) and has no replica identity, "
        "so PostgreSQL refuses to update its rows",
        hint=f"ALTER TABLE {first.name} REPLICA IDENTITY {identity}",
    )


def _identity(connection: Connection, table: str) -> str:
    index = connection.scalar(sa.text(_USABLE_INDEX), {"table": table})
    if index is None:
        return "FULL"
    return f"USING INDEX {connection.dialect.identifier_preparer.quote(str(index))}"
