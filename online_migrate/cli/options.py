"""The options that every command takes, before or after its name."""

from __future__ import annotations

import dataclasses
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from online_migrate.command import Site

F = Callable[..., Any]


@dataclasses.dataclass
class Where:
    """Which project and which database; the innermost option that was given counts."""

    config: str | None = None
    url: str | None = None
    config_files: tuple[str, ...] = ()
    x: tuple[str, ...] = ()

    def merged(self, outer: Where) -> Where:
        """This, with what it does not say taken from *outer*."""
        return Where(
            self.config or outer.config,
            self.url or outer.url,
            self.config_files or outer.config_files,
            outer.x + self.x,
        )


def where_options(function: F) -> F:
    """Adds -c, --url, --config-file and -x."""
    for option in (
        click.option("-x", "x", multiple=True, metavar="NAME=VALUE", help="Passed on to env.py."),
        click.option(
            "--config-file",
            "config_files",
            multiple=True,
            metavar="FILE",
            help="An oslo.config file whose [database] connection is the database.",
        ),
        click.option("--url", metavar="URL", help="The database [env: ONLINE_MIGRATE_URL]."),
        click.option("-c", "--config", metavar="FILE", help="The project's alembic.ini [default: here]."),
    ):
        function = option(function)
    return function


def located(function: F) -> F:
    """Gives a command its ``where`` argument, made of its own options and those before its name."""

    @where_options
    @click.pass_context
    def wrapper(
        context: click.Context,
        /,
        config: str | None,
        url: str | None,
        config_files: tuple[str, ...],
        x: tuple[str, ...],
        **keywords: Any,
    ) -> Any:
        outer = context.find_object(Where) or Where()
        return function(Where(config, url, config_files, x).merged(outer), **keywords)

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    return wrapper


def site_of(where: Where, *, works: bool = False, **more: Any) -> Site:
    """The site on which a command works; messages go to stderr.

    *works*: signals stop it where nothing is left half done, instead of at once.
    """
    from online_migrate.command import Site
    from online_migrate.waiting import Stop

    # oslo.db logs the traceback of every error that it has no class for; we say what happened ourselves.
    logging.getLogger("oslo_db").addHandler(logging.NullHandler())
    stop = Stop()
    if works and threading.current_thread() is threading.main_thread():
        _stop_on_signals(stop.request)
    return Site(
        config_file=Path(where.config or "alembic.ini"),
        given_url=where.url,
        oslo_config_files=where.config_files,
        x_arguments=where.x,
        stop=stop,
        say=lambda line: click.echo(line, err=True),
        **more,
    )


def _stop_on_signals(request: Callable[[str], None]) -> None:
    """The first signal asks to stop; a second SIGINT leaves at once, which loses nothing either."""

    def handle(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        request(name)
        # Before the line: who answers it at once is heard.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        click.echo(f"{name}: stopping after this chunk, or this revision; Ctrl-C leaves at once", err=True)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
