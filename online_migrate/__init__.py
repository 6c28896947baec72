"""Change the schema of a live database while the old and the new version of an application both run.

A migration has four stages. The package has one part for each:

1. Write the scripts (:mod:`online_migrate.script`): an Alembic script on the *expand* branch, one on the
   *contract* branch, and a data migration: :class:`Backfill`, :func:`row_migration`,
   :func:`batch_migration`, or :func:`counted` for an unchanged OpenStack function.
2. Expand the schema (:mod:`online_migrate.expand`): additive changes, which do not affect running code.
3. Migrate the rows (:mod:`online_migrate.migrate`): in chunks, each committed together with its checkpoint,
   while the old and the new version of the application both write.
4. Contract the schema (:mod:`online_migrate.contract`): the gate opens only after a count, under the lock of
   the destructive statement, has shown that no row needs the old shape.

``env.py`` calls :func:`run_environment`, or :func:`guard` where the project already had an env.py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from online_migrate.exceptions import OnlineMigrateError
    from online_migrate.kinds.backfill import Backfill
    from online_migrate.kinds.batch import batch_migration
    from online_migrate.kinds.counted import counted
    from online_migrate.kinds.removed import Removed
    from online_migrate.kinds.row import row_migration
    from online_migrate.runtime.env_functions import guard, run_environment
    from online_migrate.walk.chunk import Chunk

__version__ = "0.1.0"

__all__ = [
    "Backfill",
    "Chunk",
    "OnlineMigrateError",
    "Removed",
    "__version__",
    "batch_migration",
    "counted",
    "guard",
    "row_migration",
    "run_environment",
]

_MODULES = {
    "Backfill": "kinds.backfill",
    "Chunk": "walk.chunk",
    "OnlineMigrateError": "exceptions",
    "Removed": "kinds.removed",
    "batch_migration": "kinds.batch",
    "counted": "kinds.counted",
    "guard": "runtime.env_functions",
    "row_migration": "kinds.row",
    "run_environment": "runtime.env_functions",
}


def __getattr__(name: str) -> Any:
    # Alembic and SQLAlchemy take half a second to import; ``--help`` needs neither.
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
