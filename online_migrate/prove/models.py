"""The models of one version of the application, imported in isolation.

Two versions of a package have the same import name. So the modules of a version are in ``sys.modules`` only
while the version is active, and those of the other version only while that one is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from online_migrate import exceptions


@dataclasses.dataclass(frozen=True)
class ModelsName:
    """The name of models: ``[PATH:]MODULE[:OBJECT]``."""

    root: Path
    """The directory from which the module is imported."""
    module: str
    object: str = ""
    """A declarative base, a registry or a MetaData; empty: all tables of the module or package."""

    @classmethod
    def parse(cls, text: str, folder: Path) -> ModelsName:
        """Returns the parts of *text*. A part with a path separator is a path, relative to *folder*.

        Raises :class:`~online_migrate.exceptions.ModelsBroken`.
        """
        parts = text.split(":")
        root = folder
        if "/" in parts[0] or os.sep in parts[0] or parts[0].startswith("."):
            root = folder / parts.pop(0)
            if not root.is_dir():
                raise exceptions.ModelsBroken(name=text, reason=f"the directory {root} does not exist")
        if not 1 <= len(parts) <= 2 or not all(part.replace(".", "_").isidentifier() for part in parts):
            raise exceptions.ModelsBroken(name=text, reason="it is not of the form [PATH:]MODULE[:OBJECT]")
        return cls(root.resolve(), *parts)


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of the application: its tables and its mapped classes."""

    name: str
    """old, new or final."""
    tables: Sequence[sa.Table]
    """Parents before children, as far as foreign keys have an order."""
    mappers: Sequence[orm.Mapper[Any]]
    """In the order of their tables. A table without a class has a mapper that was made for it."""
    modules: OwnModules
    metadata: Sequence[sa.MetaData]

    @functools.cached_property
    def mapper_of(self) -> Mapping[str, orm.Mapper[Any]]:
        """The mapper of each table by name; of a hierarchy that of the base class."""
        found: dict[str, orm.Mapper[Any]] = {}
        for mapper in self.mappers:
            found.setdefault(table_name(mapper.local_table), mapper)
        return found

    @functools.cached_property
    def table_names(self) -> frozenset[str]:
        """The full names of all tables."""
        return frozenset(table.fullname for table in self.tables)


class OwnModules:
    """The modules of one version. *root*: their directory; *package*: the name of the first one."""

    def __init__(self, root: Path, package: str) -> None:
        self._root = root
        self._package = package
        self._modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block an import finds the modules of this version."""
        others = {name: module for name, module in sys.modules.items() if self._hides(name)}
        for name in others:
            del sys.modules[name]
        before = set(sys.modules)
        sys.modules.update(self._modules)
        path = list(sys.path)
        sys.path.insert(0, str(self._root))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - before:
                if self._owns(name, sys.modules[name]):
                    self._modules[name] = sys.modules.pop(name)
            sys.modules.update(others)

    def _hides(self, name: str) -> bool:
        return name in self._modules or name.partition(".")[0] == self._package

    def _owns(self, name: str, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        if file is None or "site-packages" in file:
            return name.partition(".")[0] == self._package
        return Path(file).is_relative_to(self._root)


def load(name: str, text: str, folder: Path) -> Version:
    """Imports the models *text* as the version *name*.

    *folder*: the directory of the project. Raises :class:`~online_migrate.exceptions.ModelsBroken`.
    """
    wanted = ModelsName.parse(text, folder)
    modules = OwnModules(wanted.root, wanted.module.partition(".")[0])
    with modules.active():
        try:
            scanned = list(_imported(wanted))
            metadata = _metadata(wanted, scanned)
            orm.configure_mappers()
        except exceptions.OnlineMigrateError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise exceptions.ModelsBroken(name=text, reason=reason) from error
        tables = [table for one in metadata for table in one.sorted_tables]
        if not tables:
            raise exceptions.ModelsBroken(
                name=text, reason="it has no table", hint="name the module or package that defines them"
            )
        return Version(name, tables, _mappers(tables, _classes(scanned)), modules, metadata)


def _imported(wanted: ModelsName) -> Iterator[ModuleType]:
    module = importlib.import_module(wanted.module)
    yield module
    if not wanted.object and hasattr(module, "__path__"):
        for found in pkgutil.walk_packages(module.__path__, f"{wanted.module}."):
            yield importlib.import_module(found.name)


def _metadata(wanted: ModelsName, scanned: Sequence[ModuleType]) -> list[sa.MetaData]:
    if wanted.object:
        named = getattr(scanned[0], wanted.object)
        found = named if isinstance(named, sa.MetaData) else getattr(named, "metadata", None)
        if not isinstance(found, sa.MetaData):
            raise TypeError(f"{wanted.object} is neither a MetaData nor has one")
        return [found]
    candidates = [value for module in scanned for value in vars(module).values()]
    known = [one if isinstance(one, sa.MetaData) else getattr(one, "metadata", None) for one in candidates]
    return list(dict.fromkeys(one for one in known if isinstance(one, sa.MetaData)))


def _classes(scanned: Sequence[ModuleType]) -> set[orm.Mapper[Any]]:
    """Returns the mappers of the classes in the modules, and of those that their registries know."""
    found: set[orm.Mapper[Any]] = set()
    for value in [value for module in scanned for value in vars(module).values()]:
        registry = value if isinstance(value, orm.registry) else getattr(value, "registry", None)
        if isinstance(registry, orm.registry):
            found |= registry.mappers
        mapper = sa.inspect(value, raiseerr=False) if isinstance(value, type) else None
        if isinstance(mapper, orm.Mapper):
            found.add(mapper)
    return found


def _mappers(tables: Sequence[sa.Table], known: Iterable[orm.Mapper[Any]]) -> list[orm.Mapper[Any]]:
    order = {table: number for number, table in enumerate(tables)}
    found = [mapper for mapper in known if mapper.local_table in order]
    mapped = {table for mapper in found for table in mapper.tables}
    registry = orm.registry()
    unmapped = [table for table in tables if table not in mapped and table.primary_key.columns]
    found += [registry.map_imperatively(type(table.name, (), {}), table) for table in unmapped]
    depth = {mapper: len(list(mapper.iterate_to_root())) for mapper in found}
    return sorted(found, key=lambda one: (order[_table(one)], depth[one], one.class_.__name__))


def _table(mapper: orm.Mapper[Any]) -> sa.Table:
    assert isinstance(mapper.local_table, sa.Table)
    return mapper.local_table


def table_name(table: sa.FromClause) -> str:
    """Returns the full name of a mapped table."""
    return table.fullname if isinstance(table, sa.Table) else str(table)
