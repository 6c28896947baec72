"""How an engine connects, beyond its URL. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """What a configuration says about the connections to its database, beyond the URL."""

    retries: int = 0
    """Further attempts of the first connection; -1: without a limit."""
    retry_interval: float = 10.0
    """Seconds between two of them."""
    mysql_sql_mode: str | None = None
    """The ``sql_mode`` of the application's sessions. None: that of the server."""
    mysql_wsrep_sync_wait: int | None = None
    """``wsrep_sync_wait`` of each session. None: that of the server."""
    pool: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The arguments of oslo.db's ``create_engine`` for the pool. SQLite has none."""
    sqlite_synchronous: bool = True
    """False: SQLite does not wait for the disk."""
    statements_logged: bool = False
    """True: the logger ``sqlalchemy.engine`` logs each statement."""
    results_logged: bool = False
    """True: it logs each row as well."""

    @property
    def session(self) -> Mapping[str, Any]:
        """The session variables of MySQL and MariaDB that are set when a session starts."""
        given = {"sql_mode": self.mysql_sql_mode, "wsrep_sync_wait": self.mysql_wsrep_sync_wait}
        return {name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class OsloDatabase:
    """The database of a group of oslo.config."""

    url: str
    """The URL with the password and with ``connection_parameters``."""
    options: EngineOptions
    unused: tuple[str, ...] = ()
    """A line for each option that is set and has no effect."""
