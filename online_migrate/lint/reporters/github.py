"""The report as workflow commands of GitHub Actions, which annotate the lines of a change."""

from __future__ import annotations

from online_migrate.lint.violation import Report, Violation


def render(report: Report) -> str:
    """Returns a command for each violation."""
    return "\n".join(_command(violation) for violation in report.violations)


def _command(violation: Violation) -> str:
    properties = {
        "file": violation.path,
        "line": violation.line,
        "endLine": violation.end_line,
        "title": f"{violation.rule} {violation.object}".strip(),
    }
    listed = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    servers = f" ({', '.join(violation.servers)})" if violation.servers else ""
    message = f"{violation.reason}{servers}\n{violation.replacement}"
    return f"::{violation.severity} {listed}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
