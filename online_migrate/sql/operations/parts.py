"""Parts of operations: names, types, expressions, definitions of columns, constraints and indexes. Pure."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of an object, with the schema if the statement gives one."""

    name: str
    schema: str | None = None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclasses.dataclass(frozen=True)
class SqlType:
    """A type in normal form: ``int(11)``, ``INTEGER`` and ``int4`` are all ``integer``.

    *name*: in lower case: smallint, integer, bigint, tinyint, mediumint, numeric, real, double, char,
    varchar, text, boolean, date, time, timetz, timestamp, timestamptz, datetime, json, jsonb, uuid, binary,
    varbinary, blob and so on; another type keeps its own name. *parameters*: length, precision, scale, or
    the values of an ENUM or SET, as written. A display width of an integer is left out.
    """

    name: str
    parameters: tuple[str, ...] = ()
    unsigned: bool = False
    array: bool = False
    charset: str | None = None

    def __str__(self) -> str:
        inner = f"({', '.join(self.parameters)})" if self.parameters else ""
        return f"{self.name}{inner}{' unsigned' if self.unsigned else ''}{'[]' if self.array else ''}"


class Value(enum.Enum):
    """The form of an expression that the decisions depend on."""

    NULL = "NULL"
    CONSTANT = "a literal, also with a sign or a cast"
    NOW = "the time of the transaction or the statement"
    EXPRESSION = "any other expression"


@dataclasses.dataclass(frozen=True)
class Expression:
    """A default, a condition or a generated value. *calls*: the functions that it calls, in lower case."""

    form: Value
    text: str = ""
    calls: tuple[str, ...] = ()


class ConstraintKind(enum.StrEnum):
    """The kind of a table constraint."""

    PRIMARY_KEY = "primary key"
    UNIQUE = "unique"
    FOREIGN_KEY = "foreign key"
    CHECK = "check"
    EXCLUDE = "exclude"
    NOT_NULL = "not null"
    """PostgreSQL 18: ``ADD CONSTRAINT ... NOT NULL column``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constraint:
    """A constraint, of a table or of one of its columns."""

    kind: ConstraintKind
    name: str | None = None
    columns: tuple[str, ...] = ()
    """The constrained columns; of a CHECK the columns that its condition names."""
    referred: Name | None = None
    """The table that a foreign key refers to."""
    not_valid: bool = False
    """NOT VALID: existing rows are not checked."""
    not_enforced: bool = False
    using_index: str | None = None
    condition: Expression | None = None
    nulls_not_distinct: bool = False
    """UNIQUE NULLS NOT DISTINCT (PostgreSQL 15): NULL is equal to NULL."""
    has_expressions: bool = False
    """MySQL: UNIQUE has a part that is an expression, which *columns* leaves out."""
    included: tuple[str, ...] = ()
    """PostgreSQL: the columns of INCLUDE."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """The definition of a column."""

    name: str
    type: SqlType | None
    """None: the definition has no type (SQLite), or a generated column leaves it out."""
    nullable: bool = True
    """False for NOT NULL and for a column of a PRIMARY KEY in the definition."""
    default: Expression | None = None
    """None: there is no DEFAULT clause."""
    on_update: bool = False
    """MySQL and MariaDB: ON UPDATE CURRENT_TIMESTAMP."""
    generated: Expression | None = None
    stored: bool = False
    """True: the generated value is stored."""
    identity: bool = False
    """True: AUTO_INCREMENT, serial, or GENERATED ... AS IDENTITY."""
    constraints: tuple[Constraint, ...] = ()
    """PRIMARY KEY, UNIQUE, CHECK and REFERENCES in the definition; their ``columns`` is this column."""
    collation: str | None = None
    comment: str | None = None
    invisible: bool = False
    """MySQL and MariaDB: INVISIBLE."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """The definition of an index; *columns*: None stands for an expression."""

    name: str | None
    columns: tuple[str | None, ...] = ()
    unique: bool = False
    concurrently: bool = False
    where: Expression | None = None
    expressions: tuple[Expression, ...] = ()
    """The expressions for which *columns* has None, in order."""
    nulls_not_distinct: bool = False
    """NULLS NOT DISTINCT (PostgreSQL 15): NULL is equal to NULL."""
    method: str | None = None
    """btree, gin, fulltext, spatial, vector and so on, in lower case; None: not given."""
    included: tuple[str, ...] = ()
    """PostgreSQL: the columns of INCLUDE."""
    operator_classes: tuple[str, ...] = ()
    """PostgreSQL: the operator classes that are given."""
