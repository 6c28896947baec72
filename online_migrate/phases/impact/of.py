"""The impact of an operation on a server. Pure."""

from __future__ import annotations

from collections.abc import Callable

from online_migrate.phases.impact import mysql, postgresql, sqlite
from online_migrate.phases.impact.impact import Impact
from online_migrate.phases.known import KnownSchema, Server
from online_migrate.sql.operations.operation import Operation

_BY_PRODUCT: dict[str, Callable[[Operation, Server, KnownSchema], Impact | None]] = {
    "postgresql": lambda operation, server, known: postgresql.impact(operation, known),
    "mysql": mysql.impact,
    "mariadb": mysql.impact,
    "sqlite": lambda operation, server, known: sqlite.impact(operation),
}


def impact_of(operation: Operation, server: Server, known: KnownSchema) -> Impact | None:
    """Returns the impact of *operation*, with the schema as it is *known* before it; None: not known."""
    return _BY_PRODUCT[server.product](operation, server, known)
