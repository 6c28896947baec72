"""Scripts that cannot be rendered."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity


@script_rule(
    "not-rendered",
    severity=Severity.NOTICE,
    reason="The script cannot be rendered without a database: {reason}. The statements from this line on "
    "were "
    "not checked here; expand and contract check each statement before it is sent.",
    replacement="use operations that do not read the database, or branch on op.get_context().as_sql",
)
def not_rendered(script: Script) -> Iterator[Finding]:
    if script.not_rendered is not None:
        line, reason = script.not_rendered
        yield Finding(line=line, object=script.revision or "", facts={"reason": reason})
