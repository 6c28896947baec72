"""The output of ``lint``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from online_migrate.lint import reporters
from online_migrate.lint.rule import Rule
from online_migrate.lint.violation import Report


def report(found: Report, output_format: str) -> int:
    """Prints a report, and returns the exit code of the command."""
    text = reporters.render(found, output_format)
    if text:
        click.echo(text)
    for failed in found.failed_rules:
        click.secho(f"Error: {failed}", err=True, fg="red")
    return found.exit_code


def rules(known: Iterable[Rule], output_format: str) -> None:
    """Prints the rules, as text or as JSON."""
    if output_format == "json":
        click.echo(json.dumps([_as_dict(rule) for rule in known], indent=2, ensure_ascii=False))
        return
    for rule in known:
        servers = ", ".join(f"{name} {version}".strip() for name, version in rule.servers.items())
        off = "" if rule.default else ", off by default"
        click.echo(f"{rule.id} ({rule.severity}{off}) [{servers}]")
        click.echo(f"    {rule.reason}")
        for line in rule.replacement.splitlines():
            click.echo(f"    -> {line}")


def _as_dict(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "severity": str(rule.severity),
        "default": rule.default,
        "servers": dict(rule.servers),
        "sent_safely": rule.sent_safely,
        "reason": rule.reason,
        "replacement": rule.replacement,
    }
