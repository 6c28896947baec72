"""Types in normal form: the aliases of each server, and how a type is written. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from online_migrate.sql.lexer import Sort
from online_migrate.sql.operations.cursor import Cursor, written
from online_migrate.sql.operations.parts import SqlType

_COMMON = {
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "dec": "numeric",
    "decimal": "numeric",
    "character": "char",
    "bool": "boolean",
    "float4": "real",
    "float8": "double",
}
INTERNAL = {
    **{name: _COMMON[name] for name in ("int2", "int4", "int8", "bool", "float4", "float8")},
    "bpchar": "bpchar",
    "char": '"char"',
}
"""PostgreSQL: names of the catalog in normal form; they are valid with quotes and with ``pg_catalog``."""
SERIALS = {
    "serial": "integer",
    "serial4": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
    "smallserial": "smallint",
    "serial2": "smallint",
}
_MYSQL_NAMES = """
    tinyint smallint mediumint integer bigint numeric double real float char varchar tinytext text mediumtext
    longtext binary varbinary tinyblob blob mediumblob longblob enum set json bit year date time datetime
    timestamp uuid inet4 inet6 vector geometry point linestring polygon multipoint multilinestring
    multipolygon geometrycollection
"""
_MYSQL = {
    **{name: name for name in _MYSQL_NAMES.split()},
    **_COMMON,
    "int1": "tinyint",
    "int3": "mediumint",
    "middleint": "mediumint",
    "bool": "tinyint",
    "boolean": "tinyint",
    "fixed": "numeric",
    "real": "double",
    "nchar": "char",
    "nvarchar": "varchar",
    "varcharacter": "varchar",
    "geomcollection": "geometrycollection",
}
_SQLITE = {**_COMMON, "float": "double", "character varying": "varchar", "double precision": "double"}
_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "integer", "bigint", "year"})
_SINGLE = frozenset(str(precision) for precision in range(25))
"""FLOAT(n) with these precisions has four bytes."""
_ONE_BY_DEFAULT = frozenset({"char", "bit", "binary"})


@dataclasses.dataclass(frozen=True)
class Declared:
    """A type as a column declares it; *serial*: it includes NOT NULL and a default from a sequence."""

    type: SqlType
    serial: bool = False


def read_type(cursor: Cursor) -> Declared:
    """Consumes a type; raises :class:`~.cursor.Unknown` if it is not written as a type of the server."""
    return _READERS[cursor.server](cursor)


def _parameters(cursor: Cursor) -> tuple[str, ...]:
    if cursor.next != "(":
        return ()
    return tuple(written(part.tokens) for part in cursor.parts())


# --- PostgreSQL -----------------------------------------------------------------------------------


def _postgresql(cursor: Cursor) -> Declared:
    declared = _postgresql_element(cursor)
    array = cursor.take("ARRAY")
    while cursor.take("["):
        array = True
        if cursor.next != "]":
            cursor.value()
        cursor.expect("]")
    return dataclasses.replace(declared, type=dataclasses.replace(declared.type, array=array))


def _postgresql_element(cursor: Cursor) -> Declared:
    if cursor.names and (cursor.rest[0].sort is Sort.NAME or cursor.word(1) == "."):
        path = cursor.path()
        name = INTERNAL.get(path.name, path.name) if path.schema in (None, "pg_catalog") else str(path)
        return Declared(SqlType(name, _parameters(cursor)))
    name = cursor.name()
    if name in SERIALS:
        return Declared(SqlType(SERIALS[name]), serial=True)
    if name in ("time", "timestamp"):
        return _with_time_zone(cursor, name)
    if name == "national":
        name = cursor.any_of("CHAR", "CHARACTER").lower() or "?"
    if name in ("char", "character", "nchar"):
        name = "varchar" if cursor.take("VARYING") else "char"
    elif name == "bit" and cursor.take("VARYING"):
        name = "varbit"
    elif name == "double":
        cursor.expect("PRECISION")
    name = _COMMON.get(name, name)
    parameters = _parameters(cursor)
    return Declared(postgresql_type(name, parameters))


def _with_time_zone(cursor: Cursor, name: str) -> Declared:
    parameters = _parameters(cursor)
    zoned = cursor.take("WITH", "TIME", "ZONE")
    if not zoned:
        cursor.take("WITHOUT", "TIME", "ZONE")
    return Declared(SqlType(f"{name}tz" if zoned else name, parameters))


def postgresql_type(name: str, parameters: tuple[str, ...]) -> SqlType:
    """Returns the type with its default length; FLOAT(n) in its two sizes."""
    if name == "float":
        return SqlType("real" if parameters and parameters[0] in _SINGLE else "double")
    if name in ("char", "bit") and not parameters:
        parameters = ("1",)
    return SqlType(name, parameters)


# --- MySQL and MariaDB ----------------------------------------------------------------------------


def _mysql(cursor: Cursor) -> Declared:
    if cursor.take("SERIAL"):
        return Declared(SqlType("bigint", unsigned=True), serial=True)
    charset = "utf8" if cursor.next in ("NATIONAL", "NCHAR", "NVARCHAR") else None
    name = _mysql_name(cursor)
    parameters = _parameters(cursor)
    if name == "float":
        name = "double" if len(parameters) == 1 and parameters[0] not in _SINGLE else "real"
        parameters = parameters if len(parameters) == 2 else ()
    if name in _INTEGERS:
        parameters = ()
    if name in _ONE_BY_DEFAULT and not parameters:
        parameters = ("1",)
    unsigned, given = _mysql_attributes(cursor)
    return Declared(SqlType(name, parameters, unsigned=unsigned, charset=given or charset))


def _mysql_name(cursor: Cursor) -> str:
    cursor.take("NATIONAL")
    if cursor.take("LONG"):
        if cursor.any_of("VARBINARY"):
            return "mediumblob"
        cursor.take("VARCHAR") or cursor.take("CHAR", "VARYING")
        return "mediumtext"
    if not cursor.names or cursor.next.lower() not in _MYSQL:
        raise cursor.fail()
    name = _MYSQL[cursor.name().lower()]
    if name == "double":
        cursor.take("PRECISION")
    if name == "char" and cursor.any_of("VARYING", "VARCHAR"):
        return "varchar"
    return name


def _mysql_attributes(cursor: Cursor) -> tuple[bool, str | None]:
    """Consumes the attributes of a type; returns whether it is unsigned, and its character set."""
    unsigned, charset = False, None
    while True:
        if cursor.any_of("UNSIGNED", "ZEROFILL"):
            unsigned = True
        elif cursor.take("CHARACTER", "SET") or cursor.take("CHARSET"):
            charset = cursor.value().strip("'\"`").lower()
        elif cursor.take("ASCII"):
            charset = "latin1"
        elif cursor.take("UNICODE"):
            charset = "ucs2"
        elif not cursor.take("SIGNED"):
            return unsigned, charset


# --- SQLite ---------------------------------------------------------------------------------------

NO_TYPE_IN_SQLITE = frozenset(
    {"CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES"}
    | {"GENERATED", "AS"}
)
"""The words that end the name of a type; a column without a type begins with one of them."""


def _sqlite(cursor: Cursor) -> Declared:
    words = [cursor.name().lower()]
    while cursor.names and cursor.next not in NO_TYPE_IN_SQLITE:
        words.append(cursor.name().lower())
    name = " ".join(words)
    return Declared(SqlType(_SQLITE.get(name, name), _parameters(cursor)))


_READERS: Mapping[str, Callable[[Cursor], Declared]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
    "sqlite": _sqlite,
}
