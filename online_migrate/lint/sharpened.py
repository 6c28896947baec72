"""What a database adds to the reason of a finding: the rows of the table, and the NULL values of the column.

The severity of a finding stays: a small table may have grown when the script runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.catalog import Catalog, LiveTable
from online_migrate.lint.violation import Finding
from online_migrate.phases.impact.impact import Work
from online_migrate.phases.impact.of import impact_of
from online_migrate.phases.known import NothingKnown, Server
from online_migrate.sql.operations.operation import AddConstraint, Operation, RedefineColumn, SetNotNull
from online_migrate.sql.operations.parts import ConstraintKind, Name


def sharpened(reason: str, finding: Finding, server: Server, catalog: Catalog) -> str:
    """Returns *reason* with what the database says of the operation of a finding."""
    operation = finding.operation
    name = getattr(operation, "table", None)
    if operation is None or not isinstance(name, Name):
        return reason
    table = catalog.table(name)
    if table is None:
        return reason
    parts = [reason]
    if "table" in finding.facts or _reads_rows(operation, server):
        parts.append(_size(name, table))
    parts += [_nulls(column, catalog.nulls(name, column)) for column in not_null_columns(operation)]
    return " ".join(part for part in parts if part)


def _reads_rows(operation: Operation, server: Server) -> bool:
    impact = impact_of(operation, server, NothingKnown())
    return impact is not None and impact.work is not Work.NONE


def _size(name: Name, table: LiveTable) -> str:
    if table.rows is None:
        return ""
    about = "" if table.exact else "about "
    parts = f" in {table.partitions} partitions" if table.partitions else ""
    return f"{name} has {about}{table.rows:,} row{'' if table.rows == 1 else 's'}{parts} now."


def not_null_columns(operation: Operation) -> Iterator[str]:
    """Yields the columns in which the operation refuses NULL."""
    match operation:
        case SetNotNull(column=column):
            yield column
        case RedefineColumn(old=old, column=column) if not column.nullable:
            yield old
        case AddConstraint(constraint=constraint) if constraint.kind in (
            ConstraintKind.PRIMARY_KEY,
            ConstraintKind.NOT_NULL,
        ):
            yield from constraint.columns


def _nulls(column: str, count: int | None) -> str:
    if count is None:
        return ""
    if count == 0:
        return f"{column} is NULL in no row now."
    return f"{column} is NULL in {count:,} row{'' if count == 1 else 's'} now."
