"""The arguments of ``contract``, and its three forms: drop, ``--soak``, ``--unsoak``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from online_migrate.cli.options import (
    Duration,
    Where,
    attest_option,
    json_option,
    located,
    release_option,
    schema_options,
    site_of,
)

if TYPE_CHECKING:
    from online_migrate.command import CommandContext


class SoakTime(Duration):
    """A duration that may also be in days: ``7d``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        days = str(value).strip().lower()
        if not days.endswith("d"):
            return super().convert(value, param, ctx)
        return 24 * super().convert(f"{days[:-1]}h", param, ctx)


@click.command()
@click.argument("target", required=False, metavar="[REVISION]")
@release_option("Apply the branch")
@click.option(
    "--available", is_flag=True, help="Apply the revisions before the first one whose gate is closed."
)
@click.option(
    "--soak",
    is_flag=True,
    help="Rename the columns and tables instead of dropping them: code that uses them fails, and --unsoak "
    "brings them back.",
)
@click.option(
    "--soak-time",
    type=SoakTime(),
    metavar="DURATION",
    help="With --soak: time before contract may drop them: 90s, 15m, 24h, 7d [default: soak_time].",
)
@click.option(
    "--unsoak", is_flag=True, help="Bring back what --soak renamed, of REVISION and those after it."
)
@click.option("--end-soak", is_flag=True, help="Drop what --soak renamed before its time is over.")
@attest_option
@schema_options
@json_option
@located
def contract(where: Where, target: str | None, as_json: bool, **options: Any) -> int:
    """Apply the contract branch, if the gate is open."""
    return run_contract(site_of(where, works=True), target, as_json=as_json, **options)


def run_contract(
    context: CommandContext,
    target: str | None,
    *,
    soak: bool = False,
    unsoak: bool = False,
    soak_time: float | None = None,
    as_json: bool = False,
    **options: Any,
) -> int:
    """Runs one form of contract, prints its result, and returns the exit code.

    *options*: the other arguments of :func:`online_migrate.command.contract`.
    """
    from online_migrate.cli import output
    from online_migrate.exceptions import GateClosed

    _refuse_mixed(soak=soak, unsoak=unsoak, soak_time=soak_time, **options)
    try:
        if unsoak:
            return _unsoak(context, target, as_json=as_json)
        if soak:
            return _soak(context, target, soak_time, as_json=as_json, **options)
        return _contract(context, target, as_json=as_json, **options)
    except GateClosed as closed:
        if as_json:
            output.contracted((), closed.blockers, as_json=True)
        raise


def _refuse_mixed(**given: Any) -> None:
    """Raises :class:`~online_migrate.exceptions.UsageError` for options that exclude each other."""
    from online_migrate.exceptions import UsageError

    forms = [name for name in ("available", "soak", "unsoak", "end_soak") if given.get(name)]
    if "unsoak" in forms and given.get("release") is not None:
        forms.append("release")
    if len(forms) > 1 and forms != ["available", "end_soak"]:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in forms)
        raise UsageError(message=f"{named} exclude each other")
    if given.get("soak_time") is not None and not given.get("soak"):
        raise UsageError(message="--soak-time needs --soak")


def _contract(context: CommandContext, target: str | None, *, as_json: bool, **options: Any) -> int:
    from online_migrate import command
    from online_migrate.cli import output

    done = command.contract(context, target, **options)
    output.contracted(done.revisions, done.blockers, as_json=as_json)
    return 1 if done.blockers else 0


def _soak(
    context: CommandContext,
    target: str | None,
    soak_time: float | None,
    *,
    as_json: bool,
    release: str | None = None,
    attest: str | None = None,
    kill_blockers: float | None = None,
    **_unused: Any,
) -> int:
    from online_migrate import command
    from online_migrate.cli import output

    done = command.soak(
        context, target, release=release, soak_time=soak_time, attest=attest, kill_blockers=kill_blockers
    )
    output.soaked(done.revisions, as_json=as_json)
    return 0


def _unsoak(context: CommandContext, target: str | None, *, as_json: bool) -> int:
    from online_migrate import command
    from online_migrate.cli import output

    back = command.unsoak(context, target)
    output.unsoaked(back.revisions, back.owed, back.out_of_step, as_json=as_json)
    return 1 if back.owed or back.out_of_step else 0
