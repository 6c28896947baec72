"""Change the schema of a live database while the old and the new version of an application both run.

A migration has four stages, and so has this package:

1. It is written (:mod:`online_migrate.revision`): an Alembic script on the *expand* branch, one on the
   *contract* branch, and a data migration: :class:`Backfill`, :func:`row_migration`,
   :func:`batch_migration`, or :func:`counted` for an OpenStack function as it is.
2. The schema expands (:mod:`online_migrate.expand`): what is added disturbs no code that runs.
3. Rows move (:mod:`online_migrate.migrate`): in chunks, each committed together with its checkpoint,
   while the old and the new version of the application both write.
4. The gate opens and the schema contracts (:mod:`online_migrate.contract`): not before it is counted,
   under the lock of the destructive statement, that no row needs the old shape.

``env.py`` calls :func:`run_environment`, or :func:`guard` where the project had an env.py before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from online_migrate.exceptions import OnlineMigrateError
    from online_migrate.kinds.definition import Backfill, batch_migration, counted, row_migration
    from online_migrate.runtime.environment import guard, run_environment
    from online_migrate.walk.chunker import Chunk

__version__ = "0.1.0"

__all__ = [
    "Backfill",
    "Chunk",
    "OnlineMigrateError",
    "__version__",
    "batch_migration",
    "counted",
    "guard",
    "row_migration",
    "run_environment",
]

_HOMES = {
    "Backfill": "kinds.definition",
    "Chunk": "walk.chunker",
    "OnlineMigrateError": "exceptions",
    "batch_migration": "kinds.definition",
    "counted": "kinds.definition",
    "guard": "runtime.environment",
    "row_migration": "kinds.definition",
    "run_environment": "runtime.environment",
}


def __getattr__(name: str) -> Any:
    # Alembic and SQLAlchemy take half a second to import; ``--help`` needs neither.
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
