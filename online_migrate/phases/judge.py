"""Judges the operations of a statement by allow-lists, a file for each family of operations. Pure."""

from __future__ import annotations

from online_migrate.phases.known import KnownSchema, Server
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import Operation


def judge(operation: Operation, server: Server, known: KnownSchema) -> Verdict:
    """Returns the verdict on one operation, with the schema as it is *known* before it."""
    raise NotImplementedError


def judge_text(text: str, server: Server, known: KnownSchema) -> tuple[Verdict, ...]:
    """Returns a verdict for each operation of *text*, in order; a text that cannot be read is refused."""
    raise NotImplementedError
