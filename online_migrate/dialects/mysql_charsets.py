"""Character sets of MySQL and MariaDB that do not survive a round trip to the client.

The connection of a client uses Unicode. Some bytes of older character sets have no Unicode character and
arrive as a question mark. Some characters have two codes in their character set, and the other code is
written back.
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
"""The character sets in which each character survives the round trip. ASCII qualifies, because every other
character set contains its characters."""
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
"""The prefix of the version of a row that has a value that does not survive; a digest never begins so."""


def others(connection: Connection, table: str, schema: str | None) -> dict[str, str]:
    """Returns the columns whose character set does not survive the round trip: name -> character set."""
    query = sa.text(_OTHERS).bindparams(sa.bindparam("survive", _SURVIVE, expanding=True))
    return {row.name: row.charset for row in connection.execute(query, {"table": table, "schema": schema})}


def survives(value: str, charset: str) -> str:
    """Returns the SQL condition that a text survives the round trip to a client unchanged.

    *value*: the SQL expression of the text. *charset*: its character set.
    """
    there_and_back = f"CONVERT(CONVERT({value} USING utf8mb4) USING {charset})"
    return f"CAST({there_and_back} AS BINARY) <=> CAST({value} AS BINARY)"


def marked(version: str, conditions: list[str]) -> str:
    """Returns the SQL of a row's *version*, with a mark if one of *conditions* does not hold.

    *conditions*: see :func:`survives`. :func:`lost` reads the mark.
    """
    return f"CONCAT(IF({' AND '.join(conditions)}, '', '{_LOST}'), {version})" if conditions else version


def lost(version: object) -> str | None:
    """Returns why the values of the row with that *version* cannot be read exactly; None if they can."""
    if not str(version).startswith(_LOST):
        return None
    return (
        "a text contains bytes that do not survive the conversion to a client and back: they are no Unicode "
        "character, or a second code of one; use a Backfill, or convert the column to utf8mb4"
    )


def key_problem(connection: Connection, table: str, schema: str | None) -> Problem | None:
    """Returns why the table cannot be walked by its key; None if it can.

    A row whose key does not survive the round trip would not be found again by the key that was read.
    """
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
                reason=f"a key of table {table!r}, in column {name!r}, does not survive the conversion from "
                f"character set {columns[name]} to a client and back: its row would not be found",
                hint=f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4   (check the keys first: "
                f"SELECT HEX({name}) FROM {table} WHERE NOT ({condition}))",
            )
    return None
