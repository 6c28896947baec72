"""ATTACH and DETACH PARTITION (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations.operation import ChangePartitions, CreateTable
from online_migrate.sql.operations.parts import ConstraintKind


@script_rule(
    "detach-partition-blocks",
    servers={"postgresql": "14"},
    reason="DETACH PARTITION takes an ACCESS EXCLUSIVE lock on {table}: while it waits for running "
    "transactions, every statement on {table} waits behind it. CONCURRENTLY does not (PostgreSQL 14).",
    replacement="ALTER TABLE {table} DETACH PARTITION {partition} CONCURRENTLY   (outside of a transaction)",
)
def detach_partition_blocks(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ChangePartitions):
        if operation.action == "detach" and not operation.concurrently:
            partition = operation.partition or "..."
            yield step.finding(str(operation.table), table=operation.table, partition=partition)


@script_rule(
    "attach-partition-scans",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    reason="ATTACH PARTITION checks every row of {partition} under an ACCESS EXCLUSIVE lock on it, unless a "
    "validated CHECK shows that its rows belong to the partition.",
    replacement="ALTER TABLE {partition} ADD CONSTRAINT {partition}_bounds CHECK (...) NOT VALID;\n"
    "ALTER TABLE {partition} VALIDATE CONSTRAINT {partition}_bounds;   (in a transaction of its own)\n"
    "ALTER TABLE {table} ATTACH PARTITION {partition} ...",
)
def attach_partition_scans(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(ChangePartitions):
        partition = operation.partition
        if operation.action != "attach" or partition is None or step.before.is_new_table(partition):
            continue
        known = step.before.table(partition)
        checked = known is not None and any(
            one.kind is ConstraintKind.CHECK and not one.not_valid for one in known.constraints
        )
        if not checked:
            yield step.finding(str(partition), table=operation.table, partition=partition)


@script_rule(
    "create-partition-locks-parent",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    reason="CREATE TABLE ... PARTITION OF takes an ACCESS EXCLUSIVE lock on {parent}: while it waits for "
    "running transactions, every statement on {parent} waits behind it.",
    replacement="CREATE TABLE {table} (LIKE {parent} INCLUDING ALL);\n"
    "ALTER TABLE {parent} ATTACH PARTITION {table} ...   (SHARE UPDATE EXCLUSIVE: readers and writers go on)",
)
def create_partition_locks_parent(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(CreateTable):
        parent = operation.partition_of
        if parent is not None and not step.before.is_new_table(parent):
            yield step.finding(str(operation.table), table=operation.table, parent=parent)
