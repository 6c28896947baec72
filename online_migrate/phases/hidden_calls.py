"""Statements that may call a function of the same revisions without a visible call. Pure.

``SELECT old.f FROM old`` calls ``f(old)``, a query of a view calls the functions in it, and a cast to a
domain those of its check. A statement that seems to read would execute a function that changes rows.
"""

from __future__ import annotations

from online_migrate.phases.given import Given
from online_migrate.phases.other_objects import unknown_defaults
from online_migrate.phases.statements import unknown_calls
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations import operation as op
from online_migrate.sql.operations.operation import Operation

_EVALUATES = (
    op.Query,
    op.ChangeRows,
    op.AddColumn,
    op.AddConstraint,
    op.SetColumnType,
    op.SetDefault,
    op.RedefineColumn,
    op.CreateIndex,
    op.Maintain,
)
"""Operations that evaluate expressions, at once or in each write of a table."""


def objection_to_hidden_call(operation: Operation, given: Given) -> Verdict | None:
    """Returns a verdict if the statement names a function of the same revisions, or what calls one."""
    evaluates = isinstance(operation, _EVALUATES) or getattr(operation, "materialized", False)
    called = given.known.new_code(operation.words) if evaluates else ()
    if isinstance(operation, op.AddColumn):
        called += unknown_defaults([operation.column])
    return unknown_calls(called[0], called) if called else None
