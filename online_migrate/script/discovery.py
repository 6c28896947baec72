"""Finds the data migrations of a project and sorts them."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from online_migrate import exceptions
from online_migrate.kinds.base import DataMigration
from online_migrate.script.graph import Graph, Phase


def discover(folder: Path, graph: Graph) -> Mapping[str, DataMigration]:
    """Returns the data migrations in *folder*, by name, each after those in its ``after``.

    Raises a :class:`~online_migrate.exceptions.UsageError` for a module that cannot be imported, a duplicate
    name, an unknown ``after`` or ``revision``, a ``revision`` on the contract branch, or a cycle.
    """
    found: dict[str, DataMigration] = {}
    spelled: dict[str, DataMigration] = {}
    for migration in _all_in(folder):
        # MySQL and MariaDB compare without case: ``Fill`` and ``fill`` would share one record.
        other = spelled.setdefault(migration.name.casefold(), migration)
        if other is not migration:
            raise exceptions.DuplicateName(name=migration.name, first=other.path, second=migration.path)
        found[migration.name] = migration
    return {name: _resolve(found[name], found, graph) for name in in_order(found.values())}


def in_order(migrations: Iterable[DataMigration]) -> Sequence[str]:
    """Returns the names, each after those in its ``after``, otherwise in the order of the modules.

    Raises :class:`~online_migrate.exceptions.CyclicOrder`.
    """
    migrations = list(migrations)
    names = {migration.name for migration in migrations}
    sorter = TopologicalSorter({m.name: sorted(set(m.after) & names) for m in migrations})
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise exceptions.CyclicOrder(circle=" -> ".join(error.args[1])) from None


def _resolve(migration: DataMigration, all_of: Mapping[str, DataMigration], graph: Graph) -> DataMigration:
    for name in migration.after:
        if name not in all_of:
            raise exceptions.DataMigrationBroken(
                name=migration.name,
                reason=f"after names {name!r}, which is not a data migration ({migration.path})",
                hint=f"known names: {', '.join(all_of)}",
            )
    if migration.revision is None:
        return migration
    try:
        revision = graph.resolve(migration.revision)
    except exceptions.UnknownRevision as error:
        raise exceptions.DataMigrationBroken(
            name=migration.name,
            reason=f"revision {migration.revision!r} is not in this project ({migration.path})",
            hint=error.hint,
        ) from None
    if graph.phase(revision) is Phase.CONTRACT:
        raise exceptions.DataMigrationBroken(
            name=migration.name,
            reason=f"revision {revision} is a contract revision; a data migration runs before contract "
            f"({migration.path})",
            hint="set revision= to the expand revision that the data migration requires",
        )
    return dataclasses.replace(migration, revision=revision)


def _all_in(folder: Path) -> Iterable[DataMigration]:
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            yield from _of_module(_load(path), path)


def _load(path: Path) -> types.ModuleType:
    # Not under the plain stem: a file called ``json.py`` must not replace the module of the library.
    name = f"online_migrate_project_data.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except exceptions.OnlineMigrateError:
        raise
    except (Exception, SystemExit) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise exceptions.ScriptBroken(path=f"{path}{line}", reason=reason) from error
    return module


def _of_module(module: types.ModuleType, path: Path) -> Iterable[DataMigration]:
    seen: set[int] = set()
    for variable, value in vars(module).items():
        if isinstance(value, DataMigration) and id(value) not in seen:
            seen.add(id(value))
            yield dataclasses.replace(value, name=value.name or variable, path=str(path))
