"""One query of a server's catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row


def rows(connection: Connection, query: str, **parameters: Any) -> Sequence[Row[Any]]:
    """Returns all rows of a catalog query."""
    return connection.execute(sa.text(query), parameters).all()
