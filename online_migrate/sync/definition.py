"""A sync as a script defines it, and what it is for one server."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

from online_migrate import exceptions
from online_migrate.dialects.facets.sync_triggers import SyncedColumn, SyncShape, Template
from online_migrate.sql.operations.parts import Column, Name
from online_migrate.sync.expressions import BadExpression, Expression, comparable, template

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
    target: str | None = None
    """The table of the new shape; None: it is the same one."""
    key: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By column of the key of that table, the column of the first table."""

    def refused(self, reason: str, hint: str = "") -> SyncRefused:
        """Returns the error of this sync."""
        return SyncRefused(name=self.name, table=str(self.table), reason=reason, hint=hint)

    def shape(self, server: str, definition: Callable[[Name, str], Column | None]) -> SyncShape:
        """Returns the sync for a server.

        *definition*: returns what is known of a column of a table. Raises :class:`SyncRefused`.
        """
        self._refuse_name()
        new, old = self._values("forward", server), self._values("backward", server)
        read_old = {column for value in new.values() for column in value.columns} | set(old)
        read_new = {column for value in old.values() for column in value.columns} | set(new)
        if bool(self.target) is not bool(self.key):
            raise self.refused("to=TABLE and key={column of TABLE: column of this table} belong together")
        of_old, of_new = ({comparable(name, server) for name in names} for names in (read_old, read_new))
        shared = sorted(of_old & of_new) if self.target is None else []
        if shared:
            raise self.refused(
                f"column {shared[0]} belongs to both shapes: it is not known which of them a write changes",
                "forward reads columns of the old shape only, and backward columns of the new one",
            )

        table = self.table
        other = table if self.target is None else Name(self.target, table.schema)

        def synced(of: Name, names: set[str], values: Mapping[str, Template]) -> tuple[SyncedColumn, ...]:
            found: dict[str, SyncedColumn] = {}
            for one in sorted(names):
                known, key = definition(of, one), comparable(one, server)
                value = values.get(one) or (found[key].value if key in found else None)
                found[key] = SyncedColumn(one if known is None else known.name, value, known)
            return tuple(found.values())

        return SyncShape(
            self.name,
            table.name,
            table.schema,
            synced(table, read_old, old),
            synced(other, read_new, new),
            target=self.target,
            key=tuple(self.key.items()),
        )

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
