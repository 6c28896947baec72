"""MariaDB, 10.6 to 11.x: MySQL, but for what stands here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.mysql import MySQL

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MariaDB(MySQL):
    """Bounds a query by max_statement_time, in seconds, for every kind of statement."""

    name: ClassVar[str] = "mariadb"
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({1969, 1317})

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        before = connection.scalar(sa.text("SELECT @@SESSION.max_statement_time"))
        connection.execute(sa.text(f"SET SESSION max_statement_time = {seconds:.3f}"))
        try:
            yield
        finally:
            if not connection.invalidated:
                connection.execute(sa.text(f"SET SESSION max_statement_time = {before}"))
