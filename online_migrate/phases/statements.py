"""Judges the statements of a script in order: each with the schema that those before it leave. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

from online_migrate.phases.judge import judge, judge_text
from online_migrate.phases.known import KnownSchema, Server
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable


class ChangingSchema(KnownSchema, Protocol):
    """The schema of a server, which follows the operations that are judged."""

    @property
    def server(self) -> Server:
        """The product and the version."""

    def apply(self, operation: Operation) -> None:
        """Changes what is known as *operation* changes the schema."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """An operation that was judged, with its statement."""

    statement: str
    verdict: Verdict


def judge_statement(text: str, schema: ChangingSchema) -> list[Judged]:
    """Returns the verdict on each operation of *text*, and applies the operations to *schema*."""
    operations = read(text, schema.server)
    if operations is None:
        return [Judged(text, verdict) for verdict in judge_text(text, schema.server, schema)]
    return judge_operations(text, operations, schema)


def judge_operations(statement: str, operations: Iterable[Operation], schema: ChangingSchema) -> list[Judged]:
    """Returns the verdict on each of *operations*, and applies them to *schema*."""
    found = []
    for operation in operations:
        found.append(Judged(statement, judge(operation, schema.server, schema)))
        schema.apply(operation)
    return found


def read(text: str, server: Server) -> Sequence[Operation] | None:
    """Returns the operations of a text; None if it cannot be read."""
    try:
        return read_operations(text, server.product)
    except Unreadable:
        return None
