"""Ignores that are not valid. :mod:`online_migrate.lint.ignores` finds them in comments and settings."""

from __future__ import annotations

from online_migrate.lint.rule import Rule
from online_migrate.lint.violation import Severity

IGNORE_WITHOUT_REASON = Rule(
    id="ignore-without-reason",
    reason="The ignore has no reason, so it ignores nothing.",
    replacement="online-migrate: ignore[{rules}] why it is safe here",
)
IGNORE_UNKNOWN_RULE = Rule(
    id="ignore-unknown-rule",
    reason="The ignore names a rule that does not exist.",
    replacement="online-migrate lint --list-rules   (lists the rules)",
    severity=Severity.WARNING,
)
IGNORE_UNUSED = Rule(
    id="ignore-unused",
    reason="The ignore does not apply to a violation of its statement.",
    replacement="remove the comment",
    severity=Severity.NOTICE,
)
