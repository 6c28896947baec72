"""Why a server, or a table of it, cannot be used for something."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why this server, as it is set now, cannot be used for something; *hint* is the way out."""

    reason: str
    hint: str


def of_a_view(name: str, kind: str, bases: Iterable[str]) -> Problem:
    """A view as the table of a data migration, or of its expressions."""
    named = ", ".join(bases)
    return Problem(
        reason=f"{name} is {kind}, which may leave rows out",
        hint=f"use its base table instead: {named}" if named else "use its base table instead",
    )
