"""Reads constraints, of a table and of a column, and the columns of keys and indexes. Pure."""

from __future__ import annotations

import dataclasses

from online_migrate.sql.lexer import MYSQL, Sort
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.expressions import columns_in, expression
from online_migrate.sql.operations.parts import Constraint, ConstraintKind, Expression, Index, Name

CONSTRAINTS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"})
"""The words with which a table constraint begins."""


@dataclasses.dataclass(frozen=True)
class Attributes:
    """What may follow a constraint, as far as decisions depend on it."""

    not_valid: bool = False
    not_enforced: bool = False
    included: tuple[str, ...] = ()


def take_attributes(cursor: Cursor) -> Attributes:
    """Consumes what follows a constraint: DEFERRABLE, NOT VALID, storage of its index, and so on."""
    not_valid = not_enforced = False
    included: tuple[str, ...] = ()
    while True:
        if cursor.take("NOT", "VALID"):
            not_valid = True
        elif cursor.take("NOT", "ENFORCED"):
            not_enforced = True
        elif cursor.next == "INCLUDE" and cursor.word(1) == "(":
            cursor.token()
            included += cursor.names_in_group()
        elif not _take_neutral(cursor):
            return Attributes(not_valid, not_enforced, included)


def _take_neutral(cursor: Cursor) -> bool:
    """Consumes an attribute on which no decision depends; returns whether there was one."""
    if (
        cursor.take("DEFERRABLE")
        or cursor.take("NOT", "DEFERRABLE")
        or cursor.take("INITIALLY", "DEFERRED")
        or cursor.take("INITIALLY", "IMMEDIATE")
        or cursor.take("NO", "INHERIT")
        or cursor.take("ENFORCED")
    ):
        return True
    if cursor.take("ON", "CONFLICT"):
        return bool(cursor.any_of("ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE"))
    if cursor.take("USING", "INDEX", "TABLESPACE"):
        return bool(cursor.name())
    if cursor.next == "WITH" and cursor.word(1) == "(":
        cursor.token()
        cursor.group()
        return True
    return False


# --- constraints of a table -----------------------------------------------------------------------


def read_constraint(cursor: Cursor) -> Constraint:
    """Consumes a table constraint, with its name and its attributes."""
    name = _constraint_name(cursor)
    if cursor.take("PRIMARY", "KEY"):
        return _key(cursor, ConstraintKind.PRIMARY_KEY, name)
    if cursor.take("UNIQUE"):
        cursor.any_of("INDEX", "KEY")
        return _key(cursor, ConstraintKind.UNIQUE, name)
    if cursor.take("CHECK"):
        return read_check(cursor, name)
    if cursor.take("FOREIGN", "KEY"):
        return _foreign_key(cursor, name)
    if cursor.take("EXCLUDE"):
        return _exclude(cursor, name)
    if cursor.take("NOT", "NULL"):
        columns = (cursor.name(),)
        return _finished(cursor, Constraint(kind=ConstraintKind.NOT_NULL, name=name, columns=columns))
    raise cursor.fail()


def _constraint_name(cursor: Cursor) -> str | None:
    if not cursor.take("CONSTRAINT"):
        return None
    if cursor.server in MYSQL and cursor.next in ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN"):
        return None  # MySQL and MariaDB: the name may be left out
    cursor.take("IF", "NOT", "EXISTS")
    return cursor.name()


def _finished(cursor: Cursor, constraint: Constraint) -> Constraint:
    return dataclasses.replace(constraint, **dataclasses.asdict(take_attributes(cursor)))


def _key(cursor: Cursor, kind: ConstraintKind, name: str | None) -> Constraint:
    if cursor.take("USING", "INDEX"):
        index = cursor.name()
        return _finished(cursor, Constraint(kind=kind, name=name, using_index=index))
    cursor.guard()
    if cursor.server in MYSQL:
        given = _mysql_index_name(cursor)
        name = name or (given if kind is ConstraintKind.UNIQUE else None)
    nulls_not_distinct = take_nulls_not_distinct(cursor)
    columns, _ = read_key(cursor)
    if cursor.server in MYSQL:
        take_index_options(cursor)
    if None in columns and cursor.server not in MYSQL:
        raise cursor.fail()
    known = tuple(column for column in columns if column is not None)
    found = Constraint(
        kind=kind,
        name=name,
        columns=known,
        nulls_not_distinct=nulls_not_distinct,
        has_expressions=None in columns,
    )
    return _finished(cursor, found)


def take_nulls_not_distinct(cursor: Cursor) -> bool:
    """Consumes NULLS [NOT] DISTINCT; returns True if NULL is equal to NULL."""
    if not cursor.take("NULLS"):
        return False
    equal = cursor.take("NOT")
    cursor.expect("DISTINCT")
    return equal


def _mysql_index_name(cursor: Cursor) -> str | None:
    name = None
    if cursor.names and cursor.next != "USING":
        name = cursor.name()
    if cursor.take("USING"):
        cursor.name()
    return name


def read_check(cursor: Cursor, name: str | None) -> Constraint:
    """Consumes the condition of a CHECK, and its attributes."""
    inside = cursor.group()
    return _finished(
        cursor,
        Constraint(
            kind=ConstraintKind.CHECK,
            name=name,
            columns=columns_in(inside.tokens, cursor.server),
            condition=expression(inside.tokens, cursor.server),
        ),
    )


def _foreign_key(cursor: Cursor, name: str | None) -> Constraint:
    cursor.guard()
    if cursor.server in MYSQL and cursor.names:
        given = cursor.name()
        name = name or given
    columns = cursor.names_in_group()
    cursor.expect("REFERENCES")
    referred = read_reference(cursor)
    return _finished(
        cursor, Constraint(kind=ConstraintKind.FOREIGN_KEY, name=name, columns=columns, referred=referred)
    )


def read_reference(cursor: Cursor) -> Name:
    """Consumes what follows REFERENCES, without the attributes of a constraint."""
    referred = cursor.path()
    if cursor.next == "(":
        cursor.names_in_group()
    while cursor.next in ("MATCH", "ON") and cursor.word(1) != "CONFLICT":
        if cursor.take("MATCH"):
            if not cursor.any_of("FULL", "PARTIAL", "SIMPLE"):
                cursor.name()
            continue
        cursor.expect("ON")
        if not cursor.any_of("DELETE", "UPDATE"):
            raise cursor.fail()
        _referential_action(cursor)
    return referred


def _referential_action(cursor: Cursor) -> None:
    if cursor.take("NO", "ACTION") or cursor.any_of("CASCADE", "RESTRICT"):
        return
    if not (cursor.take("SET", "NULL") or cursor.take("SET", "DEFAULT")):
        raise cursor.fail()
    if cursor.next == "(":
        cursor.names_in_group()


def _exclude(cursor: Cursor, name: str | None) -> Constraint:
    if cursor.take("USING"):
        cursor.name()
    columns = [_excluded(part) for part in cursor.parts()]
    condition = None
    found = take_attributes(cursor)
    if cursor.take("WHERE"):
        condition = expression(cursor.group().tokens, cursor.server)
        found = take_attributes(cursor)
    return Constraint(
        kind=ConstraintKind.EXCLUDE,
        name=name,
        columns=tuple(column for column in columns if column is not None),
        not_valid=found.not_valid,
        condition=condition,
    )


def _excluded(part: Cursor) -> str | None:
    at = next((at for at, token in enumerate(part.tokens) if token.word == "WITH"), None)
    if at is None or len(part.tokens) - at < 2:
        raise part.fail()
    return key_part(Cursor(part.tokens[:at], part.server))


# --- keys and indexes -----------------------------------------------------------------------------


def read_key(cursor: Cursor) -> tuple[tuple[str | None, ...], tuple[Expression, ...]]:
    """Consumes the columns of a key in parentheses, None for an expression; and returns the expressions."""
    parts = [_key_part(part)[0] for part in cursor.parts()]
    columns = tuple(part if isinstance(part, str) else None for part in parts)
    return columns, tuple(part for part in parts if not isinstance(part, str))


def read_index_key(cursor: Cursor) -> tuple[tuple[str | None, ...], tuple[Expression, ...], tuple[str, ...]]:
    """Does the same as :func:`read_key`, and returns the operator classes as well."""
    start = cursor.at
    columns, expressions = read_key(cursor)
    cursor.at = start
    classes = [_key_part(part)[1] for part in cursor.parts()]
    return columns, expressions, tuple(one for one in classes if one is not None)


def key_part(part: Cursor) -> str | None:
    """Returns the column of one part of a key, or None for an expression; consumes everything."""
    found = _key_part(part)[0]
    return found if isinstance(found, str) else None


def _key_part(part: Cursor) -> tuple[str | Expression, str | None]:
    """Returns the column or the expression, and the operator class if one is given."""
    column: str | None = None
    if part.next == "(":
        part.group()
    else:
        column = part.path().name
        if part.next == "(":
            inside = part.group()
            is_prefix = len(inside.tokens) == 1 and inside.tokens[0].sort is Sort.NUMBER
            column = column if is_prefix and part.server in MYSQL else None
        elif part and part.server == "sqlite" and part.rest[0].sort is Sort.MARK:
            part.at, column = len(part.tokens), None
    found = column or expression(part.tokens[: part.at], part.server)
    return found, _take_order(part)


def _take_order(part: Cursor) -> str | None:
    """Consumes the rest of a part of a key, and returns its operator class."""
    operator_class = None
    if part.take("COLLATE"):
        part.path()
    if part.names and part.next not in ("ASC", "DESC", "NULLS", "WITHOUT"):
        operator_class = part.path().name
        if part.next == "(":
            part.group()
    part.any_of("ASC", "DESC")
    if part.take("NULLS") and not part.any_of("FIRST", "LAST"):
        raise part.fail()
    part.end()
    return operator_class


def take_index_options(cursor: Cursor) -> str | None:
    """Consumes options of an index of MySQL and MariaDB; returns its method if that is given."""
    method = None
    while True:
        if cursor.take("USING"):
            method = cursor.name().lower()
        elif cursor.take("WITH", "PARSER") or cursor.take("COMMENT"):
            cursor.value()
        elif cursor.any_of("KEY_BLOCK_SIZE", "ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE") or (
            cursor.any_of("CLUSTERING", "DISTANCE", "M")
        ):
            cursor.take("=")
            cursor.value()
        elif not (cursor.any_of("VISIBLE", "INVISIBLE", "IGNORED") or cursor.take("NOT", "IGNORED")):
            return method


MYSQL_INDEXES = frozenset({"INDEX", "KEY", "FULLTEXT", "SPATIAL", "VECTOR"})
"""The words with which an index begins in a table of MySQL and MariaDB."""


def starts_mysql_index(cursor: Cursor) -> bool:
    """Returns True if an index follows, and not a column with such a name."""
    return cursor.server in MYSQL and cursor.next in MYSQL_INDEXES


def read_mysql_index(cursor: Cursor) -> Index:
    """Consumes an index in a CREATE TABLE or after ADD."""
    method = cursor.any_of("FULLTEXT", "SPATIAL", "VECTOR").lower() or None
    cursor.any_of("INDEX", "KEY")
    cursor.guard()
    name = _mysql_index_name(cursor)
    columns, expressions = read_key(cursor)
    method = take_index_options(cursor) or method
    return Index(name=name, columns=columns, expressions=expressions, method=method)
