"""What is left to do on a database, and the command that does it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from online_migrate.status.report import Report


def next_step(report: Report) -> str:
    """Returns one line about the first thing that is left."""
    if report.complete:
        return "nothing is left to do"
    if report.base.missing:
        return f"next: apply the base revisions: {_some(report.base.missing)}"
    if report.expand.missing:
        return f"next: db expand   (to apply: {_some(report.expand.missing)})"
    for migration in report.migrations:
        if migration.has_unknown_rows:
            return f"next: db status   (the rows of {migration.name} cannot be read: {migration.error})"
    pending = [migration.name for migration in report.migrations if not migration.has_ended]
    if pending:
        return f"next: db migrate   (not complete: {_some(pending)})"
    if report.blockers:
        return f"next: db gate   ({len(report.blockers)} blocker(s) before contract)"
    left = report.contract.missing or report.half_applied
    return f"next: db contract   (to apply: {_some(left)})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
