"""The kind that sets columns to SQL expressions: one UPDATE statement for each chunk."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import is_pending
from online_migrate.kinds.result import ChunkResult, UpdateResult, call_user_code
from online_migrate.kinds.subject import ValuesLike

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from online_migrate.kinds.bound import BoundMigration
    from online_migrate.kinds.prepared import PreparedRows
    from online_migrate.walk.chunk import Chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backfill(DataMigration):
    """Sets columns to SQL expressions: one UPDATE statement for each chunk.

    *values*: a mapping of column name to SQL expression (or plain value), or a function of the table that
    returns such a mapping.
    """

    kind: ClassVar[str] = "backfill"
    values: ValuesLike

    def values_for(self, table: sa.Table) -> Mapping[str, Any]:
        """Returns the columns to set and their values, for the live *table*.

        Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if ``values`` is not a mapping, or
        names a column that does not exist.
        """
        return self.expressions_of(table).values(self.values)

    def expressions_set(self, table: sa.Table) -> Mapping[str, Any]:
        return self.values_for(table)

    def check(self, table: sa.Table) -> None:
        self.values_for(table)

    def plan_sql(self, connection: Connection) -> str:
        subject = self.subject(connection)
        update = sa.update(subject.table).values(dict(self.values_for(subject.table)))
        if subject.pending is not None:
            update = update.where(is_pending(subject.pending))
        return _literal(connection, update)

    def supports_pipeline(self, bound: BoundMigration) -> bool:
        return True

    def write(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> UpdateResult:
        where = f"{self.name} ({chunk})"
        statements = bound.once(self._statements)
        if bound.pending is None or not bound.dialect.update_returning:
            found = call_user_code(where, statements.update_chunk.execute, connection, chunk)
            return UpdateResult(found.rowcount, bound.pending is None)
        # One pass over the rows instead of two: the UPDATE itself returns how many are still pending.
        returning = statements.update_returning
        counts: Any = call_user_code(where, lambda: returning.execute(connection, chunk).one())
        done, still = counts
        return UpdateResult(done, not still)

    def apply(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> ChunkResult:
        written = self.write(connection, bound, chunk, prepared)
        left = bound.still_pending(connection, chunk, written)
        if not left:
            return ChunkResult(written.done, {})
        # Either the UPDATE does not make these rows non-pending, or another session wrote them after it. A
        # second UPDATE by key locks them: a row that is pending after that is pending because of the UPDATE
        # itself.
        assert bound.pending is not None
        named = bound.chunker.key_in(left)
        connection.execute(self.update(bound).where(named, bound.pending))
        failures = bound.pending_failures(connection, chunk, left)
        resolved = len(left) - len(failures)
        return ChunkResult(max(0, written.done - len(failures)) + resolved, failures)

    def update(self, bound: BoundMigration) -> sa.Update:
        """Returns the UPDATE of rows without a condition. The caller adds the condition of the rows."""
        return bound.once(self._statements).update

    def _statements(self, bound: BoundMigration) -> _Statements:
        return _Statements(bound, self.values_for(bound.subject.table))


class _Statements:
    """The UPDATEs of a :class:`Backfill`, built once for a run."""

    def __init__(self, bound: BoundMigration, values: Mapping[str, Any]) -> None:
        table, pending = bound.subject.table, bound.pending
        preserved = {name: table.c[name] for name in bound.preserved_columns if name not in values}
        self.update = sa.update(table).values(preserved | dict(values))
        """The UPDATE without a condition; the caller adds the condition of the rows."""
        self.update_chunk = bound.chunk_statement(self.update.where)
        """The UPDATE of the pending rows of a chunk."""

        def returning(where: sa.ColumnElement[bool]) -> sa.Executable:
            assert pending is not None
            moved = self.update.where(where).returning(pending.label("p")).cte("moved")
            still = sa.func.count().filter(moved.c.p)
            return sa.select(sa.func.count(), still).select_from(moved)

        self.update_returning = bound.chunk_statement(returning)
        """The same, where :attr:`~online_migrate.dialects.Dialect.update_returning`.

        It returns the number of updated rows, and the number of those that are still pending.
        """


def _literal(connection: Connection, statement: sa.Update) -> str:
    try:
        compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    except (NotImplementedError, sa.exc.CompileError):
        # The type of a value has no literal form; the placeholder is printed instead.
        compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    return str(compiled)
