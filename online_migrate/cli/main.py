"""The entry point: converts the exception of a command into a line on stderr and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from online_migrate import exceptions
from online_migrate.cli import streams
from online_migrate.cli.commands import cli

WRONG_ARGUMENTS = 127
UNEXPECTED = 2
INTERRUPTED = 1


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and exits with its exit code; the README lists the codes."""
    # Modules and rows are not garbage. Scanning them at the default thresholds costs a tenth of the run time.
    gc.set_threshold(20_000, 20, 20)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        code = cli.main(args=arguments, prog_name="online-migrate", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        return _wrong_arguments(error)
    except click.ClickException as error:
        error.show()
        return WRONG_ARGUMENTS
    except exceptions.OnlineMigrateError as error:
        return _translated(streams.failure(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; run the same command again to continue", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has closed the pipe (``| head``).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - every other error is printed without a traceback
        return _unexpected(error)
    return _translated(int(code or 0))


def _wrong_arguments(error: click.UsageError) -> int:
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    click.echo(f"Error: {error.format_message()}", err=True)
    return WRONG_ARGUMENTS


def _unexpected(error: Exception) -> int:
    from online_migrate.driver_errors import CLEANUP_ERRORS, error_message

    if os.environ.get("ONLINE_MIGRATE_DEBUG"):
        raise error
    if isinstance(error, CLEANUP_ERRORS):
        return streams.failure(exceptions.ServerError(reason=error_message(error)))
    click.secho(f"Error: {type(error).__name__}: {error}", err=True, fg="red")
    click.echo("  -> this is a bug in online-migrate; ONLINE_MIGRATE_DEBUG=1 shows the traceback", err=True)
    return UNEXPECTED


def _translated(code: int) -> int:
    """Returns the exit code of the command that ran: cinder-manage has no code 3."""
    translate: Callable[[int], int] | None = cli.translate
    return translate(code) if translate is not None else code
