"""The statements of the clients of a history."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.support.history_changes import Values


def is_empty(values: Values | None) -> bool:
    """Whether no column has a value."""
    return values is None or all(value is None for value in values.values())


def put(connection: Connection, table: str, key: int, values: Values, *, exists: bool) -> None:
    """Inserts or updates a row."""
    if not exists:
        statement = _insert(table, values)
    elif values:
        statement = f"UPDATE {table} SET {', '.join(f'{n} = :{n}' for n in values)} WHERE id = :id"
    else:
        return
    connection.execute(sa.text(statement), {"id": key, **values})


def upsert(connection: Connection, key: int, values: Values) -> None:
    """Inserts or updates a row of ``items`` by one statement."""
    start, value = _UPSERT[connection.dialect.name]
    changed = ", ".join(f"{name} = {value.format(name)}" for name in values)
    connection.execute(sa.text(f"{_insert('items', values)} {start} {changed}"), {"id": key, **values})


def _insert(table: str, values: Values) -> str:
    names = ["id", *values]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"


_ON_CONFLICT = ("ON CONFLICT (id) DO UPDATE SET", "excluded.{}")
_ON_DUPLICATE = ("ON DUPLICATE KEY UPDATE", "VALUES({})")
_UPSERT = {
    "sqlite": _ON_CONFLICT,
    "postgresql": _ON_CONFLICT,
    "mysql": _ON_DUPLICATE,
    "mariadb": _ON_DUPLICATE,
}


def read(connection: Connection, table: str, columns: tuple[str, ...]) -> dict[int, Values]:
    """Returns these columns of all rows, by key."""
    rows = connection.execute(sa.text(f"SELECT id, {', '.join(columns)} FROM {table}"))
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
