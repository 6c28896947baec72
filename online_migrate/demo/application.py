"""The two versions of the application: the columns that each version reads and writes.

The sample project has no sync triggers. Instead, version 2 writes the old and the new columns, and reads the
old ones as long as they exist. Version 1 reads and writes the old columns only.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.demo.ledger import Key, Row

GIB = 1024**3
DEFAULT_ZONE = "zone-1"
"""The zone of a volume that version 1 created; see the data migration ``zone``."""

metadata = sa.MetaData()
volumes = sa.Table(
    "volumes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(80)),
    sa.Column("size_gb", sa.Integer),
    sa.Column("attached_to", sa.String(80)),
    sa.Column("display_name", sa.String(80)),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("zone", sa.String(32)),
)
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("full_name", sa.String(160)),
    sa.Column("first_name", sa.String(80)),
    sa.Column("last_name", sa.String(80)),
)
attachments = sa.Table(
    "attachments",
    metadata,
    sa.Column("volume_id", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(80)),
)
OLD_COLUMNS = frozenset({"name", "size_gb", "attached_to", "full_name"})


class Version(Protocol):
    """A version of the application. Each method runs in the transaction of the caller."""

    name: ClassVar[str]
    has_zones: ClassVar[bool]

    @property
    def has_bytes(self) -> bool:
        """True if a size may be any number of bytes, not only whole gigabytes."""

    def read(self, connection: Connection, key: Key) -> Row | None:
        """Returns the fields of the row that this version has; None if there is no row."""

    def insert(self, connection: Connection, key: Key, row: Row) -> None:
        """Inserts a row."""

    def update(self, connection: Connection, key: Key, row: Row) -> None:
        """Updates all fields that this version has."""

    def delete(self, connection: Connection, key: Key) -> None:
        """Deletes the row."""

    def schema_changed(self, connection: Connection) -> bool:
        """Inspects the schema after an error. True if it has changed since the last inspection."""


class Version1:
    """Reads and writes the old columns only."""

    name: ClassVar[str] = "version 1"
    has_zones: ClassVar[bool] = False
    has_bytes = False

    def read(self, connection: Connection, key: Key) -> Row | None:
        if key[0] == "accounts":
            query = sa.select(accounts.c.full_name).where(accounts.c.id == key[1])
            full_name = connection.scalar(query)
            return None if full_name is None else _split(full_name)
        columns = (volumes.c.name, volumes.c.size_gb, volumes.c.attached_to)
        row = connection.execute(sa.select(*columns).where(volumes.c.id == key[1])).one_or_none()
        if row is None:
            return None
        return {"name": row.name, "size": row.size_gb * GIB, "host": row.attached_to}

    def insert(self, connection: Connection, key: Key, row: Row) -> None:
        table = metadata.tables[key[0]]
        connection.execute(sa.insert(table).values(id=key[1], **old_shape(key, row)))

    def update(self, connection: Connection, key: Key, row: Row) -> None:
        table = metadata.tables[key[0]]
        connection.execute(sa.update(table).where(table.c.id == key[1]).values(old_shape(key, row)))

    def delete(self, connection: Connection, key: Key) -> None:
        table = metadata.tables[key[0]]
        connection.execute(sa.delete(table).where(table.c.id == key[1]))

    def schema_changed(self, connection: Connection) -> bool:
        return False


class Version2:
    """Writes the old and the new columns, and reads the old ones until contract drops them."""

    name: ClassVar[str] = "version 2"
    has_zones: ClassVar[bool] = True

    def __init__(self) -> None:
        self._old = OLD_COLUMNS

    @property
    def has_bytes(self) -> bool:
        return "size_gb" not in self._old

    def read(self, connection: Connection, key: Key) -> Row | None:
        return self._account(connection, key) if key[0] == "accounts" else self._volume(connection, key)

    def _account(self, connection: Connection, key: Key) -> Row | None:
        names = ["full_name"] if "full_name" in self._old else ["first_name", "last_name"]
        query = sa.select(*[accounts.c[name] for name in names]).where(accounts.c.id == key[1])
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return (
            _split(row.full_name)
            if "full_name" in self._old
            else {"first": row.first_name, "last": row.last_name}
        )

    def _volume(self, connection: Connection, key: Key) -> Row | None:
        in_gb = "size_gb" in self._old
        columns = (
            volumes.c["name" if "name" in self._old else "display_name"].label("name"),
            volumes.c["size_gb" if in_gb else "size_bytes"].label("size"),
            (volumes.c.attached_to if "attached_to" in self._old else attachments.c.host).label("host"),
            volumes.c.zone,
        )
        both = sa.outerjoin(volumes, attachments, volumes.c.id == attachments.c.volume_id)
        query = sa.select(*columns).select_from(both).where(volumes.c.id == key[1])
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        size = row.size * GIB if in_gb else row.size
        return {"name": row.name, "size": size, "host": row.host, "zone": row.zone or DEFAULT_ZONE}

    def insert(self, connection: Connection, key: Key, row: Row) -> None:
        table = metadata.tables[key[0]]
        connection.execute(sa.insert(table).values(id=key[1], **self._both_shapes(key, row)))
        self._attach(connection, key, row)

    def update(self, connection: Connection, key: Key, row: Row) -> None:
        table = metadata.tables[key[0]]
        values = self._both_shapes(key, row)
        connection.execute(sa.update(table).where(table.c.id == key[1]).values(values))
        if key[0] == "volumes":
            connection.execute(sa.delete(attachments).where(attachments.c.volume_id == key[1]))
            self._attach(connection, key, row)

    def delete(self, connection: Connection, key: Key) -> None:
        table = metadata.tables[key[0]]
        connection.execute(sa.delete(table).where(table.c.id == key[1]))

    def _both_shapes(self, key: Key, row: Row) -> Row:
        old = {name: value for name, value in old_shape(key, row).items() if name in self._old}
        return {**old, **new_shape(key, row)}

    def _attach(self, connection: Connection, key: Key, row: Row) -> None:
        if row.get("host"):
            connection.execute(sa.insert(attachments).values(volume_id=key[1], host=row["host"]))

    def schema_changed(self, connection: Connection) -> bool:
        """Stops writing columns that contract has dropped."""
        inspector = sa.inspect(connection)
        there = {
            column["name"] for table in (volumes, accounts) for column in inspector.get_columns(table.name)
        }
        before, self._old = self._old, self._old & there
        return before != self._old


def _split(full_name: str) -> Row:
    first, _, last = full_name.partition(" ")
    return {"first": first, "last": last}


def old_shape(key: Key, row: Row) -> Row:
    """Returns the columns of a row in version 1. Pure."""
    if key[0] == "accounts":
        return {"full_name": f"{row['first']} {row['last']}"}
    return {"name": row["name"], "size_gb": row["size"] // GIB, "attached_to": row["host"]}


def new_shape(key: Key, row: Row) -> Row:
    """Returns the columns of a row in version 2, without the host, which is in another table. Pure."""
    if key[0] == "accounts":
        return {"first_name": row["first"], "last_name": row["last"]}
    return {"display_name": row["name"], "size_bytes": row["size"], "zone": row["zone"]}


def read_new_shape(connection: Connection) -> dict[Key, Row]:
    """Returns every row of the database after contract."""
    found: dict[Key, Row] = {}
    host = sa.select(attachments.c.volume_id, attachments.c.host)
    hosts: dict[int, str] = {row.volume_id: row.host for row in connection.execute(host)}
    columns = (volumes.c.id, volumes.c.display_name, volumes.c.size_bytes, volumes.c.zone)
    for row in connection.execute(sa.select(*columns)):
        found["volumes", row.id] = {
            "name": row.display_name,
            "size": row.size_bytes,
            "host": hosts.pop(row.id, None),
            "zone": row.zone,
        }
    for volume_id, name in hosts.items():
        found["attachments", volume_id] = {"host": name}
    people = sa.select(accounts.c.id, accounts.c.first_name, accounts.c.last_name)
    for person in connection.execute(people):
        found["accounts", person.id] = {"first": person.first_name, "last": person.last_name}
    return found
