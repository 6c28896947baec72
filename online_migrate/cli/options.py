"""The options that every command takes, before or after its name."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from online_migrate.command import Limits, Site

    FloatType = click.ParamType[float]
else:
    # Older versions of click know no type of it.
    FloatType = click.ParamType

F = Callable[..., Any]
POSITIVE = click.IntRange(min=1)


class Duration(FloatType):
    """Seconds: ``90``, ``90s``, ``15m``, ``2h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
        try:
            seconds = float(text if unit is None else text[:-1]) * (unit or 1)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is no duration: write 90, 90s, 15m or 2h", param, ctx)
        return seconds


class TimeOfDay(FloatType):
    """``HH:MM``, today or tomorrow, by this machine's clock; converted to seconds from now."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        now = datetime.datetime.now()
        try:
            then = datetime.datetime.combine(now, datetime.datetime.strptime(str(value), "%H:%M").time())
        except ValueError:
            self.fail(f"{value!r} is no time of day: write HH:MM", param, ctx)
        if then <= now:
            then += datetime.timedelta(days=1)
        return (then - now).total_seconds()


def limit_options(function: F) -> F:
    """Adds what says how far a run goes, and how fast; see :func:`limits_of`."""
    for option in (
        click.option("--max-failures", type=click.IntRange(min=0), help="Rows that may fail [default: 100]."),
        click.option("--chunk-time", type=Duration(), help="How long a chunk should take."),
        click.option("--batch-size", type=POSITIVE, help="Rows in every chunk, however long it takes."),
        click.option(
            "--pace",
            type=click.Choice(["gentle", "default", "full"]),
            help="How much of the server's time is taken.",
        ),
        click.option(
            "--if-unreadable",
            type=click.Choice(["wait", "go"]),
            help="What a throttler counts for that cannot be read [default: wait].",
        ),
        click.option("--throttle-query", metavar="SQL", help="Wait while its first value is above 0."),
        click.option("--throttle-file", metavar="PATH", help="Wait while this file is there."),
        click.option("--critical-load", metavar="NAME=LIMIT,...", help="Stop above these."),
        click.option(
            "--max-load",
            metavar="NAME=LIMIT,...",
            help="Wait above these: Threads_running=50, active_backends=20.",
        ),
        click.option(
            "--replica",
            "replicas",
            multiple=True,
            metavar="URL",
            help="Watch this replica, too; PostgreSQL's own are found.",
        ),
        click.option(
            "--max-lag", type=click.FloatRange(min=0), help="Wait while a replica is so many seconds behind."
        ),
        click.option("--nice", type=click.FloatRange(min=0), help="Seconds of rest for each second of work."),
        click.option("--workers", type=POSITIVE, help="Chunks at the same time [default: 1]."),
        click.option("--until", type=TimeOfDay(), metavar="HH:MM", help="Stop at this time."),
        click.option("--max-time", type=Duration(), help="Stop after so long: 90s, 15m, 2h."),
        click.option("--max-count", type=POSITIVE, help="Stop after so many rows."),
    ):
        function = option(function)
    return function


def limits_of(*, until: float | None, max_time: float | None, **more: Any) -> Limits:
    """What the options of :func:`limit_options` say."""
    from online_migrate.command import Limits

    ends = [seconds for seconds in (until, max_time) if seconds is not None]
    return Limits(max_time=min(ends, default=None), **more)


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


answer_option = click.option(
    "--statement-done/--statement-not-done",
    default=None,
    help="The answer for the one statement that an interrupted run asked about.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
