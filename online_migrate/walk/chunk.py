"""A chunk: the rows of a key range that a data migration processes in one transaction."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from online_migrate.walk.checkpoint import show_key
from online_migrate.walk.key import Key


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The rows of *table* with *lower* < key <= *upper*; *lower* None: from the start of the table."""

    table: sa.Table
    key_columns: tuple[sa.Column[Any], ...]
    lower: Key | None
    upper: Key
    build: Callable[[], tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]] = dataclasses.field(
        repr=False, compare=False
    )
    """Builds *range* and *where* on first use, because most chunks need neither."""
    bounds: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    """The parameters of a statement that is built once for many chunks, see
    :mod:`online_migrate.walk.chunk_statement`; None if the chunk lists individual rows."""
    sparse: bool = dataclasses.field(default=False, repr=False, compare=False)
    """Few rows of the chunk are pending, and another index may find them faster than the index of the key."""

    @functools.cached_property
    def _conditions(self) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return self.build()

    @property
    def range(self) -> sa.ColumnElement[bool]:
        """The condition for all rows of the key range."""
        return self._conditions[0]

    @property
    def where(self) -> sa.ColumnElement[bool]:
        """The condition for the pending rows of the key range, which a data migration processes."""
        return self._conditions[1]

    def __str__(self) -> str:
        start = "the start" if self.lower is None else f"after {show_key(self.lower)}"
        return f"{self.table.name}: from {start} to {show_key(self.upper)}"
