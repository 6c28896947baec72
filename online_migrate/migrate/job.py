"""A data migration on a live connection: everything about it that its workers share and nobody changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.bulk import BulkWriter
from online_migrate.evidence.pending import is_pending
from online_migrate.revision.data_migration import DataMigration, RowMigration, Subject
from online_migrate.walk.chunker import Chunker

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done, and on which table."""

    migration: DataMigration
    subject: Subject
    dialect: Dialect
    chunker: Chunker
    writer: BulkWriter
    pending: sa.ColumnElement[bool] | None
    """The condition of a pending row; None if nobody said what is pending."""
    constant: tuple[str, ...]
    """Columns that change by themselves whenever a row does, and that are to stay as they are."""

    columns: tuple[sa.Column[Any], ...]
    """What a function of a row gets to see."""
    known: frozenset[str]
    """The columns that it may set."""
    version: Callable[[str], str] | None
    """What changes, in SQL, whenever one of these columns does: of the table that is called so."""

    @property
    def largest_chunk(self) -> int:
        """Rows; those that a function of a row gets are all held in memory at once."""
        return 5_000 if isinstance(self.migration, RowMigration) else 100_000

    @property
    def name(self) -> str:
        """The data migration's."""
        return self.migration.name

    @classmethod
    def at(cls, connection: Connection, migration: DataMigration) -> Job:
        """Reflects the table; raises what is wrong with it, or with the data migration."""
        dialect = dialect_of(connection)
        subject = migration.subject(connection)
        table = subject.table
        problem = dialect.table_problem(connection, table.name, table.schema)
        if problem is not None:
            raise exceptions.Refused(reason=problem.reason, hint=problem.hint)
        chunker = Chunker(connection, table)
        constant = () if migration.touch else tuple(_self_updating(connection, dialect, table))
        pending = subject.pending
        columns = tuple(migration.read(table)) if isinstance(migration, RowMigration) else ()
        return cls(
            migration=migration,
            subject=subject,
            dialect=dialect,
            chunker=chunker,
            writer=_writer(connection, dialect, chunker, migration, constant),
            pending=None if pending is None else is_pending(pending),
            constant=constant,
            columns=columns,
            known=frozenset(table.c.keys()),
            version=_version(connection, dialect, table, columns),
        )


def _writer(
    connection: Connection,
    dialect: Dialect,
    chunker: Chunker,
    migration: DataMigration,
    constant: tuple[str, ...],
) -> BulkWriter:
    if migration.touch and any(column.onupdate is not None for column in chunker.table.c):
        # Only SQLAlchemy's own UPDATE computes what a typed table says of them.
        return BulkWriter(chunker.table, chunker.key)
    return dialect.bulk_writer(connection, chunker.table, chunker.key, constant)


def _version(
    connection: Connection, dialect: Dialect, table: sa.Table, columns: Sequence[sa.Column[Any]]
) -> Callable[[str], str] | None:
    def version(name: str) -> str:
        return dialect.row_version(connection, table, columns, name) or ""

    return version if columns and version("t") else None


def _self_updating(connection: Connection, dialect: Dialect, table: sa.Table) -> list[str]:
    by_server = dialect.self_updating_columns(connection, table)
    # Those of a typed sa.Table that SQLAlchemy would change.
    by_us = [key for key, column in table.c.items() if column.onupdate is not None]
    return sorted({*by_server, *by_us})
