"""What uses a column or a table on MySQL and MariaDB: views and triggers keep the old name, and then fail."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.facets.soaks import REFUSES_ROWS, RequiredColumn, Soaks, Use
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.query import rows
from online_migrate.sql.lexer import Sort, Token, successful_readings
from online_migrate.sql.soaked import SoakedObject, quoted
from online_migrate.sql.statement import identifiers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_VIEWS = """
    SELECT table_schema AS place, table_name AS name, view_definition AS body FROM information_schema.views
    WHERE table_schema NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema')
"""
_TRIGGERS = """
    SELECT trigger_name AS name, action_statement AS body,
           event_object_schema = COALESCE(:schema, DATABASE()) AND event_object_table = :table AS own
    FROM information_schema.triggers
    WHERE trigger_schema NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema')
"""
_FOREIGN_KEYS = """
    SELECT DISTINCT constraint_name AS name, table_name AS child FROM information_schema.key_column_usage
    WHERE referenced_table_schema = COALESCE(:schema, DATABASE()) AND referenced_table_name = :table
      AND (:column IS NULL OR referenced_column_name = :column) AND table_name <> :table
"""
_GENERATED = """
    SELECT column_name AS name, generation_expression AS body FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND generation_expression <> '' AND column_name <> :column
"""
_DEFAULTS = """
    SELECT column_name AS name, column_default AS body FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND extra LIKE '%DEFAULT_GENERATED%' AND column_name <> :column
"""
_INDEXES = """
    SELECT DISTINCT index_name AS name, expression AS body FROM information_schema.statistics
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND expression IS NOT NULL
"""
_PARTITIONS = """
    SELECT DISTINCT table_name AS name, CONCAT_WS(', ', partition_expression, subpartition_expression) AS body
    FROM information_schema.partitions
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND partition_expression IS NOT NULL
"""
_CHECKS = """
    SELECT c.constraint_name AS name, c.check_clause AS body
    FROM information_schema.check_constraints c JOIN information_schema.table_constraints t
      ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name
    WHERE t.table_schema = COALESCE(:schema, DATABASE()) AND t.table_name = :table
"""


class MySQLSoaks(Soaks):
    """Reads information_schema, and SHOW CREATE TABLE for the definition of a column."""

    rename_names_schema: ClassVar[bool] = True
    column_uses: ClassVar[Sequence[tuple[str, str, str]]] = (
        ("generated column", "is computed from it", _GENERATED),
        ("check constraint", REFUSES_ROWS, _CHECKS),
        ("default of column", "is computed from it", _DEFAULTS),
        ("functional index", "uses it, and MySQL does not rename such a column", _INDEXES),
        ("partitioning of table", "uses it", _PARTITIONS),
    )
    """What uses a column of its own table: the kind, the reason, and the query of names and texts."""

    def uses_of(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        facts = {"schema": subject.schema, "table": subject.table, "column": subject.column}
        found = list(self._views(connection, subject))
        found += [
            Use("trigger", row.name, "uses its name, so writes would fail")
            for row in rows(connection, _TRIGGERS, schema=subject.schema, table=subject.table)
            if self._mentions(row.body, subject, own=bool(row.own))
        ]
        found += [
            Use(
                "foreign key",
                f"{row.name} of {row.child}",
                "refers to it, and would refuse rows of new code",
                row.child,
            )
            for row in rows(connection, _FOREIGN_KEYS, **facts)
        ]
        if subject.column is not None:
            found += [
                Use(kind, row.name, reason)
                for kind, reason, query in self.column_uses
                for row in rows(connection, query, **{name: facts[name] for name in _named(query)})
                if self._mentions(row.body, subject, own=True)
            ]
        return found

    def _views(self, connection: Connection, subject: SoakedObject) -> Iterator[Use]:
        for row in rows(connection, _VIEWS):
            if not row.body:
                yield Use("view", f"{row.place}.{row.name}", "cannot be read by this user: grant SHOW VIEW")
            elif self._mentions(row.body, subject, own=False):
                yield Use("view", row.name, "uses its name, and would be invalid")

    def _mentions(self, body: str, subject: SoakedObject, *, own: bool) -> bool:
        words = {word.casefold() for word in identifiers(body, self.name)}
        if subject.column is None:
            return not own and subject.table.casefold() in words
        return subject.column.casefold() in words and (own or subject.table.casefold() in words)

    def relaxed(self, connection: Connection, subject: SoakedObject) -> RequiredColumn | Problem:
        table = ".".join(quoted(part, self.name) for part in (subject.schema, subject.table) if part)
        created = str(connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()[1])
        head = quoted(str(subject.column), self.name)
        lines = (line.strip().removesuffix(",") for line in created.splitlines())
        definition = next(line for line in lines if line.startswith(f"{head} "))
        nullable = _nullable(definition, self.name)
        change = f"ALTER TABLE {table} MODIFY COLUMN"
        return RequiredColumn(f"{change} {nullable}", f"{change} {definition}", before_lock=True)


def _named(query: str) -> list[str]:
    """Returns the names of the parameters of a query."""
    return [name for name in ("schema", "table", "column") if f":{name}" in query]


def _nullable(definition: str, server: str) -> str:
    """Returns the definition of a column without NOT NULL."""
    tokens = successful_readings(definition, server)[0]
    for first, second in itertools.pairwise(tokens):
        if (first.word, second.word) == ("NOT", "NULL") and first.sort is Sort.WORD:
            return definition[: _start(first)] + "NULL" + definition[second.end :]
    return definition


def _start(token: Token) -> int:
    return token.end - len(token.written)
