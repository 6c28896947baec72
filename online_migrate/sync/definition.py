"""A sync as a script defines it, and what it is for one server."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

from online_migrate import exceptions
from online_migrate.dialects.facets.sync_triggers import SyncedColumn, SyncShape, Template
from online_migrate.sql.operations.parts import Column, Name
from online_migrate.sync.expressions import BadExpression, Expression, template

_NAME = re.compile(r"[A-Za-z0-9_]+")
_LONGEST_NAME = 200


class SyncRefused(exceptions.Refused):
    """Sync {name!r} of table {table} is refused: {reason}"""


@dataclasses.dataclass(frozen=True)
class SyncDefinition:
    """The arguments of ``op.create_sync``.

    *forward*: by column of the new shape, its value from the columns of the old shape. *backward*: by column
    of the old shape, its value from the columns of the new one.
    """

    name: str
    table: Name
    forward: Mapping[str, Expression]
    backward: Mapping[str, Expression]

    def refused(self, reason: str, hint: str = "") -> SyncRefused:
        """Returns the error of this sync."""
        return SyncRefused(name=self.name, table=str(self.table), reason=reason, hint=hint)

    def shape(self, server: str, definition: Callable[[str], Column | None]) -> SyncShape:
        """Returns the sync for a server.

        *definition*: returns what is known of a column of the table. Raises :class:`SyncRefused`.
        """
        self._refuse_name()
        new, old = self._values("forward", server), self._values("backward", server)
        read_old = {column for value in new.values() for column in value.columns} | set(old)
        read_new = {column for value in old.values() for column in value.columns} | set(new)
        shared = sorted(read_old & read_new)
        if shared:
            raise self.refused(
                f"column {shared[0]} belongs to both shapes: it is not known which of them a write changes",
                "forward reads columns of the old shape only, and backward columns of the new one",
            )

        def synced(names: set[str], values: Mapping[str, Template]) -> tuple[SyncedColumn, ...]:
            return tuple(SyncedColumn(one, values.get(one), definition(one)) for one in sorted(names))

        table = self.table
        return SyncShape(self.name, table.name, table.schema, synced(read_old, old), synced(read_new, new))

    def _refuse_name(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise self.refused("its name may have letters, digits and underscores only")
        if len(self.name) > _LONGEST_NAME:
            raise self.refused(f"its name is longer than {_LONGEST_NAME} characters")

    def _values(self, side: str, server: str) -> dict[str, Template]:
        given: Mapping[str, Expression] = getattr(self, side)
        if not given:
            raise self.refused(f"{side} is empty, so writes of one version would not reach the other")
        try:
            return {column: template(value, server) for column, value in given.items()}
        except BadExpression as error:
            raise self.refused(f"{side}: {error}") from error


def columns_of(shape: SyncShape) -> Iterator[SyncedColumn]:
    """Yields the columns of both shapes."""
    yield from (*shape.old, *shape.new)


def columns_used(shape: SyncShape) -> tuple[str, ...]:
    """Returns the columns that the triggers read or assign, sorted."""
    return tuple(sorted(column.name for column in columns_of(shape)))
