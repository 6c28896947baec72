"""Processes that fork from one without threads, in which everything is imported already.

A Python that starts from nothing takes a second to import what a command needs: more than the command.
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import NoReturn

_PRELOADED = (
    "tests.support.schema",
    "tests.support.project",
    "online_migrate.cli.main",
    "online_migrate.cli.output",
    "online_migrate.cli.progress",
    "alembic.config",
    "oslo_db.sqlalchemy.engines",
    "rich._emoji_codes",
    "rich.console",
    "rich.table",
    "sqlglot",
    "sqlglot.dialects.mysql",
    "sqlglot.dialects.postgres",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.dialects.mysql.pymysql",
    "psycopg2",
    "pymysql",
)


@functools.cache
def processes() -> ForkServerContext:
    """Where processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def start(
    main: Callable[[Sequence[str]], object],
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    err: Path,
) -> ForkServerProcess:
    """Starts *main* in *folder*, with that environment and no other; *out*, *err*: what it writes to."""
    parts = (main, tuple(arguments), str(folder), dict(environment), str(out), str(err))
    process = processes().Process(target=_child, args=parts, daemon=True)
    process.start()
    return process


def command(arguments: Sequence[str]) -> NoReturn:
    """The command line of online-migrate."""
    from online_migrate.cli.main import main

    main(arguments)


def fresh(arguments: Sequence[str]) -> NoReturn:
    """``python -m online_migrate``, which imports everything anew."""
    os.execv(sys.executable, [sys.executable, "-m", "online_migrate", *arguments])


def _child(
    main: Callable[[Sequence[str]], object],
    arguments: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    out: str,
    err: str,
) -> None:
    gc.freeze()  # what was imported stays
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    main(arguments)
