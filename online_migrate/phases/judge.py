"""Judges the operations of a statement by allow-lists, a file for each family of operations. Pure.

An operation is additive (EXPAND) if code that does not know of it keeps reading **and** writing. What is not
listed is refused. Three things are accepted by definition:

- Old code names its columns. ``INSERT INTO t VALUES (...)`` without a list of columns fails after any new
  column, and ``SELECT *`` by position reads another one.
- Old code writes with INSERT, UPDATE and DELETE, and on MySQL and MariaDB in strict mode. TRUNCATE of a table
  fails as soon as a foreign key refers to it.
- New code writes rows that old code can read. A wider type, a new enum value, a column that accepts NULL, or
  a foreign key from a new table or column changes nothing for old code before new code writes.

A decision is about what a statement means. How long it blocks is for lint and for the executor, which sends
the online form. Where no online form exists, because the table is rewritten or copied, it is not additive.
"""

from __future__ import annotations

from online_migrate.phases import (  # noqa: F401 - each registers its decisions
    columns,
    constraints,
    indexes,
    new_columns,
    objects,
    partitions,
    redefine,
    statements,
    tables,
)
from online_migrate.phases.given import DECISIONS, Given
from online_migrate.phases.hidden_calls import objection_to_hidden_call
from online_migrate.phases.known import KnownSchema, Server
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.schema import VirtualSchema
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.both_readers import read_by_both
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.parse import Unreadable


def judge(operation: Operation, server: Server, known: KnownSchema) -> Verdict:
    """Returns the verdict on one operation, with the schema as it is *known* before it."""
    decision = DECISIONS.get(type(operation))
    if decision is not None:
        given = Given(server, known)
        verdict = decision(operation, given)
        return (objection_to_hidden_call(operation, given) if verdict.additive else None) or verdict
    return apply_rule(
        "unknown-operation",
        type(operation).__name__,
        "There is no decision for this operation, so its effect is not known.",
        "Declare the operation as additive in the script, with the reason.",
    )


def judge_text(text: str, server: Server, known: KnownSchema) -> tuple[Verdict, ...]:
    """Returns a verdict for each operation of *text*, in order; a text that cannot be read is refused.

    Each operation is judged with the schema after the operations before it. *known* is not changed.
    """
    try:
        operations = read_by_both(text, server.product, server.version)
    except Unreadable as error:
        hint = "Write one statement for each call, in the SQL of the server."
        return (apply_rule("unreadable", text.strip().split("\n")[0][:60], f"{error}.", hint),)
    schema = VirtualSchema(known)
    verdicts = []
    for operation in operations:
        verdicts.append(judge(operation, server, schema))
        schema.apply(operation)
    return tuple(verdicts)
