"""``verify``: its arguments."""

from __future__ import annotations

from typing import Any

import click

from online_migrate.cli.options import (
    Where,
    attest_option,
    json_option,
    limits_of,
    located,
    migrate_options,
    site_of,
)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--barrier",
    is_flag=True,
    help="In a project that declares no services: no code of the old version runs, so create the barrier.",
)
@click.option("--drop-barrier", is_flag=True, help="Drop the barriers, and check nothing.")
@attest_option
@migrate_options
@json_option
@located
def verify(
    where: Where,
    names: tuple[str, ...],
    barrier: bool,
    drop_barrier: bool,
    attest: str | None,
    as_json: bool,
    **limits: Any,
) -> int:
    """Create barriers, and check every row of data migrations.

    A barrier makes the server refuse new pending rows, so that contract need not count under its lock.
    """
    from online_migrate import command
    from online_migrate.cli import verifying

    context = site_of(where, works=True)
    if drop_barrier:
        verifying.dropped_barriers(
            {name: command.drop_barrier(context, name) for name in names}, as_json=as_json
        )
        return 0
    found = command.verify(context, names, limits_of(**limits), barrier=barrier, attest=attest)
    verifying.verified(found, as_json=as_json)
    return max((result.exit_code for result in found), default=0)
