"""The arguments of ``rollback``."""

from __future__ import annotations

import click

from online_migrate.cli.options import Duration, Where, json_option, located, site_of


@click.command()
@click.argument("target", required=False, metavar="[REVISION]")
@click.option("--plan", "plans", is_flag=True, help="Show the SQL, and the rows that would lose something.")
@click.option(
    "--accept-loss",
    type=click.IntRange(min=0),
    default=0,
    metavar="ROWS",
    help="Undo although so many rows lose something, as the refusal says.",
)
@click.option(
    "--kill-blockers",
    type=Duration(),
    metavar="AFTER",
    help="End sessions that have held a lock for longer than this [default: never].",
)
@json_option
@located
def rollback(
    where: Where,
    target: str | None,
    plans: bool,
    accept_loss: int,
    kill_blockers: float | None,
    as_json: bool,
) -> None:
    """Undo an expand that is not contracted.

    The last expand revision, or all of its release; with REVISION, all down to it. Refused if a row would
    lose something.
    """
    from online_migrate import command
    from online_migrate.cli import output

    context = site_of(where, works=True)
    if plans:
        output.rollback_plan(command.rollback_plan(context, target), as_json=as_json)
        return
    done = command.rollback(context, target, accept_loss=accept_loss, kill_blockers=kill_blockers)
    output.rolled_back(done.revisions, as_json=as_json)
