"""The commands: arguments and output. :mod:`online_migrate.command` does the work."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import click

import online_migrate
from online_migrate.cli.contract_command import contract
from online_migrate.cli.lint_command import lint
from online_migrate.cli.options import (
    POSITIVE,
    Where,
    attest_option,
    json_option,
    limits_of,
    located,
    migrate_options,
    release_option,
    schema_options,
    site_of,
    tool_option,
    where_options,
)
from online_migrate.cli.prove_command import prove
from online_migrate.cli.rollback_command import rollback
from online_migrate.cli.service_commands import services
from online_migrate.cli.verify_command import verify

# Each command imports what it needs when it runs: ``--help`` does not import Alembic and SQLAlchemy.


class Group(click.Group):
    """Lists the commands in the order of use, and holds the translation of exit codes."""

    translate: Callable[[int], int] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@where_options
@click.version_option(online_migrate.__version__, prog_name="online-migrate")
@click.pass_context
def cli(context: click.Context, /, **where: Any) -> None:
    """Change the schema of a live database while the old and the new version of an application both run.

    expand applies additive schema changes, migrate migrates the rows, gate lists the blockers of
    contract, contract applies destructive schema changes. Exit codes: 0 done; 1 work remains; 2 failed;
    3 refused; 127 wrong arguments.
    """
    cli.translate = None
    context.obj = Where(**where)


@cli.command()
@click.argument("directory", default="migrations")
@click.option("--adopt", is_flag=True, help="Adopt the existing linear Alembic project.")
@located
def init(where: Where, directory: str, adopt: bool) -> None:
    """Write a new project, or adopt an existing one."""
    from online_migrate import command
    from online_migrate.script.init import describe

    context = site_of(where)
    written = command.adopt(context) if adopt else command.init(context, directory)
    for path in describe(written.paths):
        click.echo(f"  {'updated' if adopt and path.endswith('.ini') else 'written'}: {path}")
    click.echo("Next:")
    for line in written.to_do:
        click.echo(f"  - {line}")


@cli.command()
@click.option("-m", "--message", required=True, help="Short description of the change.")
@click.option("--release", help='Release label, such as "2026.2".')
@click.option(
    "--rev-id", nargs=2, metavar="EXPAND CONTRACT", help="Ids of the two scripts [default: random]."
)
@located
def revision(where: Where, message: str, release: str | None, rev_id: tuple[str, str] | None) -> None:
    """Write an expand script and its contract script."""
    from online_migrate import command
    from online_migrate.script.init import describe

    for path in describe(command.revision(site_of(where), message, release=release, rev_ids=rev_id or ())):
        click.echo(path)


@cli.command()
@click.argument("target", required=False, metavar="[REVISION]")
@release_option("Apply the branch")
@schema_options
@json_option
@located
def expand(where: Where, target: str | None, as_json: bool, **options: Any) -> None:
    """Apply the expand branch.

    Its changes are additive: running code keeps working.
    """
    from online_migrate import command
    from online_migrate.cli import output

    applied = command.expand(site_of(where, works=True), target, **options)
    output.applied("expand", applied, as_json=as_json)


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@release_option("Run the data migrations")
@migrate_options
@click.option(
    "-v", "--verbose", is_flag=True, help="Print a line for every chunk, with its size and its key range."
)
@json_option
@located
def migrate(
    where: Where, names: tuple[str, ...], release: str | None, verbose: bool, as_json: bool, **limits: Any
) -> int:
    """Run data migrations until no row is pending.

    A limit of rows, time or failures stops the run earlier.

    Ctrl-C stops after the current chunk. The same command continues from the checkpoint, on any host.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    with progress.listener(verbose=verbose, as_json=as_json) as listener:
        context = site_of(where, works=True, listener=listener)
        run = command.migrate  # imports what it needs
        # Imported modules are never freed. Scanning them in each collection costs a tenth of the time of a
        # row function.
        gc.freeze()
        results = run(context, names, limits_of(**limits), release=release)
    output.results(results, as_json=as_json)
    return command.exit_code(results)


@cli.command("online_data_migrations")
@click.option("--max-count", "--max_count", type=POSITIVE, help="Maximum number of rows to migrate.")
@located
def online_data_migrations(where: Where, max_count: int | None) -> int:
    """Run data migrations as cinder-manage does.

    The arguments and exit codes of cinder-manage and nova-manage: 0 no row is pending; 1 --max-count was
    reached and rows are pending; 2 any error; 127 wrong arguments.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    cli.translate = lambda code: 2 if code == 3 else code
    with progress.listener() as listener:
        context = site_of(where, works=True, listener=listener)
        results = command.migrate(context, limits=command.MigrateOptions(max_count=max_count))
    output.cinder_table(results)
    return command.exit_code(results)


@cli.command()
@click.argument("name")
@json_option
@located
def pause(where: Where, name: str, as_json: bool) -> None:
    """Pause a data migration on all hosts.

    Its workers finish their chunk, then wait for resume.
    """
    from online_migrate import command
    from online_migrate.cli import output

    output.control_result(command.pause(site_of(where), name), as_json=as_json)


@cli.command()
@click.argument("name")
@json_option
@located
def resume(where: Where, name: str, as_json: bool) -> None:
    """Resume a paused or cancelled data migration."""
    from online_migrate import command
    from online_migrate.cli import output

    output.control_result(command.resume(site_of(where), name), as_json=as_json)


@cli.command()
@click.argument("name")
@json_option
@located
def cancel(where: Where, name: str, as_json: bool) -> None:
    """Cancel a data migration on all hosts.

    Its workers finish their chunk and exit. It cannot be started again before resume.
    """
    from online_migrate import command
    from online_migrate.cli import output

    output.control_result(command.cancel(site_of(where), name), as_json=as_json)


@cli.command()
@click.argument("name")
@migrate_options
@json_option
@located
def retry(where: Where, name: str, as_json: bool, **limits: Any) -> int:
    """Retry the failed rows of a data migration.

    Active workers retry them. Without active workers, this command runs the data migration.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    with progress.listener(as_json=as_json) as listener:
        context = site_of(where, works=True, listener=listener)
        said = command.retry(context, name)
        if said.workers:
            output.control_result(said, as_json=as_json)
            return 0
        results = command.migrate(context, [name], limits_of(**limits))
    output.results(results, as_json=as_json)
    return command.exit_code(results)


cli.add_command(verify)


@cli.command()
@click.argument("target", required=False, metavar="[REVISION]")
@release_option("Check the branch")
@attest_option
@json_option
@located
def gate(where: Where, target: str | None, release: str | None, attest: str | None, as_json: bool) -> int:
    """List the blockers of contract.

    For each blocker: the reason, and the command that removes it. Exit code 3 if there is one.
    """
    from online_migrate import command
    from online_migrate.cli import output

    report = command.gate_report(site_of(where), target, release=release, attest=attest)
    output.gate(report, as_json=as_json)
    return 3 if report.blockers else 0


cli.add_command(contract)
cli.add_command(rollback)


@cli.command()
@release_option("Apply all phases")
@schema_options
@located
def upgrade(where: Where, **options: Any) -> int:
    """Apply all phases to a new database.

    Or to a database that no service uses.
    """
    from online_migrate import command
    from online_migrate.cli import output, progress

    with progress.listener() as listener:
        context = site_of(where, works=True, listener=listener)
        results = command.upgrade(context, **options)
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
@tool_option
@json_option
@located
def plan(where: Where, as_json: bool, exit_code: bool, ddl_tool: str | None) -> int:
    """Show the SQL that is left to run on this database.

    Changes nothing.
    """
    from online_migrate import command
    from online_migrate.cli import output

    steps = command.plan(site_of(where), ddl_tool=ddl_tool).steps
    output.plan(steps, as_json=as_json)
    return 1 if exit_code and steps else 0


cli.add_command(services)
cli.add_command(lint)
cli.add_command(prove)


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
    """Show the position of the database on each branch."""
    from online_migrate import command
    from online_migrate.cli import output

    states = command.current(site_of(where))
    output.current(states, as_json=as_json)
    return 1 if check_heads and any(state.missing for state in states.values()) else 0


@cli.command()
@click.argument("revisions", nargs=-1, required=True)
@located
def stamp(where: Where, revisions: tuple[str, ...]) -> None:
    """Record revisions without running them.

    A revision moves its own branch only; "heads" and "base" move both.
    """
    from online_migrate import command

    rows = command.stamp(site_of(where), revisions)
    click.echo(f"stamped: {', '.join(rows) or 'base'}")


@cli.command()
@click.option("--rows", type=POSITIVE, default=20_000, show_default=True, help="Rows of the sample database.")
@click.option("--url", metavar="URL", help="An empty database to use instead of SQLite.")
def demo(rows: int, url: str | None) -> int:
    """Run a complete migration as a demonstration.

    On a sample database under live traffic.
    """
    from online_migrate.demo.main import run

    return run(rows=rows, url=url, echo=click.echo)


db = Group("db", commands=dict(cli.commands), help="Alias: db COMMAND is the same as COMMAND.")
cli.add_command(db)
