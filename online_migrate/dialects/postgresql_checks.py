"""PostgreSQL: checks whether a query returns every row of a table, and an UPDATE reaches every row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.checks import Checks
from online_migrate.dialects.postgresql_publication import publication_problem
from online_migrate.dialects.problem import Problem, of_a_view
from online_migrate.dialects.query import rows
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

_LOCATION = """
    SELECT current_database() AS database, current_user AS role,
           replace(replace(current_setting('search_path'), '"', ''), ' ', '') AS search_path
"""
_IDENTITY = """
    SELECT current_database() AS database, current_schema() AS schema,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS oid,
           extract(epoch FROM pg_postmaster_start_time())::text AS server
"""
_RELATION = """
    SELECT c.oid, c.relkind AS kind, c.relpersistence AS persistence, current_user AS role,
           row_security_active(c.oid) AS restricted, pg_has_role(c.relowner, 'USAGE') AS is_owner
    FROM pg_class c WHERE c.oid = to_regclass(:name)
"""
_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a composite type",
    "i": "an index",
}
_ORDINARY = ("r", "p")
_PERMANENT = ("p", "u")
_BASE_TABLES = """
    SELECT DISTINCT d.refobjid::regclass::text
    FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE r.ev_class = :oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    ORDER BY 1
"""
_PARTS = """
    WITH RECURSIVE part AS (
        SELECT inhrelid AS oid, inhdetachpending AS leaving FROM pg_inherits WHERE inhparent = :oid
        UNION ALL
        SELECT i.inhrelid, i.inhdetachpending FROM pg_inherits i JOIN part p ON i.inhparent = p.oid
    )
    SELECT p.oid::regclass::text AS name, p.leaving, c.relispartition AS is_partition, c.relkind AS kind
    FROM part p JOIN pg_class c ON c.oid = p.oid ORDER BY 1
"""
_RULES = """
    SELECT rulename FROM pg_rewrite
    WHERE ev_class = :oid AND ev_type = '2' AND ev_enabled <> 'D' ORDER BY 1
"""
_INVALID_KEYS = """
    SELECT i.indexrelid::regclass::text AS name FROM pg_index i
    WHERE i.indrelid = :oid AND i.indisunique AND NOT i.indisvalid
      AND NOT EXISTS (SELECT 1 FROM pg_index p WHERE p.indrelid = :oid AND p.indisprimary)
    ORDER BY 1
"""
"""The unique indexes that were not built completely, of a table that has no primary key to walk by."""
_FUNCTIONS = """
    SELECT DISTINCT p.proname AS name,
           n.nspname = 'pg_catalog' AS is_builtin,
           p.provolatile AS volatility,
           p.prorettype = 'xml'::regtype AS gives_xml
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = ANY(:names)
"""
_OF_A_ROW = """
    SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_type t ON p.pronargs = 1 AND t.oid = p.proargtypes[0]
    WHERE p.proname = ANY(:names) AND n.nspname <> 'pg_catalog' AND p.provolatile <> 'i' AND t.typtype = 'c'
"""
_OPERATORS = """
    SELECT DISTINCT o.oprname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
    JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE n.nspname <> 'pg_catalog' AND p.provolatile <> 'i'
"""


_VOLATILE = frozenset({"pg_sleep", "random", "clock_timestamp", "timeofday", "gen_random_uuid"})
"""Functions of pg_catalog that return another value with each call, and read no table."""


def visibility_problem(connection: Connection, name: str) -> Problem | None:
    """Returns why a query may not return every row of the relation *name*; None if it does.

    *name*: the quoted name.
    """
    relation = _relation(connection, name)
    if relation is None:
        return None  # the relation does not exist, so a query of it fails
    if relation.kind not in _ORDINARY:
        return _not_a_table(connection, name, relation)
    if relation.persistence not in _PERMANENT:
        return Problem(
            reason=f"{name} is a temporary table, which is not visible to other sessions",
            hint="drop it, or give the permanent table with its schema",
        )
    if relation.restricted:
        return _restricted(name, relation)
    return _hidden_parts(connection, name, relation)


def walk_problem(connection: Connection, name: str) -> Problem | None:
    """Returns why the key of a table does not identify its rows, or why its rows cannot be updated.

    *name*: the quoted name. None: the table can be walked, and its rows can be updated.
    """
    relation = _relation(connection, name)
    if relation is None:
        return None
    children = [p.name for p in rows(connection, _PARTS, oid=relation.oid) if not p.is_partition]
    if children:
        return Problem(
            reason=f"table {name} has child tables by INHERITS ({', '.join(children)}), "
            "and its key is not unique over their rows",
            hint=f"ALTER TABLE {children[0]} NO INHERIT {name}, and a data migration for each table",
        )
    rules = [row.rulename for row in rows(connection, _RULES, oid=relation.oid)]
    if rules:
        return Problem(
            reason=f"rule {rules[0]} of table {name} rewrites every UPDATE of it",
            hint=f"ALTER TABLE {name} DISABLE RULE {rules[0]}",
        )
    invalid = [row.name for row in rows(connection, _INVALID_KEYS, oid=relation.oid)]
    if invalid:
        return Problem(
            reason=f"table {name} has no primary key, and its unique index {invalid[0]} is invalid",
            hint=f"DROP INDEX {invalid[0]}   and create it again, or add a primary key",
        )
    return None


def functions_problem(
    connection: Connection, called: Iterable[str], words: Iterable[str], text: str
) -> Problem | None:
    """Returns why an expression may read tables that its text does not name; None if it does not.

    *called*: the names in *text* that are followed by a parenthesis; *words*: all names in it. A function
    outside of pg_catalog must be IMMUTABLE, which promises that it reads no table. A name that is not a
    function belongs to the SQL grammar.
    """
    found = rows(connection, _FUNCTIONS, names=sorted(set(called)))
    unknown = {row.name: bool(row.is_builtin) for row in found if not _reads_nothing(row)}
    unknown |= {row[0]: False for row in rows(connection, _OF_A_ROW, names=sorted(set(words)))}
    for name, is_builtin in unknown.items():
        hint = "replace it with its query"
        if not is_builtin:
            hint += f"; if it reads no table: ALTER FUNCTION {name}(...) IMMUTABLE"
        return Problem(reason=f"function {name} may read tables that are not locked", hint=hint)
    operators = [row[0] for row in rows(connection, _OPERATORS) if row[0] in text]
    if operators:
        return Problem(
            reason=f"operator {operators[0]} may read tables that are not locked",
            hint="replace it with its query",
        )
    return None


def _reads_nothing(function: Row[Any]) -> bool:
    if not function.is_builtin:
        return bool(function.volatility == "i")
    # table_to_xml() and similar functions read the table that their argument names.
    if function.name in _VOLATILE:
        return True
    return function.volatility in ("i", "s") and not function.gives_xml


def _relation(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(sa.text(_RELATION), {"name": name}).first()


def _not_a_table(connection: Connection, name: str, relation: Row[Any]) -> Problem:
    kind = _KINDS.get(relation.kind, f"a relation of kind {relation.kind!r}")
    if relation.kind in ("v", "m"):
        bases = [row[0] for row in rows(connection, _BASE_TABLES, oid=relation.oid)]
        return of_a_view(name, kind, bases)
    return Problem(
        reason=f"{name} is {kind}: it cannot be locked, so a count of its rows proves nothing",
        hint="run the data migration on the server that stores the table",
    )


def _restricted(name: str, relation: Row[Any]) -> Problem:
    role = relation.role
    hint = f"use a role that reads all rows: ALTER ROLE {role} BYPASSRLS   (by a superuser)"
    if relation.is_owner:
        hint += f"; or, as its owner: ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"
    return Problem(reason=f"row-level security of table {name} hides rows from role {role}", hint=hint)


def _hidden_parts(connection: Connection, name: str, relation: Row[Any]) -> Problem | None:
    for part in rows(connection, _PARTS, oid=relation.oid):
        if part.leaving:
            return Problem(
                reason=f"partition {part.name} of table {name} is being detached",
                hint=f"ALTER TABLE {name} DETACH PARTITION {part.name} FINALIZE",
            )
        if part.kind not in _ORDINARY:
            return Problem(
                reason=f"{part.name}, a part of table {name}, is "
                f"{_KINDS.get(part.kind, part.kind)}: it cannot be locked",
                hint=f"ALTER TABLE {name} DETACH PARTITION {part.name}",
            )
    return None


class PostgreSQLChecks(Checks):
    """Checks publications, row-level security, partitions, and functions that read tables."""

    location_hint: ClassVar[str] = (
        "set it for every connection: in the URL (?options=-csearch_path%3DSCHEMA, ?options=-crole%3DROLE), "
        "or with ALTER ROLE ... SET search_path = SCHEMA"
    )

    def check_table(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        name = plain_name(connection, schema, table)
        return publication_problem(connection, name) or walk_problem(connection, name)

    def check_visibility(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return visibility_problem(connection, plain_name(connection, schema, table))

    def check_functions(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        return functions_problem(connection, called, words, text)

    def location(self, connection: Connection) -> dict[str, str]:
        row = connection.execute(sa.text(_LOCATION)).one()
        return {str(name): str(value) for name, value in row._mapping.items()}

    def identity(self, connection: Connection) -> dict[str, str]:
        # The start of the server has microseconds. An address differs between a socket and a host name.
        row = connection.execute(sa.text(_IDENTITY)).one()
        return {str(name): str(value) for name, value in row._mapping.items()}
