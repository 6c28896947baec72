"""The catalog of SQLite: sqlite_master.

It is read only for statements in an autocommit block; all others are transactional.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.catalog import Catalog, Facts
from online_migrate.dialects.facets.catalog_objects import CatalogObjects
from online_migrate.dialects.query import rows
from online_migrate.sql.statement import dropped

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.sql.catalog_effects.effect import Effect

_OBJECT = "SELECT 1 FROM sqlite_master WHERE type = :kind AND name = :name COLLATE NOCASE"
_TRIGGER = "SELECT sql AS body FROM sqlite_master WHERE type = 'trigger' AND name = :name COLLATE NOCASE"
_COLUMNS = "SELECT name FROM pragma_table_info(:table)"


class SQLiteCatalog(Catalog):
    """Finds objects and columns by their names; the definition of a column is not read."""

    server: ClassVar[str] = "sqlite"

    def _object(self, kind: str, effect: Effect) -> Facts | None:
        return {} if self.rows(_OBJECT, kind=kind, name=effect.name) else None

    def table(self, effect: Effect) -> Facts | None:
        return self._object("table", effect)

    def view(self, effect: Effect) -> Facts | None:
        return self._object("view", effect)

    def index(self, effect: Effect) -> Facts | None:
        return self._object("index", effect)

    def trigger(self, effect: Effect) -> Facts | None:
        return self._object("trigger", effect)

    def column(self, effect: Effect) -> Facts | None:
        names = {row.name.lower() for row in self.rows(_COLUMNS, table=effect.table)}
        return {} if effect.name.lower() in names else None


class SQLiteCatalogObjects(CatalogObjects):
    """Reads sqlite_master."""

    catalog: ClassVar[type[Catalog]] = SQLiteCatalog

    def recreated(self, connection: Connection, drop: str) -> list[str]:
        name = dropped(drop, "TRIGGER", self.name)
        return [str(row.body) for row in rows(connection, _TRIGGER, name=name or "")]
