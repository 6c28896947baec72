"""Objects that settings name as ``MODULE:OBJECT``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from online_migrate.config import Settings, settings_broken
from online_migrate.function_import import FunctionNotImported, import_function, import_object


def load(where: str, setting: str, folder: Path) -> Any:
    """Returns the object; *setting*: for the error. *folder*: a folder that may contain its module.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` if there is none.
    """
    try:
        return import_object(where, folder)
    except FunctionNotImported as error:
        raise settings_broken(f"{setting}: {where} {error}") from error


def set_up(settings: Settings, folder: Path) -> None:
    """Calls the functions of ``env_setup``, each once in a process; *folder*: see :func:`load`.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` for one that does not exist or fails.
    """
    for where in (one.strip() for one in (settings.env_setup or "").split(",")):
        if not where:
            continue
        try:
            _call_once(import_function(where, folder))
        except FunctionNotImported as error:
            raise settings_broken(f"env_setup: {where} {error}") from error
        except (Exception, SystemExit) as error:
            raise settings_broken(f"env_setup: {where} failed: {type(error).__name__}: {error}") from error


@functools.cache
def _call_once(function: Callable[[], object]) -> None:
    function()
