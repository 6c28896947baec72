"""Operations that are not additive: the verdicts of the phases, each under its own id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from online_migrate.lint.rule import Rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.phases.declared import DeclaredExceptions
from online_migrate.phases.rules import RULES
from online_migrate.phases.verdict import Place
from online_migrate.script.graph import Phase

_REPLACEMENTS = {
    Place.CONTRACT: "the contract script, after the old code is gone",
    Place.DATA: "a data migration",
    Place.REFUSED: "a form that is known; or, if it is additive, declare it in the script with its reason: "
    'additive = {"...": "reason"}',
}


def _check(id: str, place: Place) -> Callable[[Script], Iterable[Finding]]:
    def check(script: Script) -> Iterator[Finding]:
        # A contract script may do what old code notices; what nothing is known of is reported there, too.
        if script.phase is Phase.CONTRACT and place is not Place.REFUSED:
            return
        steps = script.steps_by_rule.get(id)
        if not steps:
            return
        declared = DeclaredExceptions(script.additive, script.server.product)
        for step in steps:
            if not declared.accepts(step.statement.text, step.verdict):
                finding = step.finding(step.verdict.object)
                yield finding.saying(
                    step.verdict.reason,
                    step.verdict.hint,
                    Severity.ERROR if script.phase is Phase.EXPAND else Severity.WARNING,
                )

    return check


VERDICTS = tuple(
    Rule(
        id=id,
        reason=rule.summary,
        replacement=_REPLACEMENTS[rule.place],
        check=_check(id, rule.place),
    )
    for id, rule in RULES.items()
    if rule.place in _REPLACEMENTS
)
"""A rule for each id that the phases give to an operation that expand refuses."""
