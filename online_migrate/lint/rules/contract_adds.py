"""A contract script that only adds."""

from __future__ import annotations

from collections.abc import Iterator

from online_migrate.lint.rule import script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Severity
from online_migrate.phases.verdict import Place
from online_migrate.script.graph import Phase


@script_rule(
    "contract-adds",
    severity=Severity.WARNING,
    reason="Every statement of contract revision {revision} is additive: it waits behind the gate for no "
    "reason, "
    "and the new code cannot use what it adds before.",
    replacement="move it to the expand script",
)
def contract_adds(script: Script) -> Iterator[Finding]:
    if script.phase is not Phase.CONTRACT or script.not_rendered is not None:
        return
    places = [step.verdict.place for step in script.steps]
    if Place.EXPAND in places and all(place in (Place.EXPAND, Place.ANYWHERE) for place in places):
        first = next(step for step, place in zip(script.steps, places, strict=True) if place is Place.EXPAND)
        yield first.finding(script.revision or "", revision=script.revision)
