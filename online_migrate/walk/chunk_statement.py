"""A statement on the rows of a chunk, built once for each form of a chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.walk.chunk import Chunk
from online_migrate.walk.chunker import Chunker

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class CompiledChunkStatement:
    """A statement on the pending rows of a chunk, built once and reused for every plain key range.

    Building a statement takes the client longer than sending it. *build*: returns the statement for a
    condition on the rows. For a chunk that lists individual rows the statement is built each time.
    """

    def __init__(
        self,
        chunker: Chunker,
        pending: sa.ColumnElement[bool] | None,
        build: Callable[[sa.ColumnElement[bool]], sa.Executable],
    ) -> None:
        self._build = build
        self._pending = pending
        self._chunker = chunker
        self._built: dict[tuple[bool, bool], sa.Executable] = {}

    def execute(self, connection: Connection, chunk: Chunk) -> sa.CursorResult[Any]:
        """Executes the statement on the rows of *chunk*."""
        if chunk.bounds is None:
            return connection.execute(self._statement(chunk.where, chunk.sparse))
        form = (chunk.lower is None, chunk.sparse)
        if form not in self._built:
            inside = self._chunker.conditions.between(from_start=chunk.lower is None)
            where = inside if self._pending is None else sa.and_(inside, self._pending)
            self._built[form] = self._statement(where, chunk.sparse)
        return connection.execute(self._built[form], chunk.bounds)

    def _statement(self, where: sa.ColumnElement[bool], sparse: bool) -> sa.Executable:
        statement = self._build(where)
        return statement if sparse else self._chunker.by_key(statement)
