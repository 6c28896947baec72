"""Reads the actions on partitions of ALTER TABLE of MySQL and MariaDB. Pure."""

from __future__ import annotations

from online_migrate.sql.operations.cursor import Cursor
from online_migrate.sql.operations.operation import ChangePartitions, Operation
from online_migrate.sql.operations.parts import Name

PARTITION_VERBS = (
    "TRUNCATE",
    "COALESCE",
    "REORGANIZE",
    "EXCHANGE",
    "ANALYZE",
    "CHECK",
    "OPTIMIZE",
    "REBUILD",
    "REPAIR",
)


def partitions(cursor: Cursor, table: Name, action: str) -> tuple[Operation, ...]:
    """Reads an action on partitions; *cursor* is before PARTITION, and the action is the only one."""
    cursor.any_of("PARTITION", "TABLE")
    cursor.guard()
    cursor.any_of("NO_WRITE_TO_BINLOG", "LOCAL")
    if action in ("drop", "truncate") and cursor.next != "ALL":
        names = cursor.paths()
        return tuple(ChangePartitions(table=table, action=action, partition=name) for name in names)
    partition = None
    if action == "add" and cursor.next == "(":
        added = cursor.group()
        partition = _with_values(added)
    elif cursor.names and cursor.next not in ("PARTITIONS", "ALL"):
        partition = Name(cursor.name())
    cursor.at = len(cursor.tokens)
    return (ChangePartitions(table=table, action=action, partition=partition),)


def _with_values(added: Cursor) -> Name | None:
    """Returns the name of a new partition; None for one of HASH or KEY, which has no values of its own."""
    name = Name(added.name()) if added.take("PARTITION") else None
    return name if added.next == "VALUES" else None


def by_partition(cursor: Cursor, table: Name) -> tuple[Operation, ...]:
    """Reads an action whose verb is followed by PARTITION; *cursor* is at the verb."""
    action = cursor.token().word.lower()
    if cursor.next != "PARTITION":
        raise cursor.fail()
    return partitions(cursor, table, action)


def partition_by(cursor: Cursor, table: Name) -> tuple[Operation, ...]:
    """Reads PARTITION BY."""
    cursor.expect("PARTITION", "BY")
    cursor.at = len(cursor.tokens)
    return (ChangePartitions(table=table, action="partition by"),)


def remove_partitioning(cursor: Cursor, table: Name) -> tuple[Operation, ...]:
    """Reads REMOVE PARTITIONING."""
    cursor.expect("REMOVE", "PARTITIONING")
    return (ChangePartitions(table=table, action="remove"),)
