"""The command ``prove``: its arguments and its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from online_migrate.cli.options import Where, json_option, located, release_option, site_of

if TYPE_CHECKING:
    from online_migrate.prove.finding import Report


@click.command()
@click.option("--old", required=True, metavar="MODELS", help="Models of the old version.")
@click.option("--new", required=True, metavar="MODELS", help="Models of the new version.")
@click.option(
    "--final", metavar="MODELS", help="Models of the version that runs after contract [default: --new]."
)
@click.option(
    "--since",
    metavar="RELEASE",
    help="Release, or expand revision, of the old version: all up to it is applied before the first phase.",
)
@click.option(
    "--rows", metavar="MODULE:FUNCTION", help="Function that changes each generated row before it is written."
)
@release_option("Prove the phases")
@json_option
@located
def prove(where: Where, as_json: bool, **options: Any) -> int:
    """Prove that the old and the new version survive every phase.

    On an empty database: that of --url, or a temporary file of SQLite. MODELS: [PATH:]MODULE[:OBJECT], such
    as app.models:Base or ../release-1:app.models. Exit code 3 if something is found.
    """
    from online_migrate import command
    from online_migrate.cli import output

    report = command.prove(site_of(where, works=True), **options)
    if as_json:
        output.document(report.as_dict())
    else:
        _print(report)
    return report.exit_code


def _print(report: Report) -> None:
    from online_migrate.cli.streams import echo, secho

    for phase in report.phases:
        counts = ", ".join(f"{name} {count}" for name, count in phase.operations.items())
        echo(f"{phase.name}: {counts or 'no'} operation(s)")
    for finding in report.findings:
        secho(finding.title, fg="red")
        for line in finding.details:
            echo(f"    {line}")
    if report.stopped:
        secho(f"stopped: {report.stopped}", fg="yellow")
    if report.findings:
        secho(f"prove: {len(report.findings)} finding(s)", fg="red")
    else:
        secho("prove: both versions survive every phase", fg="green")
