"""The report as one JSON document."""

from __future__ import annotations

import dataclasses
import json

from online_migrate.lint.violation import Report


def render(report: Report) -> str:
    """Returns the document."""
    document = {
        "violations": [violation.as_dict() for violation in report.violations],
        "failed_rules": [dataclasses.asdict(failed) for failed in report.failed_rules],
        "ignored": report.ignored,
        "scripts": report.scripts,
        "servers": list(report.servers),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
