"""The kind that calls an unchanged OpenStack function: ``(context, max_count) -> (found, done)``."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from online_migrate.kinds.base import DataMigration, named_after
from online_migrate.kinds.command_database import CommandDatabase
from online_migrate.kinds.result import MigrationMisuse, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountedMigration(DataMigration):
    """Calls an OpenStack function until it finds no more rows; see :func:`counted`."""

    kind: ClassVar[str] = "counted"
    commits_by_itself: ClassVar[bool] = True
    function: Callable[[Any, int], tuple[int, int]]
    context: Callable[[], Any] | None = None
    bind: Any = None
    other_databases: bool = False

    def open_calls(self, database: CommandDatabase) -> Callable[[int], tuple[int, int]]:
        database.others_allowed = self.other_databases
        if self.bind is not None:
            with self._errors_of("bind"):
                self._bind(database)
        with self._errors_of("context"):
            context = (self.context or default_context)()
        return functools.partial(self._call, context)

    def _bind(self, database: CommandDatabase) -> None:
        if hasattr(self.bind, "patch_factory"):
            database.patch(self.bind)
            return
        undo = self.bind(database)
        if callable(undo):
            database.at_end(undo)

    @contextlib.contextmanager
    def _errors_of(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            where = f"{what} of {self.name}"
            raise MigrationMisuse(where=where, error=f"{type(error).__name__}: {error}") from error

    def _call(self, context: Any, max_count: int) -> tuple[int, int]:
        where = f"{self.name} (max_count {max_count})"
        try:
            answer = self.function(context, max_count)
        except Exception as error:
            raise UserError(where=where, error=f"{type(error).__name__}: {error}") from error
        try:
            found, done = (int(number) for number in answer)
            if found < 0 or done < 0:
                raise ValueError
            return found, done
        except (TypeError, ValueError):
            raise MigrationMisuse(where=where, error=f"returned {answer!r}, not (found, done)") from None


def counted(
    function: Callable[[Any, int], tuple[int, int]],
    *,
    context: Callable[[], Any] | None = None,
    bind: Any = None,
    other_databases: bool = False,
    **options: Any,
) -> CountedMigration:
    """Makes a data migration of an unchanged OpenStack function ``(context, max_count) -> (found, done)``.

    *context*: a function that returns the first argument; by default a context that oslo.db's enginefacade
    accepts. *bind*: makes the function use the database of the command: a transaction context of
    enginefacade, or a function of a :class:`~online_migrate.kinds.command_database.CommandDatabase`; what
    that returns, if it is callable, is called at the end. A function that connects to another database is
    refused, unless *other_databases* is true.

    A call that raises is repeated with fewer rows, and one that migrates none of the rows found with more,
    up to 100,000. The function commits by itself, so a call may be repeated after a kill: the function must
    be idempotent, as OpenStack requires. Without *table* and *pending* it can be run but opens no gate.
    *options*: further arguments of :class:`~online_migrate.kinds.base.DataMigration`.
    """
    return CountedMigration(
        function=function,
        context=context,
        bind=bind,
        other_databases=other_databases,
        **named_after(function, options),
    )


def default_context() -> Any:
    """Returns an admin context that functions decorated by oslo.db's enginefacade accept."""
    from oslo_db.sqlalchemy import enginefacade

    @enginefacade.transaction_context_provider
    class Context:
        """The context of the operator, with admin rights."""

        is_admin = True

    return Context()
