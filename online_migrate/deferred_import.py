"""Imports a module of a dependency on first use of it, where the dependency imports it at once."""

from __future__ import annotations

import importlib.util
import sys


def defer_import(name: str) -> None:
    """Makes *name*, a module in a package, a module that is executed when an attribute of it is used.

    For a module that takes long to import, that a dependency imports, and that is rarely used. Does nothing
    if it is already imported.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader = spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    # ``from package import module`` takes the attribute of the package, and does not execute the module.
    package, _, attribute = name.rpartition(".")
    setattr(sys.modules[package], attribute, module)
