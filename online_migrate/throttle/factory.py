"""Makes throttlers from the settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from online_migrate import exceptions
from online_migrate.config import Settings
from online_migrate.function_import import FunctionNotImported, import_function
from online_migrate.throttle.throttlers import Callback, File, Load, Query, Throttler


def make_throttlers(settings: Settings, folder: Path) -> list[Throttler]:
    """Returns the throttlers that are configured.

    *folder*: the folder that relative paths refer to, and that may contain the module of a function. Raises
    :class:`~online_migrate.exceptions.ThrottlerBroken`.
    """
    found: list[Throttler] = []
    if settings.throttle_file:
        found.append(File(folder / settings.throttle_file))
    if settings.max_load:
        found.append(Load(parse_load("max-load", settings.max_load), name="max-load"))
    if settings.throttle_query:
        found.append(Query(settings.throttle_query))
    if settings.throttle_with:
        found.append(Callback(_import_callable(settings.throttle_with, folder), name=settings.throttle_with))
    return found


def make_critical_throttlers(critical_load: str | None) -> list[Throttler]:
    """Returns the throttlers of ``critical_load``, which end a run.

    Raises :class:`~online_migrate.exceptions.ThrottlerBroken`.
    """
    if not critical_load:
        return []
    return [Load(parse_load("critical-load", critical_load), name="critical-load")]


def parse_load(name: str, text: str) -> Mapping[str, float]:
    """Returns the limits in *text*, in gh-ost's syntax: ``Threads_running=50,Threads_connected=500``.

    *name*: the setting, for messages. Raises :class:`~online_migrate.exceptions.ThrottlerBroken`.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        counter, separator, value = part.partition("=")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not separator or not counter.strip() or not math.isfinite(limit):
            raise exceptions.ThrottlerBroken(
                name=name,
                reason=f"cannot be parsed: {part!r} is not NAME=NUMBER",
                hint=f"example: --{name} Threads_running=50,Threads_connected=500",
            )
        limits[counter.strip()] = limit
    return limits


def _import_callable(path: str, folder: Path) -> Callable[[], object]:
    try:
        return import_function(path, folder)
    except FunctionNotImported as error:
        raise exceptions.ThrottlerBroken(name=path, reason=str(error), hint=error.hint) from error
