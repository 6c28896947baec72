"""Character sets of MySQL and MariaDB of which not every character survives the way to a client and back.

A client of today is spoken to in Unicode. Some bytes of older character sets are no character in it, and
arrive as a question mark; some characters have two codes, of which the other one comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.problem import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_SURVIVE = (
    *("utf8mb4", "utf8mb3", "utf8", "ucs2", "utf16", "utf16le", "utf32", "gb18030", "binary", "ascii"),
    *("latin1", "latin2", "latin5", "latin7", "cp850", "cp852", "cp866", "koi8r", "koi8u"),
    *("macce", "macroman", "keybcs2"),
)
"""Those of which each of the characters survives. ASCII has no others than those that all have."""
_OTHERS = """
    SELECT column_name AS name, character_set_name AS charset FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND character_set_name NOT IN :survive
"""
_KEYS = """
    SELECT index_name AS key_name, column_name AS name FROM information_schema.statistics
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND non_unique = 0
"""
_LOST = "?"
"""How the version of a row begins that has such a value; a digest does not."""


def others(connection: Connection, table: str, schema: str | None) -> dict[str, str]:
    """The columns of such character sets: name -> character set."""
    query = sa.text(_OTHERS).bindparams(sa.bindparam("survive", _SURVIVE, expanding=True))
    return {row.name: row.charset for row in connection.execute(query, {"table": table, "schema": schema})}


def survives(value: str, charset: str) -> str:
    """SQL that is true if *value*, SQL of that character set, is what a client would read and write."""
    there_and_back = f"CONVERT(CONVERT({value} USING utf8mb4) USING {charset})"
    return f"CAST({there_and_back} AS BINARY) <=> CAST({value} AS BINARY)"


def marked(version: str, conditions: list[str]) -> str:
    """SQL of a row's *version* that tells whether all of *conditions* hold; see :func:`lost`."""
    return f"CONCAT(IF({' AND '.join(conditions)}, '', '{_LOST}'), {version})" if conditions else version


def lost(version: object) -> str | None:
    """Why the row at that *version* cannot be read, if it cannot."""
    if not str(version).startswith(_LOST):
        return None
    return (
        "one of its texts holds bytes that do not survive the way to a client and back: they are no "
        "character of Unicode, or another code of one; a Backfill copies them, or make the column utf8mb4"
    )


def key_problem(connection: Connection, table: str, schema: str | None) -> Problem | None:
    """Why the table cannot be walked by its key: a row would not be found again by what was read of it."""
    columns = others(connection, table, schema)
    if not columns:
        return None
    keys = connection.execute(sa.text(_KEYS), {"table": table, "schema": schema}).all()
    primary = [row for row in keys if row.key_name == "PRIMARY"]
    quote = connection.dialect.identifier_preparer.quote
    place = ".".join(quote(part) for part in (schema, table) if part)
    for name in sorted({row.name for row in primary or keys} & columns.keys()):
        condition = survives(quote(name), columns[name])
        query = f"SELECT 1 FROM {place} WHERE NOT ({condition}) LIMIT 1"
        if connection.execute(sa.text(query.replace(":", r"\:"))).first() is not None:
            return Problem(
                reason=f"a key of table {table!r}, in its column {name!r}, does not survive the way from its "
                f"character set {columns[name]} to a client and back: its row would not be found again",
                hint=f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4   (after looking at the keys: "
                f"SELECT HEX({name}) FROM {table} WHERE NOT ({condition}))",
            )
    return None
