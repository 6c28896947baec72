"""Every command: its arguments, and what it prints. The work is in :mod:`online_migrate.command`."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import click

import online_migrate
from online_migrate.cli.options import (
    POSITIVE,
    Where,
    answer_option,
    json_option,
    limit_options,
    limits_of,
    located,
    site_of,
    where_options,
)

# What a command needs is imported when it runs: ``--help`` answers without Alembic and SQLAlchemy.


class Group(click.Group):
    """Lists the commands in the order of a migration's life, and remembers whose dialect is spoken."""

    translate: Callable[[int], int] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@where_options
@click.version_option(online_migrate.__version__, prog_name="online-migrate")
@click.pass_context
def cli(context: click.Context, /, **where: Any) -> None:
    """Change the schema of a live database while the old and the new version of an application both run.

    expand adds, migrate moves the rows, gate says what is left, contract takes away. Exit codes: 0 done;
    1 work remains; 2 failed; 3 refused; 127 wrong arguments.
    """
    cli.translate = None
    context.obj = Where(**where)


@cli.command()
@click.argument("directory", default="migrations")
@click.option("--adopt", is_flag=True, help="Take over the existing linear Alembic project.")
@located
def init(where: Where, directory: str, adopt: bool) -> None:
    """Write a new project, or adopt an existing one."""
    from online_migrate import command
    from online_migrate.revision.init import describe

    site = site_of(where)
    written = command.adopt(site) if adopt else command.init(site, directory)
    for path in describe(written.paths):
        click.echo(f"  {'kept up to date' if adopt and path.endswith('.ini') else 'written'}: {path}")
    click.echo("Next:")
    for line in written.to_do:
        click.echo(f"  - {line}")


@cli.command()
@click.option("-m", "--message", required=True, help="What changes, in a few words.")
@click.option("--release", help='A label, such as "2026.2".')
@click.option(
    "--rev-id", nargs=2, metavar="EXPAND CONTRACT", help="The ids of the two scripts [default: random]."
)
@located
def revision(where: Where, message: str, release: str | None, rev_id: tuple[str, str] | None) -> None:
    """Write an expand script and its contract script."""
    from online_migrate import command
    from online_migrate.revision.init import describe

    for path in describe(command.revision(site_of(where), message, release=release, rev_ids=rev_id or ())):
        click.echo(path)


@cli.command()
@click.argument("target", required=False, metavar="[REVISION]")
@answer_option
@json_option
@located
def expand(where: Where, target: str | None, as_json: bool, statement_done: bool | None) -> None:
    """Apply the expand branch.

    What is added disturbs no code that runs.
    """
    from online_migrate import command
    from online_migrate.cli import output

    applied = command.expand(site_of(where, works=True), target, statement_done=statement_done)
    output.applied("expand", applied, as_json=as_json)


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@limit_options
@click.option("-v", "--verbose", is_flag=True, help="A line for every chunk: its size, and why.")
@json_option
@located
def migrate(where: Where, names: tuple[str, ...], verbose: bool, as_json: bool, **limits: Any) -> int:
    """Run data migrations until nothing is pending.

    Or up to a limit: of rows, of time, of failures.

    Ctrl-C finishes the chunk and leaves; the same command goes on from there, on any machine.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    with progress.listener(verbose=verbose, as_json=as_json) as listener:
        site = site_of(where, works=True, listener=listener)
        # What was imported stays; looking through it again and again takes a tenth of a row function's time.
        gc.freeze()
        results = command.migrate(site, names, limits_of(**limits))
    output.results(results, as_json=as_json)
    return command.exit_code(results)


@cli.command("online_data_migrations")
@click.option("--max-count", "--max_count", type=POSITIVE, help="Maximum number of rows to migrate.")
@located
def online_data_migrations(where: Where, max_count: int | None) -> int:
    """Run them as cinder-manage and nova-manage do.

    0: nothing is pending; 1: --max-count was reached and rows are left; 2: any error; 127: wrong
    arguments.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    cli.translate = lambda code: 2 if code == 3 else code
    with progress.listener() as listener:
        site = site_of(where, works=True, listener=listener)
        results = command.migrate(site, limits=command.Limits(max_count=max_count))
    output.cinder_table(results)
    return command.exit_code(results)


@cli.command()
@click.argument("name")
@json_option
@located
def pause(where: Where, name: str, as_json: bool) -> None:
    """Let its workers hold on, wherever they run.

    They finish their chunk first, and go on after resume.
    """
    from online_migrate import command
    from online_migrate.cli import output

    output.said(command.pause(site_of(where), name), as_json=as_json)


@cli.command()
@click.argument("name")
@json_option
@located
def resume(where: Where, name: str, as_json: bool) -> None:
    """Let go on what was paused or cancelled."""
    from online_migrate import command
    from online_migrate.cli import output

    output.said(command.resume(site_of(where), name), as_json=as_json)


@cli.command()
@click.argument("name")
@json_option
@located
def cancel(where: Where, name: str, as_json: bool) -> None:
    """Send its workers home, wherever they run.

    They finish their chunk first; nobody can start it again until resume.
    """
    from online_migrate import command
    from online_migrate.cli import output

    output.said(command.cancel(site_of(where), name), as_json=as_json)


@cli.command()
@click.argument("name")
@limit_options
@json_option
@located
def retry(where: Where, name: str, as_json: bool, **limits: Any) -> int:
    """Try the rows again that failed.

    Here, or by the workers that are at it.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    with progress.listener(as_json=as_json) as listener:
        site = site_of(where, works=True, listener=listener)
        said = command.retry(site, name)
        if said.workers:
            output.said(said, as_json=as_json)
            return 0
        results = command.migrate(site, [name], limits_of(**limits))
    output.results(results, as_json=as_json)
    return command.exit_code(results)


@cli.command()
@click.argument("target", required=False, metavar="[REVISION]")
@json_option
@located
def gate(where: Where, target: str | None, as_json: bool) -> int:
    """Say what stands before contract.

    And what removes it. Exit code 3 if anything does.
    """
    from online_migrate import command
    from online_migrate.cli import output

    blockers = command.gate(site_of(where), target)
    output.blockers(blockers, as_json=as_json)
    return 3 if blockers else 0


@cli.command()
@click.argument("target", required=False, metavar="[REVISION]")
@click.option("--available", is_flag=True, help="Apply up to the first revision whose gate is closed.")
@answer_option
@json_option
@located
def contract(
    where: Where, target: str | None, available: bool, as_json: bool, statement_done: bool | None
) -> int:
    """Apply the contract branch, if the gate is open."""
    from online_migrate import command
    from online_migrate.cli import output
    from online_migrate.exceptions import GateClosed

    try:
        done = command.contract(
            site_of(where, works=True), target, available=available, statement_done=statement_done
        )
    except GateClosed as closed:
        if as_json:
            output.contracted((), closed.blockers, as_json=True)
        raise
    output.contracted(done.revisions, done.blockers, as_json=as_json)
    return 1 if done.blockers else 0


@cli.command()
@answer_option
@located
def upgrade(where: Where, statement_done: bool | None) -> int:
    """Take a fresh database the whole way.

    Or one that no service uses.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    with progress.listener() as listener:
        site = site_of(where, works=True, listener=listener)
        results = command.upgrade(site, statement_done=statement_done)
    output.results(results, as_json=False)
    return command.exit_code(results)


@cli.command()
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything is left to do.")
@json_option
@located
def status(where: Where, as_json: bool, exit_code: bool) -> int:
    """Show phases, data migrations and blockers."""
    from online_migrate import command
    from online_migrate.cli import output

    report = command.status(site_of(where))
    output.status(report, as_json=as_json)
    return 1 if exit_code and not report.complete else 0


@cli.command()
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything is left to do.")
@json_option
@located
def plan(where: Where, as_json: bool, exit_code: bool) -> int:
    """Show the SQL of what is left to do.

    For this database; nothing is changed.
    """
    from online_migrate import command
    from online_migrate.cli import output

    steps = command.plan(site_of(where)).steps
    output.plan(steps, as_json=as_json)
    return 1 if exit_code and steps else 0


@cli.command()
@json_option
@located
def history(where: Where, as_json: bool) -> None:
    """List the revisions of both branches."""
    from online_migrate import command
    from online_migrate.cli import output

    output.history(command.history(site_of(where)), as_json=as_json)


@cli.command()
@json_option
@located
def heads(where: Where, as_json: bool) -> None:
    """Show the last revision of each branch."""
    from online_migrate import command
    from online_migrate.cli import output

    output.history([line for line in command.history(site_of(where)) if line.head], as_json=as_json)


@cli.command()
@click.option("--check-heads", is_flag=True, help="Exit with 1 if a branch is not at its head.")
@json_option
@located
def current(where: Where, as_json: bool, check_heads: bool) -> int:
    """Show where the database is on each branch."""
    from online_migrate import command
    from online_migrate.cli import output

    states = command.current(site_of(where))
    output.current(states, as_json=as_json)
    return 1 if check_heads and any(state.missing for state in states.values()) else 0


@cli.command()
@click.argument("revisions", nargs=-1, required=True)
@located
def stamp(where: Where, revisions: tuple[str, ...]) -> None:
    """Write down revisions without running them.

    A revision moves its own branch only; "heads" and "base" move both.
    """
    from online_migrate import command

    rows = command.stamp(site_of(where), revisions)
    click.echo(f"stamped: {', '.join(rows) or 'base'}")


@cli.command()
@click.option("--rows", type=POSITIVE, default=20_000, show_default=True, help="Rows of the sample database.")
@click.option("--url", metavar="URL", help="An empty database to use instead of SQLite.")
def demo(rows: int, url: str | None) -> int:
    """Show the whole life of a migration.

    On a sample database under live traffic.
    """
    from online_migrate.demo.main import run

    return run(rows=rows, url=url, echo=click.echo)


db = Group("db", commands=dict(cli.commands), help="Every command again: db COMMAND.")
cli.add_command(db)
