"""The command ``lint``: its arguments."""

from __future__ import annotations

import os
from typing import Any

import click

from online_migrate.cli.options import Where, located, site_of


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--dialect",
    "dialects",
    multiple=True,
    type=click.Choice(("postgresql", "mysql", "mariadb", "sqlite")),
    help="Server to check for (repeatable) [default: that of the URL, else all].",
)
@click.option("--since", metavar="REVISION", help="Report only the revisions after this one.")
@click.option("--rule", "only", multiple=True, metavar="RULE", help="Run only this rule (repeatable).")
@click.option("--enable", multiple=True, metavar="RULE", help="Run this rule, too (repeatable).")
@click.option(
    "--format",
    "output_format",
    default="text",
    show_default=True,
    metavar="FORMAT",
    help="Format of the output: text, json, sarif or github.",
)
@click.option("--list-rules", is_flag=True, help="List the rules instead.")
@located
def lint(where: Where, paths: tuple[str, ...], output_format: str, list_rules: bool, **options: Any) -> int:
    """Check migration scripts and SQL files.

    Locks, rewrites, and the rules of the two branches. Needs no database; with --url the findings have its
    facts, such as the number of rows. PATH: SQL files, folders, other projects, or scripts of the project
    [default: the project]. Exit code 3 if something is found.
    """
    from pathlib import Path

    from online_migrate import command
    from online_migrate.cli import linting
    from online_migrate.lint import reporters

    reporters.require(output_format)
    if list_rules:
        linting.rules(command.lint_rules().values(), output_format)
        return 0
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    report = command.lint(site_of(where), [Path(path) for path in paths], processes=processes, **options)
    return linting.report(report, output_format)
