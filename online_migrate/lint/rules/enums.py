"""Enumerated types (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations.operation import AddEnumValue, CreateObject


@script_rule(
    "enum-value-used-in-transaction",
    servers=POSTGRESQL,
    reason="The value {value!r} of {type} is used in the transaction that adds it, which PostgreSQL refuses: "
    "unsafe use of new value.",
    replacement="with op.get_context().autocommit_block():\n"
    '    op.execute("ALTER TYPE {type} ADD VALUE {value!r}")',
)
def enum_value_used_in_transaction(script: Script) -> Iterator[Finding]:
    added: list[tuple[AddEnumValue, int, int]] = []
    for step in script.steps:
        statement = step.statement
        if isinstance(step.operation, AddEnumValue):
            if statement.transaction is not None:
                added.append((step.operation, statement.transaction, statement.number))
            continue
        for operation, transaction, number in added:
            later = statement.number > number and statement.transaction == transaction
            if later and f"'{operation.value}'" in statement.text:
                yield step.finding(str(operation.type), type=operation.type, value=operation.value)


@script_rule(
    "create-enum",
    servers=POSTGRESQL,
    severity=Severity.WARNING,
    default=False,
    reason="A value cannot be removed from enumerated type {type}, and a value cannot have attributes.",
    replacement="a table of the values, and a foreign key",
)
def create_enum(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(CreateObject):
        if operation.kind == "type" and " ENUM" in step.statement.text.upper():
            yield step.finding(str(operation.object), type=operation.object)
