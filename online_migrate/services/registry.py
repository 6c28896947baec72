"""The registry of services in a database, as it is read at one moment."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.services.reported import Reported
from online_migrate.services.service import Liveness, Service, Unreadable, read

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class Registry:
    """All processes that report, or have reported."""

    services: tuple[Service, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    missing: bool = False
    """True if the database has no registry: an older engine made its tables."""
    reported: Reported | None = None
    """What another registry reports; None: the project names none."""

    @property
    def live(self) -> frozenset[str]:
        """The services of which a live process reports, here or to the other registry."""
        other = self.reported.services if self.reported else ()
        return frozenset(
            [one.service for one in self.services if one.liveness is Liveness.LIVE]
            + [one.service for one in other if one.state == Liveness.LIVE]
        )

    @property
    def empty(self) -> bool:
        """True if no process has ever reported."""
        return not self.services and not self.unreadable


def read_registry(connection: Connection) -> Registry:
    """Returns the registry.

    Raises one of :data:`~online_migrate.driver_errors.DATABASE_ERRORS` if it exists and cannot be read. The
    table is not looked up in the catalog first: MySQL hides a table there that this user may not read.
    """
    try:
        rows = state.service_rows(connection)
    except DATABASE_ERRORS as error:
        if dialect_of(connection).is_missing_object(error) and not _exists(connection):
            return Registry(missing=True)
        raise
    found = [read(row) for row in rows]
    return Registry(
        tuple(one for one in found if isinstance(one, Service)),
        tuple(one for one in found if isinstance(one, Unreadable)),
    )


def _exists(connection: Connection) -> bool:
    """Returns True if the table is there, and the query failed for another reason: a column is missing."""
    connection.rollback()
    return dialect_of(connection).has_table(connection, state.SERVICE_TABLE)
