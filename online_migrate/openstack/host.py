"""The context of a command that runs inside a program of its own, such as a ``*-manage`` program."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from oslo_config import cfg

from online_migrate.cli import streams
from online_migrate.command import CommandContext
from online_migrate.named_database import Bind
from online_migrate.openstack.command_names import as_db_commands

Database = Bind | cfg.ConfigOpts
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def command_context(
    config_file: Path,
    database: Database | Callable[[], Database] | None,
    *,
    group: str,
    x_arguments: Sequence[str] = (),
) -> Iterator[CommandContext]:
    """Yields the context of one command.

    *database*, *group*: see :class:`~online_migrate.openstack.manage.DbCommands`. Messages are logged. At the
    end the connections are closed, and the level of SQLAlchemy's logger is that of the program again.
    """
    if not isinstance(database, cfg.ConfigOpts) and callable(database):
        database = database()
    context = CommandContext(
        config_file=config_file,
        configuration=database if isinstance(database, cfg.ConfigOpts) else None,
        bind=None if isinstance(database, cfg.ConfigOpts) else database,
        database_group=group,
        x_arguments=tuple(x_arguments),
        echo=_message,
        host_logging=True,
    )
    statements = logging.getLogger("sqlalchemy.engine")
    level = statements.level
    try:
        yield context
    finally:
        statements.setLevel(level)
        context.close()


def _message(line: str) -> None:
    """Logs a message; a program without any logging gets it on stderr."""
    if _log.hasHandlers():
        _log.info("%s", as_db_commands(line))
    else:
        streams.echo(line, err=True)
