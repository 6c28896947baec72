"""The report as text."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from online_migrate.lint.violation import Report, Violation

_INDENT = "    "


def render(report: Report) -> str:
    """Returns the violations, each with its reason and its replacement, and a summary."""
    blocks = ["\n".join(_lines(violation)) for violation in report.violations]
    return "\n".join([*blocks, _summary(report)])


def _lines(violation: Violation) -> Iterator[str]:
    servers = f" [{', '.join(violation.servers)}]" if violation.servers else ""
    title = f"{violation.location}: {violation.severity} {violation.rule}{servers} {violation.object}"
    yield title.rstrip()
    if violation.statement:
        yield f"{_INDENT}{violation.statement}"
    yield textwrap.indent(violation.reason, _INDENT)
    first, *rest = violation.replacement.splitlines() or [""]
    if first:
        yield f"{_INDENT}-> {first}"
        yield from (f"{_INDENT}   {line}" for line in rest)
    if violation.since:
        versions = ", ".join(f"{server} {version}" for server, version in violation.since.items())
        yield f"{_INDENT}from {versions}"


def _summary(report: Report) -> str:
    counts = Counter(str(violation.severity) for violation in report.violations)
    found = ", ".join(f"{counts[name]} {name}(s)" for name in ("error", "warning", "notice") if counts[name])
    ignored = f"; {report.ignored} ignored" if report.ignored else ""
    return f"lint: {found or 'nothing found'} in {report.scripts} script(s){ignored}"
