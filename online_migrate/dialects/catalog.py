"""Reads single objects of a server's catalog, for :mod:`~online_migrate.sql.catalog_effects`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.sql.catalog_effects.effect import Effect, holds

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

Facts = dict[str, Any]


class Unknown(LookupError):
    """This catalog does not support this kind of object."""


class Catalog:
    """Reads objects by name. Subclasses define the method of each kind of object that the server has.

    Such a method takes the effect that names the object, and returns the facts of the object, or None if the
    object does not exist. It raises :class:`Unknown` where a subclass does not define it.
    """

    server: ClassVar[str]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def holds(self, effect: Effect) -> bool | None:
        """Returns True if the effect holds now, False if not; None: the catalog cannot answer."""
        try:
            found = self.find(effect)
            if found is None and not effect.present and self._lost_its_table(effect):
                return None
        except Unknown:
            return None
        return holds(effect, found, self.server)

    def find(self, effect: Effect) -> Facts | None:
        """Returns the facts of the object of the effect; None if the object does not exist.

        Raises :class:`Unknown` for a kind of object that this catalog does not support.
        """
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
        """Returns True if the table of the object does not exist: then the absence of the object does not
        prove that the statement was executed."""
        if effect.table is None or effect.object in ("trigger", "enum value"):
            return False
        return self.table(Effect("table", effect.table, None, effect.schema)) is None

    def rows(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        """Returns all rows of a catalog query."""
        return self._connection.execute(sa.text(query), parameters).all()

    # --- one method for each kind of object ---------------------------------------------------------

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
    """Returns the facts of the index or key that has these columns, in this order; None if there is none.

    For a statement that does not name the index or key. *groups*: name -> facts. *columns*: (name, prefix
    length) of each column; only the names are compared, without regard to case.
    """
    wanted = [str(column[0]).lower() for column in columns]
    for facts in groups.values():
        if [str(column[0]).lower() for column in facts["columns"]] == wanted:
            return facts
    return None
