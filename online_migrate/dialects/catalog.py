"""What a server's catalog says of one object, for the effects of :mod:`online_migrate.sql.effect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.sql.effect import Effect, holds

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

Facts = dict[str, Any]


class Unknown(LookupError):
    """This catalog has no answer for this kind of object."""


class Catalog:
    """Reads objects by name. Subclasses give the method of each kind of object that the server has.

    A method gives what is known of the object, or None if there is none.
    """

    server: ClassVar[str]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def holds(self, effect: Effect) -> bool | None:
        """True if the effect holds now, False if not; None: the catalog does not tell."""
        try:
            found = self.find(effect)
            if found is None and not effect.present and self._lost_its_table(effect):
                return None
        except Unknown:
            return None
        return holds(effect, found, self.server)

    def find(self, effect: Effect) -> Facts | None:
        """What is known of the object that the effect is about."""
        readers: dict[str, Callable[[Effect], Facts | None]] = {
            "table": self.table,
            "view": self.view,
            "sequence": self.sequence,
            "type": self.type,
            "column": self.column,
            "index": self.index,
            "primary key": self.primary_key,
            "constraint": self.constraint,
            "foreign key": self.foreign_key,
            "check": self.check,
            "trigger": self.trigger,
            "routine": self.routine,
            "enum value": self.enum_value,
        }
        return readers[effect.object](effect)

    def _lost_its_table(self, effect: Effect) -> bool:
        """True if nothing of its table is there: that it is gone proves nothing of the statement."""
        if effect.table is None or effect.object in ("trigger", "enum value"):
            return False
        return self.table(Effect("table", effect.table, None, effect.schema)) is None

    def rows(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        """All rows of a catalog query."""
        return self._connection.execute(sa.text(query), parameters).all()

    # --- a method for each kind of object -----------------------------------------------------------

    def table(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def view(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def sequence(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def type(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def column(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def index(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def primary_key(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def constraint(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def foreign_key(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def check(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def trigger(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def routine(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)

    def enum_value(self, effect: Effect) -> Facts | None:
        raise Unknown(effect.object)


def with_columns(groups: Mapping[str, Facts], columns: Sequence[Any]) -> Facts | None:
    """The one of several keys that has these columns, in this order; for a key whose name is not known."""
    wanted = [str(column[0]).lower() for column in columns]
    for facts in groups.values():
        if [str(column[0]).lower() for column in facts["columns"]] == wanted:
            return facts
    return None
