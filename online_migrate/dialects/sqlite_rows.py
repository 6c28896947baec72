"""SQLite: what hides rows of a table from a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.bulk import plain_name
from online_migrate.dialects.problem import Problem, of_a_view
from online_migrate.sql.parse import Unreadable, parse

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_OBJECT = "SELECT type, sql FROM {catalog} WHERE name = :name COLLATE NOCASE AND type IN ('table', 'view')"


def visibility_problem(connection: Connection, table: str, schema: str | None) -> Problem | None:
    """Why a query may not see every row of *table*, or reads another table of that name."""
    name = plain_name(connection, schema, table)
    if schema is None and _object(connection, "sqlite_temp_master", table) is not None:
        return Problem(
            reason=f"{name} is a temporary table or view, which other sessions do not see",
            hint="drop it, or give it another name",
        )
    found = _object(connection, plain_name(connection, schema, "sqlite_master"), table)
    if found is None:
        return None  # a query of it fails
    kind, text = found
    if kind == "view":
        return of_a_view(name, "a view", _base_tables(text))
    if not text.upper().startswith("CREATE TABLE"):
        return Problem(
            reason=f"{name} is a virtual table: its rows are not stored in this database",
            hint="use the table that stores the rows",
        )
    return None


def _object(connection: Connection, catalog: str, name: str) -> tuple[str, str] | None:
    row = connection.execute(sa.text(_OBJECT.format(catalog=catalog)), {"name": name}).first()
    return None if row is None else (str(row[0]), str(row[1] or ""))


def _base_tables(text: str) -> list[str]:
    from sqlglot import exp

    try:
        trees = parse(text, "sqlite")
    except Unreadable:
        return []
    queries = [tree.args.get("expression") for tree in trees if isinstance(tree, exp.Create)]
    return sorted({t.name for query in queries if query is not None for t in query.find_all(exp.Table)})
