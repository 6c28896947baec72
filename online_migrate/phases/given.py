"""What a decision is given besides the operation, and the table of decisions by class of operation. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from online_migrate.phases.known import KnownSchema, Server
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import Operation


@dataclasses.dataclass(frozen=True)
class Given:
    """The server, and the schema before the operation."""

    server: Server
    known: KnownSchema

    @property
    def product(self) -> str:
        return self.server.product


Kind = TypeVar("Kind", bound=Operation)
Decision = Callable[[Kind, Given], Verdict]

DECISIONS: dict[type[Operation], Decision[Any]] = {}
"""The decision for each class of operation; :func:`decides` fills it."""


def decides(kind: type[Kind]) -> Callable[[Decision[Kind]], Decision[Kind]]:
    """Registers a function as the decision for a class of operation."""

    def register(decision: Decision[Kind]) -> Decision[Kind]:
        DECISIONS[kind] = decision
        return decision

    return register
