"""DDL in SQL files without a limit for the wait for its lock."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding
from online_migrate.sql.operations import operation as ops

_SETTINGS = {
    "postgresql": "lock_timeout = '500ms'",
    "mysql": "SESSION lock_wait_timeout = 1",
    "mariadb": "SESSION lock_wait_timeout = 1",
}
_NAMES = ("lock_timeout", "lock_wait_timeout", "statement_timeout")
_LOCKING = (
    ops.AddColumn,
    ops.DropColumn,
    ops.RenameColumn,
    ops.RedefineColumn,
    ops.SetColumnType,
    ops.SetNotNull,
    ops.DropNotNull,
    ops.SetDefault,
    ops.SetColumnOption,
    ops.SetTableOption,
    ops.ChangePartitions,
    ops.AddConstraint,
    ops.DropConstraint,
    ops.RenameTable,
    ops.DropTable,
    ops.CreateIndex,
    ops.CreateTrigger,
)


@script_rule(
    "lock-timeout-missing",
    servers={"postgresql": "", "mysql": "", "mariadb": ""},
    reason="The statement waits for its lock on {table} without a limit. While it waits behind a long "
    "transaction, every later statement on the table waits behind it, also SELECT.",
    replacement="SET {setting};   (first in the file; run the file again after a timeout)",
)
def lock_timeout_missing(script: Script) -> Iterator[Finding]:
    if not script.is_sql_file:
        return
    product = script.server.product
    for step in script.steps:
        operation = step.operation
        if isinstance(operation, ops.ChangeSession) and operation.setting.endswith(_NAMES):
            return
        table = getattr(operation, "table", None)
        if isinstance(operation, _LOCKING) and table is not None and not step.before.is_new_table(table):
            yield step.finding(str(table), table=table, setting=_SETTINGS[product])
            return
