"""Where the commands print: the standard streams, or those that a program gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import IO, Any

import click

from online_migrate.exceptions import OnlineMigrateError

_streams: ContextVar[tuple[IO[str] | None, IO[str] | None]] = ContextVar("streams", default=(None, None))
_wording: ContextVar[Callable[[str], str]] = ContextVar("wording", default=str)
"""Changes each line before it is printed: the commands that it names have other names in another program."""


@contextlib.contextmanager
def written_to(
    out: IO[str] | None, err: IO[str] | None, *, wording: Callable[[str], str] = str
) -> Iterator[None]:
    """Inside the block results are written to *out* and errors to *err*; None: to the standard streams.

    *wording*: called with each line; what it returns is printed.
    """
    token, words = _streams.set((out, err)), _wording.set(wording)
    try:
        yield
    finally:
        _streams.reset(token)
        _wording.reset(words)


def stdout() -> IO[str] | None:
    """Returns the stream for results; None: the standard one."""
    return _streams.get()[0]


def echo(text: str, *, err: bool = False) -> None:
    """Prints a line, to stderr if *err*."""
    click.echo(_wording.get()(text), file=_streams.get()[err], err=err)


def secho(text: str, *, err: bool = False, **style: Any) -> None:
    """Prints a line with a style, which only a terminal shows."""
    click.secho(_wording.get()(text), file=_streams.get()[err], err=err, **style)


def failure(error: OnlineMigrateError) -> int:
    """Prints an error with its blockers and its hint, and returns its exit code."""
    secho(f"Error: {error}", err=True, fg="red")
    for blocker in getattr(error, "blockers", ()):
        if not isinstance(blocker, str):
            echo(f"  {blocker.object}: {blocker.reason}\n      -> {blocker.hint}", err=True)
    if error.hint:
        echo(f"  -> {error.hint}", err=True)
    return error.exit_code
