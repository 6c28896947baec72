"""The operations of a statement: one object for each change of a table, an index, a row and so on. Pure.

A statement is one or more operations: an ``ALTER TABLE`` has one for each action. Two readers produce them,
:mod:`.reader` from the tokens of the text, and :mod:`.pglast_reader` from the syntax tree of PostgreSQL's own
parser. A reader returns :class:`Unrecognized` for a part that it does not know; it never leaves a part out.

Names are those that the catalog stores: on PostgreSQL a name without quotes is in lower case.
"""

from __future__ import annotations

import dataclasses

from online_migrate.sql.operations.parts import (
    Column,
    Constraint,
    ConstraintKind,
    Expression,
    Index,
    Name,
    SqlType,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One change. *guarded*: IF EXISTS or IF NOT EXISTS was given.

    *words*: the names and keywords of the whole statement, in lower case; only the reader of tokens fills it.
    """

    guarded: bool = False
    words: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)


# --- tables ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateTable(Operation):
    table: Name
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    replace: bool = False
    """OR REPLACE (MariaDB): an existing table is dropped."""
    selects: bool = False
    """AS SELECT: the table is filled by a query."""
    partition_of: Name | None = None
    """PostgreSQL: PARTITION OF; also the first parent of INHERITS."""
    inherits: bool = False
    """PostgreSQL: INHERITS."""
    temporary: bool = False
    like: Name | None = None
    """LIKE: the table whose definition is copied."""
    partitioned: bool = False
    """PARTITION BY."""
    foreign: bool = False
    """Its rows may be those of another table: ENGINE=FEDERATED, or a virtual table of SQLite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropTable(Operation):
    table: Name


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenameTable(Operation):
    table: Name
    new: Name


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetTableOption(Operation):
    """A property of a table without effect on its rows, for example a comment or a storage parameter.

    *option*: in lower case: comment, engine, row_format, auto_increment, storage parameters, row level
    security, replica identity, owner, schema, tablespace, charset and so on. *value*: as written.
    """

    table: Name
    option: str
    value: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangePartitions(Operation):
    """*action*: add, drop, truncate, exchange, reorganize, attach, detach, partition by, remove and so on."""

    table: Name
    action: str
    partition: Name | None = None
    concurrently: bool = False


# --- columns --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddColumn(Operation):
    table: Name
    column: Column
    positioned: bool = False
    """MySQL and MariaDB: FIRST or AFTER was given."""
    combined: bool = False
    """MySQL and MariaDB: the same ALTER TABLE does more than to add virtual columns."""
    by_copy: bool = False
    """SQLite: the column is a part of a copy of the table, not of ALTER TABLE."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropColumn(Operation):
    table: Name
    column: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenameColumn(Operation):
    table: Name
    column: str
    new: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RedefineColumn(Operation):
    """MODIFY or CHANGE of MySQL and MariaDB: *column* replaces the whole definition of *old*."""

    table: Name
    old: str
    column: Column
    positioned: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetColumnType(Operation):
    table: Name
    column: str
    type: SqlType
    using: Expression | None = None
    collation: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetNotNull(Operation):
    table: Name
    column: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropNotNull(Operation):
    table: Name
    column: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetDefault(Operation):
    """*default*: None for DROP DEFAULT."""

    table: Name
    column: str
    default: Expression | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetColumnOption(Operation):
    """*option*: in lower case: comment, statistics, storage, visible, invisible, identity, drop identity,
    drop expression, compression and so on."""

    table: Name
    column: str
    option: str
    value: str | None = None


# --- constraints and indexes ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddConstraint(Operation):
    table: Name
    constraint: Constraint


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropConstraint(Operation):
    """*kind*: None if the statement does not say it; *name*: None for DROP PRIMARY KEY."""

    table: Name
    name: str | None
    kind: ConstraintKind | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidateConstraint(Operation):
    table: Name
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlterConstraint(Operation):
    """*change*: as written in lower case: deferrable, not enforced, rename and so on."""

    table: Name
    name: str
    change: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateIndex(Operation):
    table: Name
    index: Index


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropIndex(Operation):
    """*table*: None where the statement does not name it (PostgreSQL, SQLite)."""

    index: Name
    table: Name | None = None
    concurrently: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlterIndex(Operation):
    """*change*: rename, visible, invisible, ignored, attach partition, storage parameters and so on."""

    index: Name
    change: str
    table: Name | None = None


# --- other objects --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateView(Operation):
    """*columns*: the names of the columns in the select list, None where they are not known (``*``)."""

    view: Name
    replace: bool = False
    materialized: bool = False
    temporary: bool = False
    columns: tuple[str, ...] | None = None
    calls: tuple[str, ...] = ()
    """The functions of its query that are not known to be harmless."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateTrigger(Operation):
    """*body*: the text of the trigger, or of the call of its function."""

    trigger: Name
    table: Name | None
    replace: bool = False
    body: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateRoutine(Operation):
    routine: Name
    replace: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateObject(Operation):
    """*kind*: in lower case: sequence, type, domain, schema, extension, statistics, collation, database,
    role, policy, rule, event, publication and so on. *of_account*: the statement names a schema after its
    owner (PostgreSQL). *enum*: the type is an enumeration. *evaluates*: statistics are on an expression."""

    kind: str
    object: Name
    table: Name | None = None
    of_account: bool = False
    enum: bool = False
    evaluates: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropObject(Operation):
    """*kind*: like :class:`CreateObject`, and view, materialized view, trigger, function, procedure."""

    kind: str
    object: Name
    table: Name | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlterObject(Operation):
    """*change*: in lower case, for example owner, rename, set schema, restart, options.

    *owner*: the table and the column of OWNED BY.
    """

    kind: str
    object: Name
    change: str = ""
    owner: tuple[Name, str] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddEnumValue(Operation):
    """PostgreSQL: ALTER TYPE ... ADD VALUE. *neighbour*: the value of BEFORE or AFTER."""

    type: Name
    value: str
    neighbour: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommentOn(Operation):
    kind: str
    object: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangePrivileges(Operation):
    """GRANT or REVOKE. *takes_away*: REVOKE."""

    takes_away: bool


# --- statements that do not change the schema -----------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeRows(Operation):
    """*verb*: insert, update, delete, replace, merge, truncate, copy, load."""

    verb: str
    table: Name | None
    calls: tuple[str, ...] = ()
    selects: bool = False
    """INSERT ... SELECT: the rows are those of a query."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query(Operation):
    """A statement that reads. *calls*: functions that are not known to be harmless."""

    calls: tuple[str, ...] = ()
    locks_rows: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeSession(Operation):
    """SET and PRAGMA of a session. *setting*: in lower case."""

    setting: str
    harmless: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlTransaction(Operation):
    """BEGIN, COMMIT, ROLLBACK, SAVEPOINT, LOCK TABLE and so on; *verb* in lower case."""

    verb: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maintain(Operation):
    """*verb*: analyze, vacuum, vacuum full, reindex, optimize, cluster, refresh, checkpoint.

    It changes no definition.
    """

    verb: str
    object: Name | None = None
    concurrently: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCode(Operation):
    """DO, CALL, EXECUTE, PREPARE of a text: its effect cannot be read from the statement."""

    verb: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unrecognized(Operation):
    """A part of the statement that the reader does not know; *what*: its first words; *why*: if there is more
    to say than that."""

    what: str
    why: str = ""
