"""The command ``services``: its arguments and its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from online_migrate.cli.options import Duration, Where, json_option, located, site_of

if TYPE_CHECKING:
    from online_migrate.command.registry import ReportedBeside, ServicesReport
    from online_migrate.services.service import Service, Unreadable

_KEEPS = "keeps from being contracted"
_HEADER = ("id", "service", "host", "process", "release", "state", "seen", _KEEPS)
_REPORTED_HEADER = ("service", "host", "reported in", "versions", "state", "seen", _KEEPS)


@click.group(invoke_without_command=True)
@json_option
@located
def services(where: Where, as_json: bool) -> None:
    """List the live services, what each keeps from being contracted, and the pins of their versions."""
    context = click.get_current_context()
    context.obj = where
    if context.invoked_subcommand is not None:
        return
    from online_migrate import command
    from online_migrate.cli.output import document

    report = command.services(site_of(where))
    if as_json:
        document(report.as_dict())
    else:
        _print(report)


@services.command()
@click.option(
    "--stale",
    type=Duration(),
    metavar="AFTER",
    help="Also stale processes that have been silent for longer than this: 90s, 15m, 2h.",
)
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this process (repeatable).")
@json_option
@located
def prune(where: Where, stale: float | None, ids: tuple[str, ...], as_json: bool) -> None:
    """Delete processes that have ended from the registry.

    Those that have stopped cleanly, or were forced down. A live process is refused.
    """
    from online_migrate import command
    from online_migrate.cli.output import document

    gone = command.prune_services(site_of(where), stale=stale, ids=ids)
    if as_json:
        document({"pruned": [one.id for one in gone]})
        return
    for one in gone:
        click.echo(f"pruned: {_line(one)}")
    if not gone:
        click.echo("services: nothing to prune")


@services.command("force-down")
@click.argument("id", metavar="ID")
@click.option("-m", "--message", required=True, help="How it was checked that the process has ended.")
@located
def force_down(where: Where, id: str, message: str) -> None:
    """Vouch that a process has ended, so that it no longer counts.

    Recorded with the operator and the host. The process counts again if it sends another heartbeat.
    """
    from online_migrate import command

    click.echo(f"forced down: {_line(command.force_down_service(site_of(where), id, message))}")


def _line(one: Service | Unreadable) -> str:
    where = getattr(one, "where", None)
    return f"{one.service} {where} ({one.id})" if where else f"{one.service} ({one.id})"


def _print(report: ServicesReport) -> None:
    if not report.checked:
        click.echo("services: not checked: the project declares none, and none has reported")
    elif not report.services and not report.unreadable and report.reported is None:
        click.echo("services: none has reported")
    if report.services:
        _table(_HEADER, _lines(report))
    if report.reported is not None:
        _print_reported(report.reported)
    for row in report.unreadable:
        click.secho(f"unreadable: {row.service} ({row.id}): {row.reason}", fg="red")
    for pin in report.pins:
        click.echo(f"pin: {pin.name} {pin.pin}" if pin.pin else f"pin: {pin.name} is not known: {pin.reason}")
    for name in report.silent:
        click.secho(f"silent: {name}: it is declared, but no live process of it reports", fg="yellow")
    for one in report.attested:
        click.echo(
            f"attested: {one.revision}: {one.attestation} "
            f"(by {one.operator}, {one.runner}, {one.changed_at} UTC)"
        )


def _print_reported(found: ReportedBeside) -> None:
    """Prints what is reported beside the registry."""
    if found.services:
        lines = [
            (
                one.report.service,
                one.report.host,
                one.report.place or found.source,
                ",".join(f"{name}={version}" for name, version in one.report.versions.items()) or "-",
                str(one.report.state),
                "never" if one.report.silence is None else f"{one.report.silence:g} s ago",
                ", ".join(one.keeps) or "nothing",
            )
            for one in found.services
        ]
        _table(_REPORTED_HEADER, lines)
    for row in found.unreadable:
        click.secho(f"unreadable: {row.object}: {row.reason}", fg="red")
    click.echo(f"services: {found.note}")


def _lines(report: ServicesReport) -> list[tuple[str, ...]]:
    return [
        (
            shown.process.id[:8],
            shown.process.service,
            shown.process.host,
            shown.process.process,
            shown.process.release or "-",
            shown.process.liveness.value,
            f"{shown.process.silence} s ago",
            ", ".join(shown.keeps) or "nothing",
        )
        for shown in report.services
    ]


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    for line in [header, *lines]:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
