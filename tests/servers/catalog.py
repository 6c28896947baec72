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

CATALOG: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("sqlite", "sqlite", (3, 35), "transactional_ddl"),
        _kind("postgresql", "postgresql", (15,), "transactional_ddl", *_SHARED),
        _kind("postgresql18", "postgresql", (18,), "transactional_ddl", "temporal_keys", *_SHARED),
        _kind("mariadb", "mariadb", (10, 11), "lock_tables", "statement_binlog", "self_updating", *_SHARED),
        _kind("mysql", "mysql", (8, 4), "lock_tables", "statement_binlog", "self_updating", *_SHARED),
        _kind("galera", "mariadb", (10, 11), "cluster", *_SHARED),
    )
}

DEFAULT_NAMES = ("sqlite", "postgresql", "postgresql18", "mariadb", "mysql")
"""What a test that runs on every server runs on, unless `--server` says otherwise."""

SERVER_NAMES = tuple(name for name in CATALOG if name != "sqlite")
"""What has to be installed and started; SQLite is part of Python."""
