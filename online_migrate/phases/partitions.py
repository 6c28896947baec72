"""Decisions on partitions.

A table that becomes a partition gets the bound as a constraint, so old code must not know that table. ADD
PARTITION of MySQL and MariaDB with a name is for values that had no partition; without a name it is of a
table that is partitioned by HASH or KEY, whose rows are all moved.
"""

from __future__ import annotations

from online_migrate.phases.given import Given, decides
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.tables import partition_with_constraint
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import ChangePartitions

_MOVE = "Move it to the contract script."
_GONE = "Old code no longer finds the rows of the partition."
_COPIED = "The rows are moved under a lock; writes of old code wait meanwhile, or are refused afterwards."
_CONTRACT = {
    "drop": _GONE,
    "truncate": _GONE,
    "exchange": _GONE,
    "detach": _GONE,
    "detach finalize": _GONE,
    "discard tablespace": _GONE,
    "import tablespace": _GONE,
    "add": _COPIED,
    "reorganize": _COPIED,
    "coalesce": _COPIED,
    "convert": _COPIED,
    "merge": _COPIED,
    "split": _COPIED,
    "partition by": _COPIED,
    "remove": _COPIED,
    "remove partitioning": _COPIED,
    "rebuild": _COPIED,
    "optimize": _COPIED,
    "repair": _COPIED,
}
_MAINTENANCE = ("analyze", "check")


@decides(ChangePartitions)
def change_partitions(operation: ChangePartitions, given: Given) -> Verdict:
    if operation.action == "attach":
        return _attach(operation, given)
    if given.known.is_new_table(operation.table) and operation.action != "exchange":
        return apply_rule("new-table", operation.table)
    if operation.action == "add" and operation.partition is not None:
        return apply_rule("add-partition", operation.table)
    if operation.action in _MAINTENANCE:
        return apply_rule("maintain", operation.table)
    if operation.action in _CONTRACT:
        return apply_rule("change-partitions", operation.table, _CONTRACT[operation.action], _MOVE)
    return apply_rule(
        "unknown-option",
        operation.table,
        f"The effect of the partition action {operation.action} on old code is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )


def _attach(operation: ChangePartitions, given: Given) -> Verdict:
    partition = operation.partition
    if partition is not None and given.known.is_new_table(partition):
        new = given.known.is_new_table(operation.table)
        restriction = None if new else given.known.restriction(partition, operation.table)
        if restriction is not None:
            return partition_with_constraint(partition, restriction)
        return apply_rule("attach-new-partition", partition)
    return apply_rule(
        "attach-existing-partition",
        operation.partition or operation.table,
        "An INSERT or UPDATE of old code on the attached table fails outside of the partition's bound.",
        "Attach a table that the same revisions create; or move it to the contract script.",
    )
