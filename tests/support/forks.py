"""Processes forked from a server process without threads that has imported all modules already.

A new Python takes a second to import the modules of a command, which is longer than the command runs.
"""

from __future__ import annotations

import functools
import gc
import io
import multiprocessing
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import NoReturn

import online_migrate

_DEPENDENCIES = (
    "alembic.config",
    "oslo_db.sqlalchemy.engines",
    "pglast",
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
_NOT_PRELOADED = ("__main__", "pytest_plugin", "expand.env", "contract.env")


def _preloaded() -> list[str]:
    """Returns the modules of the tests, of the dependencies, and all of online-migrate, late imports too."""
    package = pkgutil.walk_packages(online_migrate.__path__, "online_migrate.")
    ours = [module.name for module in package if not module.name.endswith(_NOT_PRELOADED)]
    return ["tests.support.schema", "tests.support.project", *_DEPENDENCIES, *ours]


@functools.cache
def processes() -> ForkServerContext:
    """Returns the multiprocessing context that starts processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_preloaded())
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
    """Starts *main* in *folder* with only that environment; *out*, *err*: the files for its output."""
    parts = (main, tuple(arguments), str(folder), dict(environment), str(out), str(err))
    process = processes().Process(target=_child, args=parts, daemon=True)
    process.start()
    return process


def command(arguments: Sequence[str]) -> NoReturn:
    """Runs the command line of online-migrate."""
    from online_migrate.cli.main import main

    main(arguments)


def fresh(arguments: Sequence[str]) -> NoReturn:
    """Runs ``python -m online_migrate``, which imports all modules again."""
    os.execv(sys.executable, [sys.executable, "-m", "online_migrate", *arguments])


def _child(
    main: Callable[[Sequence[str]], object],
    arguments: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    out: str,
    err: str,
) -> None:
    gc.freeze()  # excludes the imported modules from garbage collection
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONUNBUFFERED") and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(write_through=True)
    main(arguments)
