"""Indexes that are built, dropped or rebuilt while writers wait (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations import parts

_OUTSIDE = "with op.get_context().autocommit_block():\n    "


def _columns(index: parts.Index) -> str:
    return ", ".join(column or "..." for column in index.columns) or "..."


@script_rule(
    "create-index-blocks-writes",
    servers=POSTGRESQL,
    sent_safely=True,
    reason="CREATE INDEX takes a SHARE lock on {table} until the index is built: INSERT, UPDATE and DELETE "
    "of "
    "every session wait.",
    replacement="CREATE {unique}INDEX CONCURRENTLY {index} ON {table} ({columns})   (outside of a "
    "transaction)",
)
def create_index_blocks_writes(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(ops.CreateIndex):
        index = operation.index
        if not index.concurrently:
            yield step.finding(
                index.name or str(operation.table),
                table=operation.table,
                index=index.name or "...",
                columns=_columns(index),
                unique="UNIQUE " if index.unique else "",
            )


@script_rule(
    "drop-index-blocks",
    servers=POSTGRESQL,
    sent_safely=True,
    reason="DROP INDEX takes an ACCESS EXCLUSIVE lock on the table of {index}: while it waits for running "
    "transactions, every statement on the table waits behind it, also SELECT.",
    replacement="DROP INDEX CONCURRENTLY {index}   (outside of a transaction)",
)
def drop_index_blocks(script: Script) -> Iterator[Finding]:
    if script.under_lock:
        return  # contract waits for its lock outside of the queue, and has it already
    for step, operation in script.on_existing(ops.DropIndex):
        table = step.before.table_of_index(operation.index)
        if not operation.concurrently and not (table is not None and table.is_new):
            yield step.finding(str(operation.index), index=operation.index)


@script_rule(
    "concurrently-in-transaction",
    servers=POSTGRESQL,
    reason="PostgreSQL refuses {what} inside of a transaction, and a revision runs in one.",
    replacement=f"{_OUTSIDE}op.create_index(..., postgresql_concurrently=True)",
    sent_safely=True,
)
def concurrently_in_transaction(script: Script) -> Iterator[Finding]:
    for step in script.steps:
        operation = step.operation
        concurrently = getattr(operation, "concurrently", False)
        if isinstance(operation, ops.CreateIndex):
            concurrently = operation.index.concurrently
        refresh = isinstance(operation, ops.Maintain) and operation.verb == "refresh"
        if concurrently and not refresh and step.statement.transaction is not None:
            words = step.statement.text.split()
            yield step.finding(what=" ".join(words[: 1 + [w.upper() for w in words].index("CONCURRENTLY")]))


@script_rule(
    "index-dropped-before-replacement",
    severity=Severity.WARNING,
    reason="Index {index} of {table} is dropped before the index that replaces it is built: until then the "
    "queries that used it scan the table.",
    replacement="create {new} first, then drop {index}",
)
def index_dropped_before_replacement(script: Script) -> Iterator[Finding]:
    for step, dropped in script.each(ops.DropIndex):
        table = step.before.table_of_index(dropped.index)
        index = table.index(dropped.index.name) if table is not None else None
        if table is None or index is None or table.is_new:
            continue
        for later, created in script.each(ops.CreateIndex):
            first = created.index.columns[:1]
            same = str(created.table) == str(table.name) and first == index.columns[:1]
            if later.statement.number > step.statement.number and same:
                yield step.finding(
                    str(dropped.index), index=dropped.index, table=table.name, new=created.index.name
                )


@script_rule(
    "index-of-many-columns",
    severity=Severity.WARNING,
    default=False,
    reason="Index {index} has {count} columns. An index with more than three columns is seldom faster than "
    "one of its first columns, and every write maintains it.",
    replacement="index the columns that narrow the rows most",
)
def index_of_many_columns(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(ops.CreateIndex):
        index = operation.index
        if not index.unique and len(index.columns) > 3:
            yield step.finding(index.name or "", index=index.name, count=len(index.columns))
