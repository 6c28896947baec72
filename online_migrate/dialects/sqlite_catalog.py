"""The catalog of SQLite: sqlite_master.

It is read for statements in an autocommit block only; all others are transactional.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.catalog import Catalog, Facts

if TYPE_CHECKING:
    from online_migrate.sql.effect import Effect

_OBJECT = "SELECT 1 FROM sqlite_master WHERE type = :kind AND name = :name COLLATE NOCASE"
_COLUMNS = "SELECT name FROM pragma_table_info(:table)"


class SQLiteCatalog(Catalog):
    """Objects and columns by their names; what a column looks like is not read."""

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
