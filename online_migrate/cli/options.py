"""The options of the commands. The common ones are valid before and after the name of a command."""

from __future__ import annotations

import dataclasses
import datetime
import math
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from online_migrate.cli import logs
from online_migrate.config import DATABASE_GROUP, Settings
from online_migrate.declared import Option, flags_of

if TYPE_CHECKING:
    from online_migrate.command import CommandContext, MigrateOptions

    FloatType = click.ParamType[float]
else:
    # Older versions of click have no generic ParamType.
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
            self.fail(f"{value!r} is not a duration: write 90, 90s, 15m or 2h", param, ctx)
        return seconds


class TimeOfDay(FloatType):
    """``HH:MM``, today or tomorrow, by the clock of this host; converted to seconds from now."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        now = datetime.datetime.now()
        try:
            then = datetime.datetime.combine(now, datetime.datetime.strptime(str(value), "%H:%M").time())
        except ValueError:
            self.fail(f"{value!r} is not a time of day: write HH:MM", param, ctx)
        if then <= now:
            then += datetime.timedelta(days=1)
        return (then - now).total_seconds()


def migrate_options(function: F) -> F:
    """Adds the options of a run: its limits, and every setting that has a flag; see :func:`limits_of`."""
    limits = (
        click.option("--max-count", type=POSITIVE, help="Stop after this many rows."),
        click.option("--max-time", type=Duration(), help="Stop after this duration: 90s, 15m, 2h."),
        click.option(
            "--until",
            type=TimeOfDay(),
            metavar="HH:MM",
            help="Stop at this time of day, by the clock of this host.",
        ),
    )
    return _added([*limits, *_settings("migrate")], function)


def schema_options(function: F) -> F:
    """Adds the options of the commands that change the schema."""
    return _added([answer_option, *_settings("schema")], function)


def tool_option(function: F) -> F:
    """Adds ``--ddl-tool`` of the commands that change the schema."""
    return _click_option("ddl_tool", flags_of(Settings, "schema")["ddl_tool"])(function)


def _settings(commands: str) -> list[Callable[[F], F]]:
    return [_click_option(name, one) for name, one in flags_of(Settings, commands).items()]


def _added(decorators: Sequence[Callable[[F], F]], function: F) -> F:
    for add in reversed(decorators):
        function = add(function)
    return function


def _click_option(name: str, declared: Option) -> Callable[[F], F]:
    default = declared.default if declared.default is not None else declared.unset
    help_text = f"{declared.help} [default: {default}]" if default else declared.help
    return click.option(
        str(declared.flag),
        name,
        type=_click_type(declared),
        metavar=declared.metavar,
        multiple=declared.multiple,
        help=help_text,
    )


def _click_type(declared: Option) -> Any:
    if declared.choices:
        return click.Choice(declared.choices)
    if declared.duration:
        return Duration()
    if declared.type is int:
        return click.IntRange(min=None if declared.least is None else int(declared.least))
    if declared.type is float:
        return click.FloatRange(min=declared.least)
    return str


def limits_of(*, until: float | None, max_time: float | None, **more: Any) -> MigrateOptions:
    """Returns the values of the options that :func:`migrate_options` added."""
    from online_migrate.command import MigrateOptions

    ends = [seconds for seconds in (until, max_time) if seconds is not None]
    return MigrateOptions(max_time=min(ends, default=None), **more)


@dataclasses.dataclass
class Where:
    """The project and the database. An option after the command name overrides one before it."""

    config: str | None = None
    url: str | None = None
    config_files: tuple[str, ...] = ()
    x: tuple[str, ...] = ()
    log_level: str | None = None
    log_format: str | None = None
    config_dirs: tuple[str, ...] = ()
    database_group: str | None = None

    def merged(self, outer: Where) -> Where:
        """Returns a copy in which missing values are taken from *outer*."""
        return Where(
            self.config or outer.config,
            self.url or outer.url,
            self.config_files or outer.config_files,
            outer.x + self.x,
            self.log_level or outer.log_level,
            self.log_format or outer.log_format,
            self.config_dirs or outer.config_dirs,
            self.database_group or outer.database_group,
        )


def where_options(function: F) -> F:
    """Adds -c, --url, --config-file, --config-dir, --database-group, -x, --log-level and --log-format."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice(logs.FORMATS),
            help="Format of the log lines on stderr [default: text].",
        ),
        click.option(
            "--log-level",
            type=click.Choice(logs.LEVELS),
            help="Lowest level of the log lines on stderr [default: warning].",
        ),
        click.option(
            "-x", "x", multiple=True, metavar="NAME=VALUE", help="Argument that is passed to env.py."
        ),
        click.option(
            "--database-group",
            metavar="GROUP",
            help="Group of the oslo.config files whose connection is the database URL, such as api_database "
            f"[default: {DATABASE_GROUP}].",
        ),
        click.option(
            "--config-dir",
            "config_dirs",
            multiple=True,
            metavar="DIR",
            help="Directory of oslo.config files, *.conf, which override those of --config-file.",
        ),
        click.option(
            "--config-file",
            "config_files",
            multiple=True,
            metavar="FILE",
            help="oslo.config file; [database] connection is the database URL, and [online_migrate] has "
            "settings.",
        ),
        click.option("--url", metavar="URL", help="Database URL [env: ONLINE_MIGRATE_URL]."),
        click.option("-c", "--config", metavar="FILE", help="Path of alembic.ini [default: ./alembic.ini]."),
    ):
        function = option(function)
    return function


def located(function: F) -> F:
    """Passes the options before and after the command name as the ``where`` argument."""

    @where_options
    @click.pass_context
    def wrapper(
        context: click.Context,
        /,
        config: str | None,
        url: str | None,
        config_files: tuple[str, ...],
        x: tuple[str, ...],
        log_level: str | None,
        log_format: str | None,
        config_dirs: tuple[str, ...],
        database_group: str | None,
        **keywords: Any,
    ) -> Any:
        outer = context.find_object(Where) or Where()
        where = Where(config, url, config_files, x, log_level, log_format, config_dirs, database_group)
        return function(where.merged(outer), **keywords)

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    return wrapper


def site_of(where: Where, *, works: bool = False, **more: Any) -> CommandContext:
    """Returns the context of a command. Messages go to stderr.

    *works*: SIGINT and SIGTERM stop the command after the current chunk or revision, not immediately.
    """
    from online_migrate.command import CommandContext
    from online_migrate.waiting import Stop

    logs.configure(where.log_level, where.log_format)
    stop = Stop()
    if works and threading.current_thread() is threading.main_thread():
        _stop_on_signals(stop.request)
    return CommandContext(
        config_file=Path(where.config or "alembic.ini"),
        given_url=where.url,
        oslo_config_files=where.config_files,
        oslo_config_dirs=where.config_dirs,
        database_group=where.database_group or DATABASE_GROUP,
        x_arguments=where.x,
        stop=stop,
        echo=lambda line: click.echo(line, err=True),
        **more,
    )


def _stop_on_signals(request: Callable[[str], None]) -> None:
    """The first signal requests a stop. A second SIGINT exits immediately, which loses no data either."""

    def handle(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        request(name)
        # Before the line is printed: a Ctrl-C right after it must exit immediately.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        click.echo(
            f"{name}: stopping after the current chunk or revision; Ctrl-C stops immediately", err=True
        )

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


answer_option = click.option(
    "--statement-done/--statement-not-done",
    default=None,
    help="State whether the interrupted statement, which an earlier run reported, was executed.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def release_option(what: str) -> Callable[[F], F]:
    """Adds ``--release``. *what*: the verb for the help."""
    return click.option("--release", metavar="RELEASE", help=f"{what} up to the end of this release.")


attest_option = click.option(
    "--attest",
    metavar="TEXT",
    help="Vouch, where a declared service does not report, that no process of it runs with old code: how it "
    "was checked. contract records it with the operator, the host and the time.",
)
