"""Data migrations of glance's form: the two functions ``has_migrations(engine)`` and ``migrate(engine)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from online_migrate.kinds.counted import CountedMigration, counted

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from online_migrate.kinds.command_database import CommandDatabase

__all__ = ["counted_pair"]


class Pair(Protocol):
    """A module of glance's ``data_migrations``, or an object with the same two functions."""

    has_migrations: Callable[[Engine], bool]
    """Returns True if there are rows to migrate."""
    migrate: Callable[[Engine], int]
    """Migrates all rows, and returns how many."""


def counted_pair(module: Pair, **options: Any) -> CountedMigration:
    """Makes a data migration of a pair of functions, called with an engine for the database of the command.

    ``migrate`` knows no maximum: one call migrates every row, whatever ``--max_count`` and the batch size
    are. *options*: further arguments of :class:`~online_migrate.kinds.base.DataMigration`; the name is by
    default the one of the module.
    """
    calls = _Calls(module)
    name = getattr(module, "__name__", "").rpartition(".")[2]
    return counted(calls.migrate, context=lambda: None, bind=calls.bind, **{"name": name, **options})


class _Calls:
    """The pair as a function ``(context, max_count) -> (found, done)``."""

    def __init__(self, module: Pair) -> None:
        self._module = module
        self._engine: Engine | None = None

    def bind(self, database: CommandDatabase) -> None:
        """Uses the engine of *database* in the calls that follow."""
        self._engine = database.engine

    def migrate(self, context: None, max_count: int) -> tuple[int, int]:
        """Migrates all rows. At least one row is found if the module says that there are any."""
        assert self._engine is not None
        if not self._module.has_migrations(self._engine):
            return 0, 0
        done = self._module.migrate(self._engine)
        return max(done, 1), done
