"""A sync as ``prove`` sees it: the two shapes of a row, and a row that a version has written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from online_migrate.state import RecordedSync

Name = tuple[str, str]
"""A table and a column, in a form in which two names of one column are equal."""
Values = Mapping[Name, "sa.BindParameter[Any]"]


@dataclasses.dataclass(frozen=True)
class Write:
    """A row that a version has inserted or updated."""

    inserted: bool
    columns: frozenset[Name]
    """The columns that the version has set."""
    key: Values
    """The primary key, in each table of the mapped class."""
    known: Values
    """The primary key, and the values that were set."""


@dataclasses.dataclass(frozen=True)
class Assigned:
    """Columns that a trigger may have assigned, in the rows with *key*; empty: in any row."""

    columns: frozenset[Name]
    key: Values


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape of a row.

    *columns*: those that a trigger reads or assigns. *keys*: those that pair it with the other table; empty:
    both shapes are in one table.
    """

    table: sa.Table
    columns: frozenset[Name]
    assigned: frozenset[Name]
    keys: tuple[Name, ...]


@dataclasses.dataclass(frozen=True)
class Sync:
    """A recorded sync. *tables*: its one table, or both, that of the old shape first."""

    recorded: RecordedSync
    tables: tuple[sa.Table, ...]
    old: Shape
    new: Shape

    def written(self, write: Write) -> tuple[Shape, Shape] | None:
        """Returns the shape that was written and the other one; None: none was, or both."""
        old, new = write.columns & self.old.columns, write.columns & self.new.columns
        if bool(old) is bool(new):
            return None
        return (self.old, self.new) if old else (self.new, self.old)
