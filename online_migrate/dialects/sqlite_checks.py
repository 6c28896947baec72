"""SQLite: checks whether a query returns every row of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.facets.checks import Checks
from online_migrate.dialects.problem import Problem, of_a_view
from online_migrate.sql.parse import Unreadable, parse
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_OBJECT = "SELECT type, sql FROM {catalog} WHERE name = :name COLLATE NOCASE AND type IN ('table', 'view')"


def visibility_problem(connection: Connection, table: str, schema: str | None) -> Problem | None:
    """Returns why a query may not return every row of *table*, or reads another table of that name.

    None: the query returns every row of the table.
    """
    name = plain_name(connection, schema, table)
    if schema is None and _object(connection, "sqlite_temp_master", table) is not None:
        return Problem(
            reason=f"{name} is a temporary table or view, which is not visible to other sessions",
            hint="drop it, or rename it",
        )
    found = _object(connection, plain_name(connection, schema, "sqlite_master"), table)
    if found is None:
        return None  # the table does not exist, so a query of it fails
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


class SQLiteChecks(Checks):
    """Checks whether a name is a table that is stored in the database."""

    def check_visibility(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return visibility_problem(connection, table, schema)

    def check_functions(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        # The functions of SQLite are C code; the sessions of the engine register none that runs a query.
        return None

    def location(self, connection: Connection) -> dict[str, str]:
        rows = connection.exec_driver_sql("PRAGMA database_list").all()
        return {str(name): os.path.realpath(path) if path else "" for _number, name, path in rows if path}

    def identity(self, connection: Connection) -> dict[str, str]:
        return self.location(connection)
