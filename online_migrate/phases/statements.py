"""Decisions on statements that do not change the schema: rows, queries, settings, transactions, code.

Rows of a table that the same revisions create may be written anywhere: old code does not read them. A query
reads if every function that it calls is known to be harmless.
"""

from __future__ import annotations

from online_migrate.phases.given import Given, decides
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.operations.operation import (
    ChangeRows,
    ChangeSession,
    ControlTransaction,
    Maintain,
    Query,
    RunCode,
    Unrecognized,
)

_ROW_VERBS = frozenset(["insert", "update", "delete", "replace", "merge", "truncate", "copy", "load"])
_DECLARE = "Declare the operation as additive in the script, with the reason."


@decides(ChangeRows)
def change_rows(operation: ChangeRows, given: Given) -> Verdict:
    subject = operation.table or operation.verb
    if operation.calls:
        return unknown_calls(subject, operation.calls)
    if operation.verb not in _ROW_VERBS:
        reason = f"The effect of {operation.verb} on rows is not known."
        return apply_rule("unknown-option", subject, reason, _DECLARE)
    known = given.known
    new = operation.table is not None and known.is_new_table(operation.table)
    if new and operation.table is not None and not known.is_written_through(operation.table):
        return _copied_rows(operation) if operation.selects else apply_rule("seed-rows", subject)
    if operation.verb == "truncate":
        reason = "All rows are gone that old code reads, and its statements wait for the lock."
        return apply_rule("truncate", subject, reason, "Move it to the contract script.")
    return apply_rule(
        "change-rows",
        subject,
        "The rows stay locked until the script ends: writes of old code wait, and time out.",
        "Use a data migration, which changes the rows in small chunks.",
    )


def _copied_rows(operation: ChangeRows) -> Verdict:
    return apply_rule(
        "copy-rows",
        operation.table or "",
        "The rows are those of one moment: rows that old code writes later are missing. On MySQL"
        " and MariaDB the"
        " rows that are read stay locked, and writes of old code wait.",
        "Copy the rows by a data migration.",
    )


def unknown_calls(subject: object, calls: tuple[str, ...]) -> Verdict:
    names = ", ".join(f"{call}()" for call in calls)
    return apply_rule(
        "unknown-function",
        subject,
        f"It is not known that {names} changes nothing.",
        "Call only built-in functions that read; or declare the operation as additive in the script.",
    )


@decides(Query)
def query(operation: Query, given: Given) -> Verdict:
    if operation.calls:
        return unknown_calls("", operation.calls)
    if not operation.locks_rows:
        return apply_rule("query")
    return apply_rule(
        "lock-rows",
        "",
        "An UPDATE or DELETE of old code on the locked rows waits until the script ends, and times out.",
        "Read the rows without FOR UPDATE.",
    )


@decides(ChangeSession)
def change_session(operation: ChangeSession, given: Given) -> Verdict:
    if operation.harmless:
        return apply_rule("session-setting", operation.setting)
    return apply_rule(
        "unknown-setting",
        operation.setting,
        "The setting may change which rows or tables the next statements use, or the whole server.",
        "Leave the setting to the engine, or to the configuration of the server.",
    )


_SAVEPOINTS = frozenset({"savepoint", "release", "rollback to"})


@decides(ControlTransaction)
def control_transaction(operation: ControlTransaction, given: Given) -> Verdict:
    if operation.verb in _SAVEPOINTS:
        return apply_rule("savepoint", operation.verb)
    return apply_rule(
        "control-transaction",
        operation.verb,
        "The engine owns the transaction: it records each statement in it, and rolls it back on a failure.",
        "Leave the statement out.",
    )


_HARMLESS_MAINTENANCE = frozenset(["analyze", "vacuum", "reindex", "refresh", "check", "checksum"])
_BLOCKS = {
    ("sqlite", "vacuum"): (
        "The whole file is written again, and statements of old code wait meanwhile: database is locked.",
        "Run it outside of the migration, at a quiet time.",
    ),
    **dict.fromkeys(
        (("mysql", "optimize"), ("mariadb", "optimize")),
        (
            "Writes of old code wait for the copy if the table has a FULLTEXT index.",
            "Use ALTER TABLE ... FORCE, which the engine sends with LOCK=NONE.",
        ),
    ),
}
_BLOCKS_UNLESS_CONCURRENT = {
    "reindex": "Writes of old code on the table, and queries with the index, wait until it is built.",
    "refresh": "Queries of old code on the view wait until it is filled.",
}
_REWRITES = frozenset({"cluster", "vacuum full", "repair", "repack"})


@decides(Maintain)
def maintain(operation: Maintain, given: Given) -> Verdict:
    subject = operation.object or operation.verb
    if operation.object is not None and given.known.is_new_table(operation.object):
        return apply_rule("new-table", subject)
    blocks = _BLOCKS_UNLESS_CONCURRENT.get(operation.verb) if given.product == "postgresql" else None
    if blocks and not operation.concurrently:
        hint = f"Use {operation.verb.upper()} ... CONCURRENTLY, outside of a transaction (autocommit_block)."
        return apply_rule("rewrite-table", subject, blocks, hint)
    if (given.product, operation.verb) in _BLOCKS:
        return apply_rule("rewrite-table", subject, *_BLOCKS[given.product, operation.verb])
    if operation.verb in _HARMLESS_MAINTENANCE:
        return apply_rule("maintain", subject)
    if operation.verb in _REWRITES:
        reason = "The table is rewritten under a lock; statements of old code wait meanwhile."
        return apply_rule(
            "rewrite-table", subject, reason, "Run it outside of the migration, at a quiet time."
        )
    reason = f"The effect of {operation.verb} on old code is not known."
    return apply_rule("unknown-option", subject, reason, _DECLARE)


@decides(RunCode)
def run_code(operation: RunCode, given: Given) -> Verdict:
    return apply_rule(
        "run-code",
        operation.verb,
        "The effect of the code cannot be read from the statement.",
        "Write its statements in the script; or declare the operation as additive, with the reason.",
    )


@decides(Unrecognized)
def unrecognized(operation: Unrecognized, given: Given) -> Verdict:
    return apply_rule(
        "unrecognized",
        operation.what,
        operation.why or "The reader does not know this part of the statement, so its effect is not known.",
        "Write it in a form that is known; or declare the operation as additive in the script,"
        " with the reason.",
    )
