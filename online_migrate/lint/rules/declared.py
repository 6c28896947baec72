"""Operations that a script declares as additive."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.phases.declared import DeclaredExceptions


@script_rule(
    "declared-additive",
    severity=Severity.NOTICE,
    reason="The script declares {operation} as additive: {reason}",
    replacement="remove it from additive if this does not hold any more",
)
def declared_additive(script: Script) -> Iterator[Finding]:
    for key, reason in script.additive:
        declared = DeclaredExceptions({key: reason}, script.server.product)
        for step in script.steps:
            if not step.verdict.additive and declared.accepts(step.statement.text, step.verdict):
                yield step.finding(step.verdict.object, operation=str(step.verdict), reason=reason)
