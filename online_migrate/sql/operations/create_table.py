"""Reads CREATE TABLE. Pure."""

from __future__ import annotations

import dataclasses

from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.operations.columns import Draft, read_column, take_clauses
from online_migrate.sql.operations.constraints import (
    CONSTRAINTS,
    read_constraint,
    read_mysql_index,
    starts_mysql_index,
)
from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.operation import CreateTable, Operation, Query, SetTableOption
from online_migrate.sql.operations.parts import Column, Constraint, Index, Name
from online_migrate.sql.operations.rows import read_query
from online_migrate.sql.operations.table_options import take_mysql_option


@dataclasses.dataclass
class _Body:
    """The elements between the parentheses."""

    columns: list[Column] = dataclasses.field(default_factory=list)
    constraints: list[Constraint] = dataclasses.field(default_factory=list)
    indexes: list[Index] = dataclasses.field(default_factory=list)
    like: Name | None = None

    def read(self, cursor: Cursor, *, typed: bool = True) -> None:
        """Consumes the parentheses; *typed*: columns have types."""
        inside = cursor.group()
        if not inside:
            return  # PostgreSQL: a table without columns
        for part in inside.split():
            self._element(part, typed)
            part.end()

    def _element(self, part: Cursor, typed: bool) -> None:
        if part.server in ("postgresql", *MYSQL) and part.take("LIKE"):
            self.like = part.path()
            while part.any_of("INCLUDING", "EXCLUDING"):
                part.name()
        elif starts_mysql_index(part):
            self.indexes.append(read_mysql_index(part))
        elif part.next in CONSTRAINTS:
            self.constraints.append(read_constraint(part))
        elif typed:
            self.columns.append(read_column(part))
        else:
            draft = Draft(part.name())
            part.take("WITH", "OPTIONS")
            take_clauses(part, draft)
            self.columns.append(draft.column())


def create_table(cursor: Cursor, *, temporary: bool, replace: bool) -> tuple[Operation, ...]:
    """Returns the operations of a CREATE TABLE; *cursor* is after TABLE."""
    guarded = cursor.guard()
    table = cursor.path()
    body = _Body()
    parent: Name | None = None
    if cursor.server == "postgresql" and cursor.take("PARTITION", "OF"):
        parent = cursor.path()
        if cursor.next == "(":
            body.read(cursor, typed=False)
        _take_bounds(cursor)
    elif cursor.server in MYSQL and cursor.take("LIKE"):
        body.like = cursor.path()
    elif cursor.next == "(" and not _is_query(cursor.word(1)):
        _read_body(cursor, body)
    created = CreateTable(
        table=table,
        columns=tuple(body.columns),
        constraints=tuple(body.constraints),
        indexes=tuple(body.indexes),
        replace=replace,
        partition_of=parent,
        temporary=temporary,
        like=body.like,
        guarded=guarded,
    )
    return _TAILS[cursor.server](cursor, created)


def _is_query(word: str) -> bool:
    return word in ("SELECT", "WITH", "VALUES", "(")


def _read_body(cursor: Cursor, body: _Body) -> None:
    if cursor.server == "postgresql" and _is_list_of_names(cursor):
        cursor.names_in_group()  # CREATE TABLE t (a, b) AS SELECT
    else:
        body.read(cursor)


def _is_list_of_names(cursor: Cursor) -> bool:
    parts = Cursor(cursor.rest, cursor.server).parts()
    return all(len(part.tokens) == 1 and part.names for part in parts)


def _take_bounds(cursor: Cursor) -> None:
    """Consumes the values of a partition: FOR VALUES ... or DEFAULT."""
    if cursor.take("DEFAULT"):
        return
    cursor.expect("FOR", "VALUES")
    if cursor.any_of("IN", "FROM", "WITH") == "FROM":
        cursor.group()
        cursor.expect("TO")
    cursor.group()


def create_virtual_table(cursor: Cursor) -> tuple[Operation, ...]:
    """Returns the operation of a CREATE VIRTUAL TABLE of SQLite; *cursor* is after TABLE."""
    guarded = cursor.guard()
    table = cursor.path()
    cursor.expect("USING")
    foreign = cursor.name().lower() not in _VIRTUAL
    if cursor.next == "(":
        cursor.group()
    return (CreateTable(table=table, foreign=foreign, guarded=guarded),)


_VIRTUAL = frozenset({"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"})
"""Modules of SQLite's virtual tables that write to no table of another name."""


def _filled(created: CreateTable, query: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of a table that is filled by a query."""
    if query.next == "EXECUTE":
        raise query.fail()
    return (dataclasses.replace(created, selects=True), *read_filling(query))


def read_filling(query: Cursor) -> tuple[Operation, ...]:
    """Returns the operations of the query that fills a table or a view; empty if it only reads."""
    found = read_query(_without_data(query) if query.server == "postgresql" else query)
    return () if found == (Query(),) else found


# --- what follows the parentheses -----------------------------------------------------------------


def _postgresql_tail(cursor: Cursor, created: CreateTable) -> tuple[Operation, ...]:
    parents: list[Name] = []
    while cursor and cursor.next != "AS":
        if cursor.take("INHERITS"):
            parents = cursor.group().paths()
            created = dataclasses.replace(created, partition_of=parents[0], inherits=True)
        elif cursor.take("PARTITION", "BY"):
            if not cursor.any_of("RANGE", "LIST", "HASH"):
                raise cursor.fail()
            cursor.group()
            created = dataclasses.replace(created, partitioned=True)
        else:
            _take_storage(cursor)
    if cursor.take("AS"):
        return _filled(created, cursor.remainder())
    more = [SetTableOption(table=created.table, option="inherit", value=str(name)) for name in parents[1:]]
    return (created, *more)


def _take_storage(cursor: Cursor) -> None:
    if cursor.take("WITHOUT", "OIDS"):
        return
    if cursor.take("ON", "COMMIT"):
        if not (cursor.take("DELETE", "ROWS") or cursor.take("PRESERVE", "ROWS") or cursor.take("DROP")):
            raise cursor.fail()
    elif cursor.any_of("USING", "TABLESPACE"):
        cursor.name()
    else:
        cursor.expect("WITH")
        cursor.group()


def _without_data(cursor: Cursor) -> Cursor:
    """Returns the query without WITH DATA and WITH NO DATA at its end."""
    words = [token.word for token in cursor.rest]
    for end in (["WITH", "NO", "DATA"], ["WITH", "DATA"]):
        if words[-len(end) :] == end:
            return Cursor(cursor.rest[: -len(end)], cursor.server)
    return Cursor(cursor.rest, cursor.server)


def _mysql_tail(cursor: Cursor, created: CreateTable) -> tuple[Operation, ...]:
    while cursor:
        if cursor.take("PARTITION", "BY"):
            created = dataclasses.replace(created, partitioned=True)
            _take_partitions(cursor)
        elif cursor.next in ("AS", "IGNORE", "REPLACE") or _is_query(cursor.next):
            cursor.any_of("IGNORE", "REPLACE")
            cursor.take("AS")
            return _filled(created, cursor.remainder())
        else:
            option, value = take_mysql_option(cursor)
            foreign = option == "engine" and value.strip("`").lower() not in _OWN_ROWS
            created = dataclasses.replace(created, foreign=created.foreign or foreign)
            cursor.take(",")
    return (created,)


_OWN_ROWS = frozenset(
    {"innodb", "myisam", "aria", "memory", "heap", "archive", "csv", "rocksdb", "ndbcluster"}
)
"""Engines that store the rows of a table in the table itself."""


def _take_partitions(cursor: Cursor) -> None:
    """Consumes the definition of partitions, up to the query that fills the table."""
    while cursor and cursor.next not in ("SELECT", "AS", "IGNORE", "REPLACE", "WITH"):
        if cursor.next == "(":
            cursor.group()
        else:
            cursor.token()


def _sqlite_tail(cursor: Cursor, created: CreateTable) -> tuple[Operation, ...]:
    if cursor.take("AS"):
        return _filled(created, cursor.remainder())
    while cursor:
        if not (cursor.take("WITHOUT", "ROWID") or cursor.take("STRICT")):
            raise cursor.fail()
        cursor.take(",")
    return (created,)


_TAILS = {
    "postgresql": _postgresql_tail,
    "mysql": _mysql_tail,
    "mariadb": _mysql_tail,
    "sqlite": _sqlite_tail,
}
