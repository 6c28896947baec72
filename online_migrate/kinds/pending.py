"""The single form of ``pending``, shared by the runner, the gate and the verification under the lock. Pure.

A row is pending while its expression is true *or unknown*: ``bytes <> gb * 1024`` is NULL while bytes is
NULL, and NULL must never open a gate. Therefore the condition is ``(pending) IS NOT FALSE`` everywhere.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping

from online_migrate.kinds.subject import Expression, Subject


def is_pending(pending: Expression) -> sa.ColumnElement[bool]:
    """Returns the condition of a pending row: *pending* is true or unknown."""
    # Written explicitly, because SQLAlchemy's ``is_not(false())`` is ``IS NOT 0`` on SQLite.
    return Grouping(pending).op("IS NOT", is_comparison=True)(sa.literal_column("FALSE"))


def is_migrated(pending: Expression) -> sa.ColumnElement[bool]:
    """Returns the condition of a row that is not pending; its value is never unknown."""
    return Grouping(pending).op("IS", is_comparison=True)(sa.literal_column("FALSE"))


def fails_verify(subject: Subject) -> sa.ColumnElement[bool] | None:
    """Returns the condition of a migrated row for which ``verify`` does not hold; None without ``verify``.

    Without ``pending`` every row counts as migrated.
    """
    if subject.verify is None:
        return None
    wrong = Grouping(subject.verify).op("IS NOT", is_comparison=True)(sa.literal_column("TRUE"))
    return wrong if subject.pending is None else sa.and_(is_migrated(subject.pending), wrong)
