"""The base class of all kinds of data migration, and the protocol of a kind.

A kind is a subclass of :class:`DataMigration` in a file of its own, which has both what a user writes and how
it is executed. The engine asks a kind for capabilities and calls its methods; it never asks for its type.

There are two ways to execute a kind:

* In chunks, which is the default. The engine walks the table by a key. For each chunk it calls
  :meth:`DataMigration.prepare`, which may read rows and call a function of the user, and locks nothing; then
  :meth:`DataMigration.apply`, in the transaction that also advances the checkpoint.
* By calls, if :attr:`DataMigration.commits_by_itself`. The engine calls the function that
  :meth:`DataMigration.open_calls` returns, until it finds no more rows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.kinds.result import ChunkResult, UpdateResult
from online_migrate.kinds.subject import ExpressionBuilder, PendingLike, Subject, reflect
from online_migrate.kinds.table_argument import TableLike, table_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.kinds.bound import BoundMigration
    from online_migrate.kinds.command_database import CommandDatabase
    from online_migrate.kinds.prepared import PreparedRows, ReadSession
    from online_migrate.walk.chunk import Chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataMigration:
    """The base class of all kinds.

    *table*: a name or a ``sa.table(...)``, which are reflected so that the types are right, or a typed
    ``sa.Table`` or a mapped class.
    *revision*: the expand revision (or the beginning of its id) that must be applied before.
    *after*: names of data migrations that must be complete before.
    *pending*: a row is pending while this is true or NULL; without it no gate opens.
    *verify*: a condition that must hold for each migrated row.
    *release*: the release that the data migration belongs to.
    *removable_in*: the release in which its code may be replaced by a
    :class:`~online_migrate.kinds.removed.Removed`; ``lint`` says when that is.
    *touch*: if true, columns that change automatically with every UPDATE of a row (``ON UPDATE
    CURRENT_TIMESTAMP``, or a typed table's ``onupdate``) do so; by default their values are preserved.
    """

    kind: ClassVar[str] = ""
    """The name of the kind, in reports."""
    commits_by_itself: ClassVar[bool] = False
    """True if it is executed by calls that commit by themselves; False if its table is walked in chunks."""
    prepares_rows: ClassVar[bool] = False
    """True if :meth:`prepare` reads the rows of a chunk before the chunk is written."""
    may_remove_rows: ClassVar[bool] = False
    """True if it may delete rows or move them to another table. Such rows cannot be counted in the table;
    they are counted from the record."""
    needs_record: ClassVar[bool] = True
    """True if the gate is closed until a run of it was recorded; False if the count of its rows is enough."""
    max_chunk_rows: ClassVar[int] = 100_000
    """The maximum number of rows of a chunk."""

    table: TableLike | None = None
    revision: str | None = None
    name: str = ""
    after: tuple[str, ...] = ()
    release: str | None = None
    removable_in: str | None = None
    pending: PendingLike = None
    verify: PendingLike = None
    touch: bool = False
    path: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", table_of(self.table))
        if isinstance(self.after, str):
            object.__setattr__(self, "after", (self.after,))
        else:
            object.__setattr__(self, "after", tuple(self.after))

    # --- definition ------------------------------------------------------------------------------

    @property
    def has_pending(self) -> bool:
        """True if the data migration has a ``pending`` expression."""
        return self.pending is not None

    def subject(self, connection: Connection) -> Subject:
        """Returns the reflected table, with the expressions built for it.

        Raises :class:`~online_migrate.exceptions.PendingUnreadable` if the table, or a column that an
        expression names, does not exist; :class:`~online_migrate.exceptions.DataMigrationBroken` if there is
        no table, or if the table or an expression is of a wrong type.
        """
        build = self.expressions_of(reflect(connection, self.name, self.table))
        return Subject(
            table=build.table,
            pending=build.condition("pending", self.pending),
            verify=build.condition("verify", self.verify),
        )

    def expressions_of(self, table: sa.Table) -> ExpressionBuilder:
        """Returns the builder of the user's expressions for the live *table*."""
        return ExpressionBuilder(self.name, self.table, table)

    def expressions_set(self, table: sa.Table) -> Mapping[str, Any]:
        """Returns the columns of *table* that are set to SQL expressions, with the expressions.

        Empty for a kind that calls a Python function. Raises
        :class:`~online_migrate.exceptions.DataMigrationBroken` or
        :class:`~online_migrate.exceptions.PendingUnreadable` like :meth:`check`.
        """
        return {}

    def check(self, table: sa.Table) -> None:
        """Checks the definition for the live *table*, before any data migration changes a row.

        Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if it is not valid, or
        :class:`~online_migrate.exceptions.PendingUnreadable` if a column does not exist.
        """

    def plan_sql(self, connection: Connection) -> str | None:
        """Returns the SQL that ``plan`` shows, for all rows; None if a Python function is called.

        Raises :class:`~online_migrate.exceptions.PendingUnreadable` if the table, or a column that an
        expression names, does not exist.
        """
        return None

    @property
    def next_command(self) -> str:
        """The command that migrates the pending rows, for hints."""
        return f"online-migrate migrate {self.name}"

    # --- execution in chunks ---------------------------------------------------------------------

    def columns_read(self, table: sa.Table) -> Sequence[sa.Column[Any]]:
        """Returns the columns of the live *table* that :meth:`prepare` reads.

        Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if one of them does not exist.
        """
        return ()

    def prepare(self, session: ReadSession, bound: BoundMigration, chunk: Chunk) -> PreparedRows | None:
        """Reads the rows of *chunk* and calls the user's function for them. Locks no row.

        The result is a guess: a row may change before the chunk is written. Returns None if nothing is to be
        read before. Raises :class:`~online_migrate.kinds.result.UserError`.
        """
        return None

    def apply(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> ChunkResult:
        """Migrates the pending rows of *chunk*, in the open transaction of *connection*.

        *prepared*: the result of :meth:`prepare`. Raises :class:`~online_migrate.kinds.result.UserError` if
        the user's code raises, and :class:`~online_migrate.kinds.result.RowsChanged` if rows that were not
        locked have changed.
        """
        raise exceptions.DataMigrationBroken(
            name=self.name, reason=f"{type(self).__name__} is not a kind that walks a table"
        )

    def supports_pipeline(self, bound: BoundMigration) -> bool:
        """Returns True if a chunk can be written before the result of the previous chunk is known."""
        return False

    def write(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> UpdateResult:
        """Writes the rows of *chunk* like :meth:`apply`, in the pipeline.

        A kind that overrides it may leave the check for rows that are still pending to the engine, which does
        it after the previous chunk is committed.
        """
        result = self.apply(connection, bound, chunk, prepared)
        return UpdateResult(result.done, none_pending=True, failed=bool(result.failures))

    # --- execution by calls ----------------------------------------------------------------------

    def open_calls(self, database: CommandDatabase) -> Callable[[int], tuple[int, int]]:
        """Returns a function of the maximum number of rows of one call, for the calls of one run.

        *database*: the database of the command, to which the user's function is bound. The result returns how
        many rows it found and how many of them it migrated, and commits by itself. It, and this method, raise
        :class:`~online_migrate.kinds.result.UserError` if the user's code raises.
        """
        raise exceptions.DataMigrationBroken(
            name=self.name, reason=f"{type(self).__name__} is not a kind that commits by itself"
        )

    def left_pending(self, pending: int) -> str:
        """Returns the error of a run whose function finds no more rows while *pending* rows are pending."""
        return f"the function finds no row, but {pending} row(s) are pending"


def named_after(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns *options* of a data migration, with the name of *function* unless they have a name."""
    while isinstance(function, functools.partial):
        function = function.func
    return {"name": getattr(function, "__name__", ""), **options}
