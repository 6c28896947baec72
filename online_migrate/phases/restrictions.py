"""Why a new table may refuse a row that a partitioned table accepts, once it is its partition. Pure."""

from __future__ import annotations

from online_migrate.sql.operations.operation import CreateTable


def own_restriction(operation: CreateTable) -> str | None:
    """Returns why the table that a CREATE TABLE makes may refuse a row; NOT NULL does not count."""
    constraints = [*operation.constraints, *(c for column in operation.columns for c in column.constraints)]
    if constraints:
        return f"it has a {constraints[0].kind} constraint of its own"
    if operation.partitioned:
        return "it is partitioned itself, and refuses a row for which it has no partition"
    if any(column.generated is not None or column.identity for column in operation.columns):
        return "it computes a column itself"
    return None if operation.like is None else f"it has the constraints of {operation.like}"
