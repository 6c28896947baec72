"""The calls of a function that commits by itself, on the database of the command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.command_database import CommandDatabase
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.run.database_watch import DatabaseWatch

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

Calls = Callable[[int], tuple[int, int]]


@contextlib.contextmanager
def counted_calls(context: RunContext, migration: DataMigration) -> Iterator[Calls]:
    """Yields the function to call with a maximum number of rows; it returns the rows found and migrated.

    It raises :class:`~online_migrate.kinds.result.UserError` if the user's code raises, and
    :class:`~online_migrate.migrate.run.database_watch.OtherDatabaseUsed`.
    """
    engine: Engine = context.engine
    database = CommandDatabase(engine.url, context.engine_options)
    watch = DatabaseWatch(engine, others_allowed=migration.uses_other_databases)
    opened: list[Calls] = []

    def call(max_count: int) -> tuple[int, int]:
        if not opened:
            opened.append(migration.open_calls(database))
        with watch.calling(), context.throttling.activity:
            return opened[0](max_count)

    try:
        with watch.listening():
            yield call
    finally:
        database.close()
