"""How rows are read, compared and written without changing a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.values.exact import Codec, exact_key
from online_migrate.writers.bulk import BulkWriter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class RowAccess:
    """Gives the expressions, codecs and writers with which rows are read, found again and written."""

    row_value_ranges: ClassVar[bool] = True
    """The server uses an index on ``(a, b)`` for ``(a, b) > (1, 2)``."""
    update_returning: ClassVar[bool] = False
    """An UPDATE can be part of a query, and the query reads the rows in the state after the UPDATE."""
    enforces_length: ClassVar[bool] = True
    """The server refuses a text that is longer than its VARCHAR column."""

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        """Returns the expression by which a column of a key is read, sorted and compared.

        The three must agree: a value that was read must be found again, and must sort neither above nor
        below itself. *codec*: how the values are read and written exactly, see :meth:`value_codecs`.
        """
        return exact_key(column, codec)

    def exact_text(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Returns an expression that is equal for equal texts only: a collation may ignore letter case."""
        return sa.cast(value, sa.Text()).collate("C")

    def as_stored(
        self, value: sa.ColumnElement[Any], type_: sa.types.TypeEngine[Any]
    ) -> sa.ColumnElement[Any]:
        """Returns an expression as a column of *type_* stores it."""
        return sa.cast(value, type_)

    def index_hint(self, connection: Connection, table: sa.Table, index: str | None) -> str | None:
        """Returns the SQL hint that makes a statement on a key range use the index of its keys.

        *index*: the name of that index; None: the primary key. Returns None if there is no hint to give.
        """
        return None

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        """Returns the codecs that read and write values exactly: key of the column -> codec.

        Only for columns whose values the driver or SQLAlchemy would change during a read or a write.
        """
        return {}

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        """Returns the SQL expression of a row's version: a text that changes whenever one of *columns* does.

        *name*: the name or alias of *table* in the statement. None: the server has no such expression, and
        the rows are compared by the values that were read.
        """
        return None

    def unreadable(self, version: object) -> str | None:
        """Returns the reason why a client cannot read the values of a row exactly; None if it can.

        *version*: the version of the row, see :meth:`row_version`.
        """
        return None

    def self_updating_columns(self, connection: Connection, table: sa.Table) -> list[str]:
        """Returns the keys of the columns that the server changes by itself whenever a row is updated."""
        return []

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        """Returns the fastest writer of different values into many rows; see
        :mod:`online_migrate.writers.bulk`.

        *key*: the expressions of the key. *constant*: the keys of the columns that the UPDATE sets to
        themselves, so that the server does not change them, see :meth:`self_updating_columns`. *hint*: the
        hint that makes the server find the rows by their key, see :meth:`index_hint`.
        """
        return BulkWriter(table, key, constant)

    def text_encoding(self, connection: Connection) -> str:
        """Returns Python's name of an encoding whose characters can all be stored in the database."""
        return "utf-8"
