"""What the data migrations of a project read and set, for the schema that its scripts create.

The expressions of a data migration are built for a table that is made of the schema, as they are built for
the live table when the data migration runs. A data migration whose expressions cannot be built is left out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from online_migrate import exceptions
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.table_argument import name_of
from online_migrate.lint.schema import Table
from online_migrate.lint.tree import Tree
from online_migrate.lint.value_ranges import Misfit, misfit
from online_migrate.sql.operations.parts import Name, SqlType

_TYPES: Mapping[str, type[sa.types.TypeEngine[Any]]] = {
    "smallint": sa.SmallInteger,
    "integer": sa.Integer,
    "mediumint": sa.Integer,
    "tinyint": sa.Integer,
    "bigint": sa.BigInteger,
    "numeric": sa.Numeric,
    "real": sa.Float,
    "double": sa.Float,
    "char": sa.String,
    "varchar": sa.String,
    "text": sa.Text,
    "boolean": sa.Boolean,
    "date": sa.Date,
    "time": sa.Time,
    "timestamp": sa.DateTime,
    "timestamptz": sa.DateTime,
    "datetime": sa.DateTime,
    "json": sa.JSON,
    "uuid": sa.Uuid,
    "blob": sa.LargeBinary,
}


def columns_filled(tree: Tree) -> dict[str, tuple[str, set[str]]]:
    """Returns (table, columns filled) of each data migration: those that it sets, or those of ``pending``."""
    found = columns_pending(tree)
    for name, table, live in _migrations(tree):
        values = _values(tree.data_migrations[name], live)
        if values:
            found[name] = (table.name.name, set(values))
    return found


def columns_pending(tree: Tree) -> dict[str, tuple[str, set[str]]]:
    """Returns (table, columns of its ``pending``) of each data migration."""
    found = {}
    for name, table, live in _migrations(tree):
        migration = tree.data_migrations[name]
        try:
            pending = migration.expressions_of(live).condition("pending", migration.pending)
        except exceptions.OnlineMigrateError:
            continue
        columns = visitors.iterate(pending) if pending is not None else ()
        found[name] = (
            table.name.name,
            {each.name for each in columns if isinstance(each, sa.Column) and each.table is live},
        )
    return found


def misfits(tree: Tree) -> Iterator[tuple[str, str, Misfit]]:
    """Returns (data migration, column, misfit) of each value that may not fit into its column."""
    for name, table, live in _migrations(tree):
        for column, value in _values(tree.data_migrations[name], live).items():
            target = table.columns.get(column)
            if target is None or target.type is None:
                continue
            found = misfit(value, target, table, tree.server.product)
            if found is not None:
                yield name, column, found


def _values(migration: DataMigration, live: sa.Table) -> Mapping[str, Any]:
    try:
        return migration.expressions_set(live)
    except exceptions.OnlineMigrateError:
        return {}


def _migrations(tree: Tree) -> Iterator[tuple[str, Table, sa.Table]]:
    """Returns (name, table in the schema, table for expressions) of each data migration."""
    for name, migration in tree.data_migrations.items():
        given = migration.table
        if not isinstance(given, str | sa.TableClause):
            continue
        schema, table_name = name_of(given)
        table = tree.schema.table(Name(table_name, schema))
        if table is not None and table.columns:
            yield name, table, given if isinstance(given, sa.Table) else live_table(table)


def live_table(table: Table) -> sa.Table:
    """Returns a table of SQLAlchemy with the columns of a table of the schema."""
    columns = [sa.Column(column.name, _type(column.type)) for column in table.columns.values()]
    return sa.Table(table.name.name, sa.MetaData(), *columns, schema=table.name.schema)


@functools.lru_cache(maxsize=256)
def _type(type: SqlType | None) -> sa.types.TypeEngine[Any]:
    return _TYPES.get(type.name, sa.types.NullType)() if type is not None else sa.types.NullType()
