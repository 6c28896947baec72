"""The reason why a server, or a table of it, cannot be used for an operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why this server, with its current settings, cannot be used for an operation.

    *hint*: the change that makes the operation possible.
    """

    reason: str
    hint: str


def of_a_view(name: str, kind: str, bases: Iterable[str]) -> Problem:
    """Returns the problem of a view that a data migration, or one of its expressions, reads as a table.

    *name*: the view. *kind*: its kind, such as "a view". *bases*: the base tables that the view reads.
    """
    named = ", ".join(bases)
    return Problem(
        reason=f"{name} is {kind}, which may omit rows",
        hint=f"use its base table instead: {named}" if named else "use its base table instead",
    )
