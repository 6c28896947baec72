"""Compares the tables that Alembic's batch mode copies on SQLite, and refuses a copy with losses.

Batch mode creates ``_alembic_tmp_t``, copies the rows, drops ``t`` and renames the copy. The definition of
``t`` before the first copy of a revision and its definition at the end of the revision are compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects.facets.revisions import TEMPORARY_PREFIX, TableCopy
from online_migrate.sql import sqlite_table

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class OriginalTable:
    """The definition of a table before batch mode drops it and renames its copy."""

    name: str
    sql: str
    columns: frozenset[str]
    indexes: Mapping[str, str]
    """Name -> CREATE INDEX statement."""
    triggers: tuple[str, ...]
    """The CREATE TRIGGER statements, in the order of their creation."""


class BatchGuard:
    """Records the tables that one revision copies, and finds what the copies have lost."""

    def __init__(self) -> None:
        self._originals: dict[str, OriginalTable] = {}
        self._renamed: dict[str, dict[str, str]] = {}
        self._dropped_indexes: set[str] = set()

    def before_statement(self, connection: Connection, words: Sequence[str], statement: str) -> None:
        """Stores the definition of a table that *statement* drops in favour of its copy.

        *words*: the words of *statement*. Renamed columns and dropped indexes are recorded as well.
        """
        verb = [word.upper() for word in words[:2]]
        if verb == ["INSERT", "INTO"] and words[2].startswith(TEMPORARY_PREFIX):
            self._note_renames(
                words[2].removeprefix(TEMPORARY_PREFIX), sqlite_table.copied_columns(statement)
            )
        elif verb == ["DROP", "INDEX"]:
            self._dropped_indexes.add(words[-1].lower())
        elif verb == ["DROP", "TABLE"] and len(words) == 3:
            copy = _definition(connection, f"{TEMPORARY_PREFIX}{words[2]}")
            if copy is not None and words[2] not in self._originals:
                self._originals[words[2]] = _read(connection, words[2])

    def table_copy(self, connection: Connection, table: str) -> TableCopy | None:
        """Returns the definitions of *table* and of its copy; None if it has no copy."""
        original, copy = (_definition(connection, name) for name in (table, f"{TEMPORARY_PREFIX}{table}"))
        if original is None or copy is None:
            return None
        return TableCopy(original, copy, self._renamed.get(table, {}), indexes_of(connection, table))

    def triggers_of(self, table: str) -> tuple[str, ...]:
        """Returns the CREATE TRIGGER statements of a table that was dropped in favour of its copy."""
        original = self._originals.get(table)
        return () if original is None else original.triggers

    def refuse_losses(self, connection: Connection, accepted: Collection[str]) -> None:
        """Raises :class:`~online_migrate.exceptions.BatchLosses` if a copy has losses that are not declared.

        *accepted*: the losses that the script declares, each as the error lists it.
        """
        for name, original in self._originals.items():
            sql = _definition(connection, name)
            if sql is None:
                continue  # The revision drops the table.
            lost = [one for one in self._losses(connection, original, sql) if one not in accepted]
            if lost:
                raise exceptions.BatchLosses(table=name, losses="; ".join(lost), declared=repr(tuple(lost)))

    def _note_renames(self, table: str, copied: Mapping[str, str]) -> None:
        before = self._renamed.get(table, {})
        chained = {old: copied.get(new, new) for old, new in before.items()}
        self._renamed[table] = {**copied, **chained}

    def _losses(self, connection: Connection, original: OriginalTable, sql: str) -> list[str]:
        renamed = self._renamed.get(original.name, {})
        gone = {renamed.get(one, one) for one in original.columns} - _columns(connection, original.name)
        try:
            before = sqlite_table.features_of_table(original.sql, renamed)
            kept = {feature.text for feature in sqlite_table.features_of_table(sql)}
            lost = [one.text for one in before if one.text not in kept and not one.columns & gone]
            return lost + self._lost_indexes(connection, original, gone)
        except ValueError as error:
            return [f"unknown: its definition cannot be read ({error})"]

    def _lost_indexes(self, connection: Connection, original: OriginalTable, gone: set[str]) -> list[str]:
        """Returns the lost indexes on expressions.

        Other indexes are reflected and copied: a missing one was dropped by the script.
        """
        here = indexes_of(connection, original.name)
        return [
            f"index {name}"
            for name, sql in original.indexes.items()
            if name not in here
            and name.lower() not in self._dropped_indexes
            and sqlite_table.index_on_expression(sql)
            and not sqlite_table.names_in(sql) & gone
        ]


def _read(connection: Connection, table: str) -> OriginalTable:
    triggers = connection.execute(
        sa.text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :t ORDER BY rowid"),
        {"t": table},
    )
    return OriginalTable(
        name=table,
        sql=_definition(connection, table) or "",
        columns=frozenset(_columns(connection, table)),
        indexes=indexes_of(connection, table),
        triggers=tuple(triggers.scalars()),
    )


def _definition(connection: Connection, table: str) -> str | None:
    query = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :t")
    sql: str | None = connection.scalar(query, {"t": table})
    return sql


def _columns(connection: Connection, table: str) -> set[str]:
    rows = connection.execute(sa.text("SELECT name FROM pragma_table_xinfo(:t)"), {"t": table})
    return {str(name).lower() for (name,) in rows}


def indexes_of(connection: Connection, table: str) -> dict[str, str]:
    """Returns name -> CREATE INDEX statement of each index of a table that a statement has created."""
    query = sa.text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :t AND sql IS NOT NULL"
    )
    return {str(name): str(sql) for name, sql in connection.execute(query, {"t": table})}
