"""The schema of the scratch database: read, compared with itself and with models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from online_migrate import state
from online_migrate.observe.unlogged import no_context_logged

Shape = Mapping[str, Mapping[str, Any]]
"""Table -> the objects of the table, in a form that can be compared."""


def read(connection: Connection, version_table: str) -> Shape:
    """Returns the tables of the database, without those of Alembic and of the engine."""
    inspector = sa.inspect(connection)
    hidden = {*state.TABLES, version_table}
    return {
        name: _table(inspector, name) for name in sorted(inspector.get_table_names()) if name not in hidden
    }


def _table(inspector: sa.Inspector, name: str) -> dict[str, Any]:
    columns = {
        f"column {column['name']}": (str(column["type"]), column["nullable"], column["default"])
        for column in inspector.get_columns(name)
    }
    return {
        **columns,
        "primary key": tuple(inspector.get_pk_constraint(name)["constrained_columns"]),
        "foreign keys": _texts(inspector.get_foreign_keys(name)),
        "unique constraints": _texts(inspector.get_unique_constraints(name)),
        "indexes": _texts(inspector.get_indexes(name)),
        "CHECK constraints": _texts(inspector.get_check_constraints(name)),
    }


def _texts(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(repr(sorted((key, str(value)) for key, value in one.items())) for one in found)


def differences(before: Shape, after: Shape) -> list[tuple[str, str]]:
    """Returns what differs, as pairs of a table and a text. Pure."""
    found = [(table, f"table {table} is left") for table in after if table not in before]
    found += [(table, f"table {table} is gone") for table in before if table not in after]
    for table in before.keys() & after.keys():
        old, new = before[table], after[table]
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                found.append((table, f"{table}: {name} was {old.get(name)}, and is {new.get(name)}"))
    return sorted(found)


def rows(connection: Connection, shape: Shape) -> dict[str, list[str]]:
    """Returns the content of all tables, in a form that can be compared."""
    found: dict[str, list[str]] = {}
    for table in shape:
        names = [name.removeprefix("column ") for name in shape[table] if name.startswith("column ")]
        selected = connection.execute(sa.select(*map(_column, names)).select_from(sa.table(table)))
        found[table] = sorted(repr(tuple(row)) for row in selected)
    return found


def _column(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name)


def unlike_models(
    connection: Connection, options: Mapping[str, Any], metadata: Sequence[sa.MetaData]
) -> Iterator[tuple[str, str]]:
    """Yields how the schema differs from the models, as pairs of a table and a text.

    *options*: those of ``context.configure`` in env.py. A table that no model maps is not compared.
    """
    known = {table.name for one in metadata for table in one.tables.values()}
    filter_of_project = options.get("include_object")

    def include_object(thing: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        if kind == "table" and name not in known:
            return False
        return filter_of_project is None or filter_of_project(thing, name, kind, reflected, other)

    chosen = {"compare_type": True, **options, "include_object": include_object}
    with no_context_logged():
        context = MigrationContext.configure(connection, opts=chosen)
    compared: Any = metadata[0] if len(metadata) == 1 else list(metadata)
    for found in compare_metadata(context, compared):
        for one in found if isinstance(found, list) else [found]:
            yield _described(one)


def _described(difference: Sequence[Any]) -> tuple[str, str]:
    kind, *details = difference
    words = kind.replace("_", " ")
    if kind.startswith("modify_"):
        _schema, table, column, _existing, there, wanted = details
        return table, f"{table}.{column}: {words[7:]} is {there}, and {wanted} in the models"
    thing = details[-1]
    table = getattr(getattr(thing, "table", thing), "name", None) or ""
    if kind.startswith("add_"):
        return table, f"{words[4:]} {_named(thing)} of the models is not in the schema"
    return table, f"{words[7:]} {_named(thing)} is in the schema, and not in the models"


def _named(thing: Any) -> str:
    if isinstance(thing, sa.Table):
        return thing.fullname
    columns = [column.name for column in getattr(thing, "columns", ())]
    return f"{thing.table.name}.{thing.name or ', '.join(columns)}"
