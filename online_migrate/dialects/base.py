"""The dialect of a server: all facets in one class; and the servers by name."""

from __future__ import annotations

import importlib
from typing import ClassVar

from online_migrate.dialects.facets.barriers import Barriers
from online_migrate.dialects.facets.catalog_objects import CatalogObjects
from online_migrate.dialects.facets.checks import Checks
from online_migrate.dialects.facets.copied_tables import CopiedTables
from online_migrate.dialects.facets.engines import Engines
from online_migrate.dialects.facets.errors import Errors
from online_migrate.dialects.facets.load import Load
from online_migrate.dialects.facets.lock_queue import LockQueues
from online_migrate.dialects.facets.locks import Locks
from online_migrate.dialects.facets.revisions import Revisions
from online_migrate.dialects.facets.row_access import RowAccess
from online_migrate.dialects.facets.sessions import Sessions
from online_migrate.dialects.facets.soaks import Soaks
from online_migrate.dialects.facets.statements import Statements
from online_migrate.dialects.facets.sync_triggers import SyncTriggers
from online_migrate.dialects.facets.table_facts import TableFacts
from online_migrate.exceptions import UnsupportedServer

SERVERS = ("sqlite", "postgresql", "mysql", "mariadb")
"""The servers; each has a module of this name in this package."""
_classes: dict[str, type[Dialect]] = {}
OWN_STATEMENT = "online_migrate_own_statement"
"""In ``connection.info`` while the engine itself begins a transaction of the connection of a script."""
OWN_SESSIONS = "online_migrate_own_sessions"
"""Key of ``connection.info``: the session ids of the other sessions of this command. They are not reported
as blockers."""


class Dialect(
    Engines,
    Sessions,
    Locks,
    LockQueues,
    Errors,
    Load,
    RowAccess,
    Checks,
    Barriers,
    CatalogObjects,
    CopiedTables,
    Soaks,
    Statements,
    SyncTriggers,
    TableFacts,
    Revisions,
):
    """One database server. Subclasses register themselves by :attr:`name` and override what differs.

    The connections passed to these methods are SQLAlchemy connections; durations are in seconds. Unless a
    docstring names an error, an error of the server reaches the caller as one of
    :data:`~online_migrate.driver_errors.DATABASE_ERRORS`.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        if cls.name:
            _classes[cls.name] = cls


def dialect_named(server: str) -> Dialect:
    """Returns the dialect of *server*, one of :data:`SERVERS`.

    Imports the modules of that server on first use: a command uses one server, and to import all of them
    would take some 25 ms, and SQLAlchemy's dialect of MySQL as well.

    Raises :class:`~online_migrate.exceptions.UnsupportedServer` for another name.
    """
    if server not in SERVERS:
        raise UnsupportedServer(dialect=server)
    if server not in _classes:
        importlib.import_module(f"online_migrate.dialects.{server}")
    return _classes[server]()
