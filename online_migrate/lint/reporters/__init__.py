"""The formats of the output: a file for each, found by its name. Each has a function ``render(report)``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from online_migrate import exceptions
from online_migrate.lint.violation import Report


class UnknownFormat(exceptions.UsageError):
    """The output format {name!r} does not exist."""

    default_hint = "known formats: {known}"


def names() -> Sequence[str]:
    """Returns the names of the formats."""
    return sorted(module.name.removesuffix("_") for module in pkgutil.iter_modules(__path__))


def render(report: Report, name: str) -> str:
    """Returns a report in the format *name*. Raises :class:`UnknownFormat`."""
    require(name)
    modules = {module.name.removesuffix("_"): module.name for module in pkgutil.iter_modules(__path__)}
    text: str = importlib.import_module(f"{__name__}.{modules[name]}").render(report)
    return text


def require(name: str) -> None:
    """Raises :class:`UnknownFormat` if there is no format *name*."""
    if name not in names():
        raise UnknownFormat(name=name, known=", ".join(names()))
