"""How a type differs from the type that the column has, for each server. Pure.

PostgreSQL: a binary-coercible type, or a length or precision that only grows, changes the catalog alone
(ALTER TABLE of its manual; seen on 15 and 18: the file of the table stays). The elements of an array are
converted, so the table is rewritten for any change of their type. A prepared statement of an old session
that returns the column fails once with "cached plan must not change result type"; so it does for every
change of a type.

MySQL and MariaDB: VARCHAR grows in place while the number of its length bytes stays. MariaDB also changes a
VARCHAR of at most 127 bytes to any length. Values at the end of an ENUM or SET are added in place while the
storage size stays. Every other change copies the table, and blocks writers meanwhile.

SQLite: a type cannot be changed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

from online_migrate.sql.operations.parts import SqlType


class TypeChange(enum.Enum):
    """What a change of a type means for old code."""

    SAME = "the type stays"
    WIDER = "every old value stays valid, and only the definition changes"
    COPIED = "every old value stays valid, but the table is rewritten"
    OTHER = "old values may be refused or changed"
    RENUMBERED = "the values of an ENUM or SET are not only added at the end"


def compare_types(old: SqlType, new: SqlType, product: str) -> TypeChange:
    """Returns how *new* differs from *old*."""
    if old == new:
        return TypeChange.SAME
    if (old.array, old.unsigned, old.charset) != (new.array, new.unsigned, new.charset):
        return TypeChange.OTHER
    return _BY_PRODUCT[product](old, new)


def changes_only_definition(old: SqlType, new: SqlType, product: str) -> bool:
    """Returns True if the server neither reads nor copies a row for the change of the type."""
    return compare_types(old, new, product) in (TypeChange.SAME, TypeChange.WIDER)


_INTEGERS = ("tinyint", "smallint", "mediumint", "integer", "bigint")
_TEXTS = ("tinytext", "text", "mediumtext", "longtext")
_BLOBS = ("tinyblob", "blob", "mediumblob", "longblob")
_SIZES = (_INTEGERS, _TEXTS, _BLOBS, ("real", "double"))


def _numbers(type: SqlType) -> list[float] | None:
    """Returns the length, or precision and scale; None if a parameter is not a number."""
    if not all(parameter.isdigit() for parameter in type.parameters):
        return None
    return [float(parameter) for parameter in type.parameters]


def _length(type: SqlType) -> float:
    """Returns the length or precision; infinite without a parameter."""
    numbers = _numbers(type)
    if numbers is None:
        return math.nan  # neither less nor greater than any other
    return numbers[0] if numbers else math.inf


def _grown(old: SqlType, new: SqlType) -> TypeChange:
    """Compares two types of the same name, some of which may have a length."""
    return TypeChange.WIDER if _length(new) >= _length(old) else TypeChange.OTHER


def _larger(old: SqlType, new: SqlType) -> TypeChange:
    """Compares two types without parameters that take more space."""
    for sizes in _SIZES:
        if old.name in sizes and new.name in sizes and not old.parameters and not new.parameters:
            return TypeChange.COPIED if sizes.index(new.name) > sizes.index(old.name) else TypeChange.OTHER
    return TypeChange.OTHER


# --- PostgreSQL -----------------------------------------------------------------------------------

_PRECISION = {"timestamp", "timestamptz", "time", "timetz", "varbit"}


def _on_postgresql(old: SqlType, new: SqlType) -> TypeChange:
    change = _of_value_on_postgresql(old, new)
    return TypeChange.COPIED if old.array and change is TypeChange.WIDER else change


def _of_value_on_postgresql(old: SqlType, new: SqlType) -> TypeChange:
    if old.name == new.name == "numeric":
        return _numeric(old, new)
    if {old.name, new.name} <= {"varchar", "text"}:
        return _grown(old, new)
    if old.name == new.name and old.name in _PRECISION:
        return _grown(old, new)
    if (old.name, new.name) == ("cidr", "inet"):
        return TypeChange.WIDER
    return _larger(old, new)


def _numeric(old: SqlType, new: SqlType) -> TypeChange:
    if not new.parameters:
        return TypeChange.WIDER
    before, after = _numbers(old), _numbers(new)
    if not before or not after:
        return TypeChange.OTHER
    (precision, scale), (new_precision, new_scale) = ([*n, 0.0][:2] for n in (before, after))
    if scale == new_scale:
        return TypeChange.WIDER if new_precision >= precision else TypeChange.OTHER
    wider = new_scale > scale and new_precision - new_scale >= precision - scale
    return TypeChange.COPIED if wider else TypeChange.OTHER


# --- MySQL and MariaDB ----------------------------------------------------------------------------

_BYTES_OF_A_CHARACTER = {
    "latin1": (1,),
    "ascii": (1,),
    "binary": (1,),
    "utf8": (3,),
    "utf8mb3": (3,),
    "utf8mb4": (4,),
}


def _byte_lengths(type: SqlType) -> list[float]:
    """Returns the possible lengths in bytes; the character set may not be known."""
    if type.name == "varbinary":
        return [_length(type)]
    sizes = _BYTES_OF_A_CHARACTER.get(type.charset or "", (1, 2, 3, 4))
    return [_length(type) * size for size in sizes]


def _same_length_bytes(old: float, new: float) -> bool:
    return old > 255 or new <= 255


def _same_length_bytes_on_mariadb(old: float, new: float) -> bool:
    return old > 255 or new <= 255 or old <= 127


def _on_mysql(old: SqlType, new: SqlType) -> TypeChange:
    return _in_place(old, new, _same_length_bytes)


def _on_mariadb(old: SqlType, new: SqlType) -> TypeChange:
    return _in_place(old, new, _same_length_bytes_on_mariadb)


def _in_place(old: SqlType, new: SqlType, same_bytes: Callable[[float, float], bool]) -> TypeChange:
    if old.name == new.name and old.name in ("varchar", "varbinary"):
        if not _length(new) >= _length(old):
            return TypeChange.OTHER
        pairs = zip(_byte_lengths(old), _byte_lengths(new), strict=True)
        return TypeChange.WIDER if all(same_bytes(*pair) for pair in pairs) else TypeChange.COPIED
    if old.name == new.name and old.name in ("enum", "set"):
        return _values_added(old, new)
    if old.name == new.name == "numeric" and _numeric(old, new) is TypeChange.WIDER:
        return TypeChange.COPIED
    return _larger(old, new)


_STORAGE_STEPS = {"enum": (255, 65535), "set": (8, 16, 24, 32, 64)}


def _values_added(old: SqlType, new: SqlType) -> TypeChange:
    before, after = old.parameters, new.parameters
    if after[: len(before)] != before:
        return TypeChange.RENUMBERED if set(before) <= set(after) else TypeChange.OTHER
    steps = _STORAGE_STEPS[old.name]
    same_size = all((len(before) <= step) == (len(after) <= step) for step in steps)
    return TypeChange.WIDER if same_size else TypeChange.COPIED


def _on_sqlite(old: SqlType, new: SqlType) -> TypeChange:
    return TypeChange.OTHER


_BY_PRODUCT: dict[str, Callable[[SqlType, SqlType], TypeChange]] = {
    "postgresql": _on_postgresql,
    "mysql": _on_mysql,
    "mariadb": _on_mariadb,
    "sqlite": _on_sqlite,
}

_BUILT_IN = """
    smallint integer bigint tinyint mediumint numeric decimal real double float char varchar text boolean date
    time timetz timestamp timestamptz datetime interval year json jsonb uuid binary varbinary blob tinyblob
    mediumblob longblob tinytext mediumtext longtext bytea bit varbit inet cidr macaddr macaddr8 money xml oid
    name point line lseg box path polygon circle tsvector tsquery int4range int8range numrange tsrange
    tstzrange daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange
    datemultirange enum set inet4 inet6 vector geometry geography linestring multipoint multilinestring
    multipolygon geometrycollection citext hstore ltree regclass bpchar pg_lsn jsonpath xid8
"""
BUILT_IN = frozenset([*_BUILT_IN.split(), '"char"'])
"""Types of the servers and of their common extensions. None of them refuses NULL; a domain may."""
