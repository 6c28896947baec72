"""The kind that calls a Python function for each chunk, which runs any SQL on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from online_migrate.kinds.base import DataMigration, named_after
from online_migrate.kinds.result import ChunkResult, MigrationMisuse, call_user_code
from online_migrate.kinds.table_argument import TableLike

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.kinds.bound import BoundMigration
    from online_migrate.kinds.prepared import PreparedRows
    from online_migrate.walk.chunk import Chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchMigration(DataMigration):
    """Calls a Python function for each chunk; see :func:`batch_migration`."""

    kind: ClassVar[str] = "batch"
    may_remove_rows: ClassVar[bool] = True
    function: Callable[[Connection, Chunk], int]

    def apply(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> ChunkResult:
        keys = [] if bound.pending is None else bound.pending_keys(connection, chunk)
        if bound.pending is not None and not keys:
            return ChunkResult(0, {})
        done = self._call(connection, chunk)
        if bound.pending is None:
            return ChunkResult(done, {})
        # The data decides which rows are done, not the count that the function returned.
        failures = bound.pending_failures(connection, chunk, keys)
        here = set(bound.keys_in(connection, chunk, chunk.range))
        gone = sum(key not in here for key in keys)
        return ChunkResult(len(keys) - len(failures), failures, recorded=gone)

    def _call(self, connection: Connection, chunk: Chunk) -> int:
        where = f"{self.name} ({chunk})"
        done: object = call_user_code(where, self.function, connection, chunk)
        if not isinstance(done, int) or isinstance(done, bool) or done < 0:
            raise MigrationMisuse(where=where, error=f"returned {done!r}, not the number of migrated rows")
        if not connection.in_transaction():
            raise MigrationMisuse(
                where=where,
                error="ended the chunk's transaction, so the checkpoint cannot be committed with it",
            )
        return done


def batch_migration(
    *, table: TableLike, **options: Any
) -> Callable[[Callable[[Connection, Chunk], int]], BatchMigration]:
    """Decorator: makes a data migration of a function ``(connection, chunk) -> rows done``.

    The function may run any SQL on *connection*, inside the chunk's transaction, which it must not end.
    ``chunk.where`` is the condition of the chunk's pending rows on ``chunk.table``. *table* and *options*:
    see :class:`~online_migrate.kinds.base.DataMigration`.
    """

    def decorate(function: Callable[[Connection, Chunk], int]) -> BatchMigration:
        return BatchMigration(function=function, table=table, **named_after(function, options))

    return decorate
