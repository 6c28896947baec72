"""A statement that writes rows, with its parameters, and its execution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.driver_errors import DATABASE_ERRORS, driver_error_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_INCORRECT_VALUE = 1292
_ZERO_MODES = frozenset({"NO_ZERO_DATE", "NO_ZERO_IN_DATE", "TRADITIONAL"})


@dataclasses.dataclass(frozen=True)
class Versions:
    """The versions at which the rows must still be when they are written."""

    expression: Callable[[str], str]
    """Returns the SQL expression of a row's version; the argument is the name or alias of the table."""
    expected: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Write:
    """A statement that writes rows, and its parameters."""

    statement: sa.Executable | str
    parameters: Any

    def execute(self, connection: Connection) -> int:
        """Executes the statement; returns the number of written rows, below 0 if the driver has none."""
        if isinstance(self.statement, str):
            return int(connection.exec_driver_sql(self.statement, self.parameters).rowcount)
        return int(connection.execute(self.statement, self.parameters).rowcount)


@dataclasses.dataclass(frozen=True)
class WriteOfZeroDates(Write):
    """MySQL: a write that also accepts stored zero dates such as 0000-00-00.

    Such dates were stored before the server's ``sql_mode`` refused them. An UPDATE of a join refuses them
    even if the column is set to itself. After such an error the statement is repeated once with a
    ``sql_mode`` that allows zero dates; any other invalid value is refused again.
    """

    def execute(self, connection: Connection) -> int:
        try:
            return super().execute(connection)
        except DATABASE_ERRORS as error:
            inner = driver_error_of(error)
            if inner is None or inner.args[:1] != (_INCORRECT_VALUE,) or "-00" not in str(inner):
                raise
        modes = str(connection.exec_driver_sql("SELECT @@SESSION.sql_mode").scalar())
        kept = ",".join(mode for mode in modes.split(",") if mode not in _ZERO_MODES)
        connection.exec_driver_sql(f"SET SESSION sql_mode = '{kept}'")
        try:
            return super().execute(connection)
        finally:
            if not connection.invalidated:
                connection.exec_driver_sql(f"SET SESSION sql_mode = '{modes}'")


def execute(connection: Connection, writes: Iterable[Write]) -> int:
    """Executes the writes; returns the number of rows written, below 0 if the driver does not count."""
    written = 0
    for write in writes:
        count = write.execute(connection)
        if count < 0:
            return count
        written += count
    return written
