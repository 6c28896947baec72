"""The servers that tests can request, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Capability = Literal[
    "transactional_ddl",  # a schema change can be rolled back
    "single_writer",  # a write transaction blocks every other writer of the database
    "many_writers",  # two sessions can write to one database at the same time
    "lock_tables",  # LOCK TABLES, which outlives the transaction
    "row_locks",  # two sessions can write to two rows of one table at the same time
    "kill_session",  # one session can end another one
    "cluster",  # writes are replicated synchronously to other nodes
    "statement_binlog",  # a session can ask for binlog_format=STATEMENT
    "schemas",  # tables with the same name in two schemas of one database, or in two databases
    "advisory_locks",  # a lock of a session that is named by a number; a pooler may break it
    "typed_columns",  # a value that is not of a column's type, or out of its range, is refused
    "self_updating",  # a column can change by itself whenever its row does
    "publications",  # tables can be published for logical replication, with an identity of their rows
    "xa",  # XA PREPARE leaves a transaction that holds its locks without a session
    "updatable_views",  # a view can be written, WITH CHECK OPTION
    "row_security",  # policies, inheritance, rules, foreign tables: features of PostgreSQL only
    "virtual_tables",  # tables whose rows are stored by an extension, and tables WITHOUT ROWID
    "system_versioning",  # tables that keep the history of their rows
    "xml",  # a column type for XML: PostgreSQL can be built without it
    "openstack",  # the two servers on which OpenStack's trees are tested
    "functional_indexes",  # an index on an expression is a hidden column, on which its columns depend
    "temporal_keys",  # a primary key can end with a period: WITHOUT OVERLAPS
]

_ENVIRONMENT = "ONLINE_MIGRATE_TEST_{}_URL"


@dataclass(frozen=True)
class Kind:
    """One kind of server: its required product and version, and its capabilities."""

    name: str
    product: str
    minimum: tuple[int, ...]
    capabilities: frozenset[Capability]

    @property
    def variable(self) -> str:
        """The environment variable with the URL of such a server, which is then used unchanged."""
        return _ENVIRONMENT.format(self.name.upper())

    def has(self, capability: Capability) -> bool:
        """Returns whether this server has the capability; raises ValueError for an undeclared one."""
        if capability not in get_args(Capability):
            raise ValueError(f"no such capability: {capability!r}; there are {get_args(Capability)}")
        return capability in self.capabilities


def _kind(name: str, product: str, minimum: tuple[int, ...], *capabilities: Capability) -> Kind:
    return Kind(name, product, minimum, frozenset(capabilities))


_SHARED: tuple[Capability, ...] = ("many_writers", "row_locks", "kill_session", "schemas", "typed_columns")

_POSTGRESQL: tuple[Capability, ...] = (
    "transactional_ddl",
    "updatable_views",
    "row_security",
    "publications",
    "advisory_locks",
    *_SHARED,
)
_MYSQL: tuple[Capability, ...] = (
    "lock_tables",
    "statement_binlog",
    "self_updating",
    "updatable_views",
    "xa",
    *_SHARED,
)

CATALOG: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("sqlite", "sqlite", (3, 35), "transactional_ddl", "single_writer", "virtual_tables"),
        _kind("postgresql", "postgresql", (15,), "xml", "openstack", *_POSTGRESQL),
        _kind("postgresql18", "postgresql", (18,), "temporal_keys", *_POSTGRESQL),
        _kind("mariadb", "mariadb", (10, 11), "system_versioning", "openstack", *_MYSQL),
        _kind("mysql", "mysql", (8, 4), "functional_indexes", *_MYSQL),
        _kind("galera", "mariadb", (10, 11), "cluster", *_SHARED),
    )
}

DEFAULT_NAMES = ("sqlite", "postgresql", "postgresql18", "mariadb", "mysql")
"""The servers for a test that runs on every server, unless `--server` is given."""

SERVER_NAMES = tuple(name for name in CATALOG if name != "sqlite")
"""The servers that must be installed and started; SQLite is part of Python."""
