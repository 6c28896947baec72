"""The calls of a function that commits by itself, on the database of the command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.command_database import CommandDatabase
from online_migrate.kinds.result import UserError
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.run.database_watch import DatabaseWatch


class CountedCalls:
    """Calls the function with a maximum number of rows, and keeps how many rows it needed to migrate."""

    def __init__(self, context: RunContext, migration: DataMigration) -> None:
        self._migration = migration
        self._activity = context.throttling.activity
        self._database = CommandDatabase(context.engine.url, context.engine_options)
        self._watch = DatabaseWatch(context.engine)
        self._function: Callable[[int], tuple[int, int]] | None = None
        self._done = 0
        self.needed: int | None = None
        """The largest number of rows that a call found together with those migrated before it: a function may
        find no more rows than it is asked for. None before the first call."""
        self.end_error: UserError | None = None
        """The error of the user's code that ends the binding."""

    def __call__(self, max_count: int) -> tuple[int, int]:
        """Returns the rows found and the rows migrated.

        Raises :class:`~online_migrate.kinds.result.UserError` if the user's code raises, and
        :class:`~online_migrate.migrate.run.database_watch.OtherDatabaseUsed`.
        """
        if self._function is None:
            self._function = self._migration.open_calls(self._database)
            self._watch.others_allowed = self._database.others_allowed
        with self._watch.calling(), self._activity:
            found, done = self._function(max_count)
        self.needed = max(self._done + found, self.needed or 0)
        self._done += done
        return found, done

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Watches the connections of the process while the block lasts, and ends the binding after it.

        An error at the end does not replace that of the block: it is in :attr:`end_error`.
        """
        try:
            with self._watch.listening():
                yield
        finally:
            self._end_binding()

    def _end_binding(self) -> None:
        try:
            self._database.close()
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            where = f"end of the binding of {self._migration.name}"
            self.end_error = UserError(where=where, error=f"{type(error).__name__}: {error}")
