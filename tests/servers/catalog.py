"""The servers that tests can ask for, as one declared table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Capability = Literal[
    "transactional_ddl",  # a schema change can be rolled back
    "many_writers",  # two sessions can write to one database at the same time
    "lock_tables",  # LOCK TABLES, which outlives the transaction
    "row_locks",  # two sessions can write to two rows of one table at the same time
    "kill_session",  # one session can end another one
    "cluster",  # writes are replicated synchronously to other nodes
    "statement_binlog",  # a session can ask for binlog_format=STATEMENT
    "schemas",  # tables with the same name in two schemas of one database, or in two databases
    "typed_columns",  # a value that is not of a column's type, or out of its range, is refused
    "self_updating",  # a column can change by itself whenever its row does
    "publications",  # tables can be published for logical replication, with an identity of their rows
    "xa",  # XA PREPARE leaves a transaction that holds its locks without a session
    "updatable_views",  # a view can be written, WITH CHECK OPTION
    "row_security",  # policies, inheritance, rules, foreign tables: what PostgreSQL alone has
    "virtual_tables",  # tables whose rows are stored by an extension, and tables WITHOUT ROWID
    "system_versioning",  # tables that keep the history of their rows
    "temporal_keys",  # a primary key can end with a period: WITHOUT OVERLAPS
]

_ENVIRONMENT = "ONLINE_MIGRATE_TEST_{}_URL"


@dataclass(frozen=True)
class Kind:
    """One kind of server: what it must answer when asked, and what tests may expect of it."""

    name: str
    product: str
    minimum: tuple[int, ...]
    capabilities: frozenset[Capability]

    @property
    def variable(self) -> str:
        """The environment variable with the URL of such a server, which is then used as it is."""
        return _ENVIRONMENT.format(self.name.upper())

    def has(self, capability: Capability) -> bool:
        """Whether this server can do that; a capability nobody declared is a mistake of the caller."""
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
        _kind("sqlite", "sqlite", (3, 35), "transactional_ddl", "virtual_tables"),
        _kind("postgresql", "postgresql", (15,), *_POSTGRESQL),
        _kind("postgresql18", "postgresql", (18,), "temporal_keys", *_POSTGRESQL),
        _kind("mariadb", "mariadb", (10, 11), "system_versioning", *_MYSQL),
        _kind("mysql", "mysql", (8, 4), *_MYSQL),
        _kind("galera", "mariadb", (10, 11), "cluster", *_SHARED),
    )
}

DEFAULT_NAMES = ("sqlite", "postgresql", "postgresql18", "mariadb", "mysql")
"""What a test that runs on every server runs on, unless `--server` says otherwise."""

SERVER_NAMES = tuple(name for name in CATALOG if name != "sqlite")
"""What has to be installed and started; SQLite is part of Python."""
