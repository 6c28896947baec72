"""``DbCommands``: the ``db`` commands of a ``*-manage`` program.

A program mounts them in one of four ways: as a class of commands like those of cinder-manage and nova-manage,
on sub-commands of oslo.config, on argparse, on click. Nothing is printed except to the given streams, the
process is not exited, and its logging is not changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from online_migrate import command, exceptions
from online_migrate.cli import output, streams, verifying
from online_migrate.cli.contract_command import run_contract
from online_migrate.command import CommandContext, MigrateOptions
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
from online_migrate.openstack.arguments import args
from online_migrate.openstack.command_names import as_db_commands
from online_migrate.openstack.host import Database, command_context
from online_migrate.openstack.mounting import add_parsers, click_group, run_parsed
from online_migrate.openstack.next_step import next_step

__all__ = ["DbCommands", "add_parsers", "click_group", "run_parsed"]

_log = logging.getLogger(__name__)
_REVISION = {"metavar": "<revision>", "help": "The last revision to apply [default: the head of the branch]."}
_RELEASE = {"metavar": "<release>", "help": "The last release to apply, instead of a revision."}
_ATTEST = {"metavar": "<text>", "help": "How it was checked that no process of a silent service runs."}
_DONE = {"action": "store_true", "help": "The statement that an earlier run reported was executed."}
_NOT_DONE = {"action": "store_true", "help": "The statement that an earlier run reported was not executed."}
_MAX_COUNT = {"metavar": "<number>", "help": "Maximum number of rows to migrate."}


class DbCommands:
    """The ``db`` commands. Each public method is a command, and returns its exit code.

    0: done, nothing left; 1: work remains; 2: failed; 3: refused; 127: wrong arguments.
    ``online_data_migrations`` has the exit codes of cinder-manage, without 3.
    """

    def __init__(
        self,
        config_file: str | Path,
        database: Database | Callable[[], Database] | None = None,
        *,
        group: str = "database",
        x_arguments: Sequence[str] = (),
        out: IO[str] | None = None,
        err: IO[str] | None = None,
        at_exit: Callable[[int], Any] | None = None,
    ) -> None:
        """*config_file*: the alembic.ini of the project.

        *database*: a configuration of oslo.config, an engine, a connection or a URL, or a function that
        returns one when a command runs; None: env.py decides. *group*: the group of the configuration that
        names the database. *x_arguments*: for env.py. *out*, *err*: the streams for results and errors; None:
        the standard ones. *at_exit*: called with the exit code at the end of a command, ``sys.exit`` for
        example, in a program that ignores what its commands return.
        """
        self._config_file = Path(config_file)
        self._database = database
        self._group = group
        self._x_arguments = tuple(x_arguments)
        self._out = out
        self._err = err
        self._at_exit = at_exit

    # --- the phases ------------------------------------------------------------------------------

    @args("--revision", dest="revision", **_REVISION)
    @args("--release", dest="release", **_RELEASE)
    @args("--statement-done", dest="statement_done", **_DONE)
    @args("--statement-not-done", dest="statement_not_done", **_NOT_DONE)
    def expand(
        self,
        revision: str | None = None,
        release: str | None = None,
        statement_done: bool | None = None,
        statement_not_done: bool | None = None,
    ) -> int:
        """Apply the expand branch: additive schema changes."""

        def work(context: CommandContext) -> int:
            answer = _answer(statement_done, statement_not_done)
            applied = command.expand(context, revision, release=release, statement_done=answer)
            output.applied("expand", applied, as_json=False)
            return 0

        return self._run(work)

    @args("--name", dest="names", nargs="+", action="extend", metavar="<name>", help="Only these.")
    @args("--max_count", "--max-count", dest="max_count", **_MAX_COUNT)
    @args("--max_time", "--max-time", dest="max_time", metavar="<seconds>", help="Stop after this time.")
    def migrate(
        self,
        names: Sequence[str] | None = None,
        max_count: str | int | None = None,
        max_time: str | float | None = None,
    ) -> int:
        """Run data migrations until no row is pending, or up to a limit."""

        def work(context: CommandContext) -> int:
            results = command.migrate(context, names or (), _limits(max_count, max_time))
            output.results(results, as_json=False)
            return command.exit_code(results)

        return self._run(work)

    @args("--max_count", "--max-count", dest="max_count", **_MAX_COUNT)
    def online_data_migrations(self, max_count: str | int | None = None) -> int:
        """Run data migrations, with the arguments, table and exit codes of cinder-manage."""

        def work(context: CommandContext) -> int:
            results = command.migrate(context, limits=_limits(max_count, None))
            output.cinder_table(results)
            return command.exit_code(results)

        return self._run(work, translate=lambda code: 2 if code == 3 else code)

    @args("--name", dest="names", nargs="+", action="extend", metavar="<name>", help="Only these.")
    @args("--barrier", dest="barrier", action="store_true", help="No code of the old version runs.")
    @args("--drop-barrier", dest="drop_barrier", action="store_true", help="Only drop the barriers.")
    @args("--attest", dest="attest", **_ATTEST)
    @args("--max_count", "--max-count", dest="max_count", **_MAX_COUNT)
    @args("--max_time", "--max-time", dest="max_time", metavar="<seconds>", help="Stop after this time.")
    def verify(
        self,
        names: Sequence[str] | None = None,
        barrier: bool | None = None,
        drop_barrier: bool | None = None,
        attest: str | None = None,
        max_count: str | int | None = None,
        max_time: str | float | None = None,
    ) -> int:
        """Create barriers, and check every row of data migrations, so that contract need not count."""

        def work(context: CommandContext) -> int:
            if drop_barrier:
                dropped = {name: command.drop_barrier(context, name) for name in names or ()}
                verifying.dropped_barriers(dropped, as_json=False)
                return 0
            limits = _limits(max_count, max_time)
            found = command.verify(context, names or (), limits, barrier=bool(barrier), attest=attest)
            verifying.verified(found, as_json=False)
            return max((result.exit_code for result in found), default=0)

        return self._run(work)

    @args("--revision", dest="revision", **_REVISION)
    @args("--release", dest="release", **_RELEASE)
    @args("--attest", dest="attest", **_ATTEST)
    def gate(self, revision: str | None = None, release: str | None = None, attest: str | None = None) -> int:
        """List the blockers of contract. Exit code 3 if there is one."""

        def work(context: CommandContext) -> int:
            report = command.gate_report(context, revision, release=release, attest=attest)
            output.gate(report, as_json=False)
            return 3 if report.blockers else 0

        return self._run(work)

    @args("--revision", dest="revision", **_REVISION)
    @args("--release", dest="release", **_RELEASE)
    @args("--available", dest="available", action="store_true", help="Stop before the first closed gate.")
    @args("--attest", dest="attest", **_ATTEST)
    @args("--statement-done", dest="statement_done", **_DONE)
    @args("--statement-not-done", dest="statement_not_done", **_NOT_DONE)
    @args("--soak", dest="soak", action="store_true", help="Rename what would be dropped, reversibly.")
    @args("--unsoak", dest="unsoak", action="store_true", help="Bring back what --soak renamed.")
    @args("--end-soak", dest="end_soak", action="store_true", help="Drop before the soak time is over.")
    def contract(
        self,
        revision: str | None = None,
        release: str | None = None,
        available: bool | None = None,
        attest: str | None = None,
        statement_done: bool | None = None,
        statement_not_done: bool | None = None,
        soak: bool | None = None,
        unsoak: bool | None = None,
        end_soak: bool | None = None,
    ) -> int:
        """Apply the contract branch, if the gate is open: destructive schema changes."""

        def work(context: CommandContext) -> int:
            return run_contract(
                context,
                revision,
                release=release,
                available=bool(available),
                soak=bool(soak),
                unsoak=bool(unsoak),
                end_soak=bool(end_soak),
                statement_done=_answer(statement_done, statement_not_done),
                attest=attest,
            )

        return self._run(work)

    @args("--release", dest="release", **_RELEASE)
    def sync(self, release: str | None = None) -> int:
        """Apply all phases to a new database, or to one that no service uses."""

        def work(context: CommandContext) -> int:
            results = command.upgrade(context, release=release)
            output.results(results, as_json=False)
            return command.exit_code(results)

        return self._run(work)

    # --- reports ---------------------------------------------------------------------------------

    @args("--json", dest="as_json", action="store_true", help="Print one JSON document.")
    def status(self, as_json: bool | None = None) -> int:
        """Show phases, data migrations and blockers."""

        def work(context: CommandContext) -> int:
            output.status(command.status(context), as_json=bool(as_json))
            return 0

        return self._run(work)

    def check(self) -> int:
        """Say whether anything is left to do, and the next command. Exit code 1 if something is left."""

        def work(context: CommandContext) -> int:
            report = command.status(context)
            streams.echo(next_step(report))
            return 0 if report.complete else 1

        return self._run(work)

    def version(self) -> int:
        """Show the position of the database on each branch."""

        def work(context: CommandContext) -> int:
            output.current(command.current(context), as_json=False)
            return 0

        return self._run(work)

    # --- what every command does -----------------------------------------------------------------

    def _run(
        self, work: Callable[[CommandContext], int], *, translate: Callable[[int], int] = lambda code: code
    ) -> int:
        """Runs *work*, prints its error, and returns its exit code, translated."""
        with streams.written_to(self._out, self._err, wording=as_db_commands):
            code = translate(self._guarded(work))
        if self._at_exit is not None:
            self._at_exit(code)
        return code

    def _guarded(self, work: Callable[[CommandContext], int]) -> int:
        try:
            with command_context(
                self._config_file, self._database, group=self._group, x_arguments=self._x_arguments
            ) as context:
                return work(context)
        except exceptions.OnlineMigrateError as error:
            return streams.failure(error)
        except KeyboardInterrupt:
            streams.echo("stopped; run the same command again to continue", err=True)
            return 1
        except CLEANUP_ERRORS as error:
            return streams.failure(exceptions.ServerError(reason=error_message(error)))
        except Exception as error:  # noqa: BLE001 - the program gets an exit code; the traceback is logged
            _log.exception("an unexpected error")
            streams.echo(f"Error: {type(error).__name__}: {error}", err=True)
            return 2


def _answer(done: bool | None, not_done: bool | None) -> bool | None:
    if done and not_done:
        raise exceptions.UsageError(message="--statement-done and --statement-not-done exclude each other")
    return True if done else False if not_done else None


def _limits(max_count: str | int | None, max_time: str | float | None) -> MigrateOptions:
    count, seconds = _positive("max_count", max_count), _positive("max_time", max_time)
    if count is not None and count != int(count):
        raise _not_positive("max_count", max_count)
    return MigrateOptions(max_count=None if count is None else int(count), max_time=seconds)


def _positive(name: str, value: str | float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        raise _not_positive(name, value) from None
    if not 0 < number < float("inf"):
        raise _not_positive(name, value)
    return number


def _not_positive(name: str, value: object) -> exceptions.UsageError:
    return exceptions.UsageError(message=f"{name} must be a positive number, not {value!r}")
