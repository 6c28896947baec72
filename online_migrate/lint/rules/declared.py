"""What a script declares as additive: operations, and keys that name none."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.lines import line_of_text
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


@script_rule(
    "additive-unmatched",
    on_every_server=True,
    reason="additive declares {key!r}, which matches no operation and no statement of the script: it is "
    "misspelt, or the statement is gone. expand and assert_additive refuse such a script.",
    replacement="the id of the rule, with or without its object, as expand and lint print it, or the text of "
    "the statement; or remove the key",
)
def additive_unmatched(script: Script) -> Iterator[Finding]:
    # What could not be rendered may match. On one server a statement may be missing, or another rule apply.
    if script.not_rendered is not None or not script.additive:
        return
    declared = DeclaredExceptions(script.additive, script.server.product)
    for step in script.steps:
        declared.accepts(step.statement.text, step.verdict)
    for key in declared.unmatched:
        yield Finding(line=line_of_text(script.path, key, "additive"), object=key, facts={"key": key})
