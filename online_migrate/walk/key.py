"""The key by which a table is walked: its columns, and the keys that a driver reads."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Key = tuple[Any, ...]


class KeyUnreadable(exceptions.Failed):
    """Table {table!r} cannot be walked: the driver cannot read one of its keys ({error})."""


def key_columns(connection: Connection, table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """Returns the columns of the walk key: the primary key, or else a unique key of NOT NULL columns.

    The key is read from the database and not from a user's ``sa.Table``, which may declare only a part of it.
    Raises :class:`~online_migrate.exceptions.NoKey` if the table has no such key, if the ``sa.Table`` lacks
    one of its columns, or if a column of the primary key is NULL in some rows.
    """
    return find_key(connection, table)[0]


def find_key(connection: Connection, table: sa.Table) -> tuple[tuple[sa.Column[Any], ...], str | None]:
    """Returns the columns of the walk key and the name of its index; None for the primary key.

    Raises like :func:`key_columns`.
    """
    inspector = sa.inspect(connection)
    columns = inspector.get_columns(table.name, schema=table.schema)
    nullable = {column["name"] for column in columns if column["nullable"]}
    index: str | None = None
    names = list(inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"])
    if not names:
        usable = [key for key in _unique_keys(inspector, table) if not nullable & set(key[0])]
        if not usable:
            raise exceptions.NoKey(table=table.name)
        names, index = min(usable, key=lambda key: (len(key[0]), key))
    missing = [name for name in names if name not in table.c]
    if missing:
        raise exceptions.NoKey(
            table=table.name,
            hint=f"the database has one, but the given sa.Table has no column {missing[0]!r}: "
            "add that column, or pass only the name of the table",
        )
    _refuse_null(connection, table, [table.c[name] for name in names if name in nullable])
    return tuple(table.c[name] for name in names), index


def _unique_keys(inspector: sa.Inspector, table: sa.Table) -> list[tuple[list[str], str]]:
    """Returns the columns and the name of each unique key, except partial and expression indexes."""
    indexes = inspector.get_indexes(table.name, schema=table.schema)
    constraints = inspector.get_unique_constraints(table.name, schema=table.schema)
    keys = [
        ([name for name in index["column_names"] if name is not None], index["name"] or "")
        for index in indexes
        if index["unique"] and all(index["column_names"]) and not _partial(index)
    ]
    keys += [(list(constraint["column_names"]), constraint["name"] or "") for constraint in constraints]
    return [key for key in keys if key[0]]


def _refuse_null(connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]]) -> None:
    """Raises NoKey if a key column is NULL: SQLite allows it, but such a row is in no key range."""
    for column in columns:
        null = column.is_(None)
        query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(table).where(null).limit(1)
        if connection.execute(query).first() is not None:
            raise exceptions.NoKey(
                table=table.name,
                hint=f"column {column.name!r} of the primary key is NULL in some rows: "
                "assign keys to them first",
            )


def _partial(index: Any) -> bool:
    options = index.get("dialect_options", {})
    return any(name.endswith("_where") and value is not None for name, value in options.items())


_PYTHON_ORDERED_TYPES = (int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


def is_beyond(lower: Key, upper: Key) -> bool:
    """Returns False if *upper*, read as the key of a row above *lower*, is certainly not above it. Pure.

    This happens with values that the driver does not return as they are stored: 24:00 returned as 00:00, or
    a rounded float. Texts are ordered by the server's collation, which is not known here; for them the result
    is True if they differ.
    """
    for before, after in zip(lower, upper, strict=True):
        if before == after:
            continue
        if type(before) is type(after) and isinstance(before, _PYTHON_ORDERED_TYPES):
            return bool(before < after)
        return True
    return False


def read_keys(table: sa.Table, ask: Callable[[], Iterable[sa.Row[Any]]]) -> list[Key]:
    """Returns the keys of *table* that the query *ask* reads.

    Raises :class:`KeyUnreadable` if the driver cannot represent one of them.
    """
    try:
        keys = [tuple(row) for row in ask()]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Python cannot represent the value: the year 44 BC, or a value that is no member of an enum.
        raise KeyUnreadable(table=table.name, error=f"{type(error).__name__}: {error}") from error
    if any(part is None for key in keys for part in key):
        # No column of the key is NULL, so this is the date 0000-00-00, which mysqlclient returns as None.
        raise KeyUnreadable(table=table.name, error="it is returned as NULL")
    if any(isinstance(part, str) and not _is_unicode(part) for key in keys for part in key):
        # SQLite stores such a text, but Python's driver cannot send it as a parameter.
        raise KeyUnreadable(
            table=table.name,
            error="it is not valid UTF-8",
            hint="rewrite that key, or convert it to a BLOB: CAST(... AS BLOB)",
        )
    return keys


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
