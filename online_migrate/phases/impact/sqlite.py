"""The work of SQLite, by operation. Pure. One writer at a time: every statement blocks all other writers.

Source: SQLite documentation, "ALTER TABLE".
"""

from __future__ import annotations

from online_migrate.phases.impact.impact import NONE, Blocks, Impact, Work
from online_migrate.sql.operations import operation as ops

_READS = (ops.Query, ops.ChangeSession, ops.ControlTransaction)
_SCANS = (ops.CreateIndex, ops.Maintain, ops.ChangeRows)
_REWRITES = (ops.DropColumn,)


def impact(operation: ops.Operation) -> Impact | None:
    """Returns the impact of *operation*; None if it is not known."""
    if isinstance(operation, ops.Unrecognized | ops.RunCode):
        return None
    if isinstance(operation, _READS):
        return NONE
    work = Work.NONE
    if isinstance(operation, _SCANS):
        work = Work.SCAN
    elif isinstance(operation, _REWRITES):
        work = Work.REWRITE
    return Impact("write lock of the database", Blocks.WRITES, work)
