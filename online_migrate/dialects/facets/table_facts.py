"""Facts of a live table: what fires on its writes, and in how many parts it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class TableFacts:
    """Reads the triggers and the partitions of a table."""

    def triggers_of(self, connection: Connection, table: str, schema: str | None) -> Mapping[str, str]:
        """Returns the text of each trigger of a table, with that of the function that it calls."""
        raise NotImplementedError

    def partitions_of(self, connection: Connection, table: str, schema: str | None) -> int:
        """Returns the number of partitions of a table that store rows; 0: it has none."""
        return 0
