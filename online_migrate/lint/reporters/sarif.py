"""The report in SARIF 2.1.0, the format of code scanning services."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any

import online_migrate
from online_migrate.lint.registry import all_rules
from online_migrate.lint.rule import Rule
from online_migrate.lint.violation import FailedRule, Report, Severity, Violation

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTICE: "note"}


def render(report: Report) -> str:
    """Returns the document, with the rules that were violated."""
    known = all_rules()
    ids = sorted({violation.rule for violation in report.violations})
    driver = {
        "name": "online-migrate",
        "version": online_migrate.__version__,
        "rules": [_rule(known[id]) for id in ids],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": not report.failed_rules,
                "toolExecutionNotifications": [_notification(failed) for failed in report.failed_rules],
            }
        ],
        "results": [_result(violation, ids) for violation in report.violations],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.reason},
        "help": {"text": rule.replacement},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(violation: Violation, ids: list[str]) -> dict[str, Any]:
    region = {"startLine": violation.line, "endLine": violation.end_line}
    location = {"artifactLocation": {"uri": PurePath(violation.path).as_posix()}, "region": region}
    about = f"{violation.object}: " if violation.object else ""
    return {
        "ruleId": violation.rule,
        "ruleIndex": ids.index(violation.rule),
        "level": _LEVELS[violation.severity],
        "message": {"text": f"{about}{violation.reason}\n{violation.replacement}"},
        "locations": [{"physicalLocation": location}],
        "properties": {"servers": list(violation.servers), "statement": violation.statement},
    }


def _notification(failed: FailedRule) -> dict[str, Any]:
    return {"level": "error", "message": {"text": str(failed)}, "associatedRule": {"id": failed.rule}}
