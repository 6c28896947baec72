"""Maintenance that blocks a table (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import POSTGRESQL, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations.operation import Maintain, SetTableOption


@script_rule(
    "table-rewritten-by-maintenance",
    servers=POSTGRESQL,
    reason="{verb} rewrites {object} under an ACCESS EXCLUSIVE lock: readers and writers wait.",
    replacement="pg_repack, or pg_squeeze, which rewrite a table while it is used",
)
def table_rewritten_by_maintenance(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(Maintain):
        if operation.verb in ("cluster", "vacuum full"):
            name = operation.object or "every table"
            yield step.finding(str(name), verb=operation.verb.upper(), object=name)


@script_rule(
    "reindex-blocks",
    servers={"postgresql": "12"},
    reason="REINDEX locks the table of {object} against writes, and its index against reads, until the "
    "index is "
    "built. CONCURRENTLY does not (PostgreSQL 12).",
    replacement="REINDEX ... CONCURRENTLY {object}   (outside of a transaction)",
)
def reindex_blocks(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(Maintain):
        if operation.verb == "reindex" and not operation.concurrently:
            yield step.finding(str(operation.object or ""), object=operation.object or "...")


@script_rule(
    "refresh-blocks-reads",
    servers=POSTGRESQL,
    reason="REFRESH MATERIALIZED VIEW takes an ACCESS EXCLUSIVE lock on {object}: its readers wait until the "
    "query has ended.",
    replacement="REFRESH MATERIALIZED VIEW CONCURRENTLY {object}   (needs a unique index on the view)",
)
def refresh_blocks_reads(script: Script) -> Iterator[Finding]:
    for step, operation in script.each(Maintain):
        if operation.verb == "refresh" and not operation.concurrently:
            yield step.finding(str(operation.object or ""), object=operation.object or "...")


@script_rule(
    "table-option-rewrites",
    servers=POSTGRESQL,
    reason="A changed {option} copies {table} under an ACCESS EXCLUSIVE lock: readers and writers wait.",
    replacement="pg_repack with --tablespace, or a new table that a data migration fills",
)
def table_option_rewrites(script: Script) -> Iterator[Finding]:
    for step, operation in script.on_existing(SetTableOption):
        if operation.option in ("tablespace", "logged", "unlogged", "access method"):
            yield step.finding(str(operation.table), table=operation.table, option=operation.option)
