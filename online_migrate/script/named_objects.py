"""Objects that settings name as ``MODULE:OBJECT``."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from online_migrate import exceptions
from online_migrate.config import SECTION, Settings


def load(where: str, setting: str) -> Any:
    """Returns the object; *setting*: for the error.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` if there is none.
    """
    module, _, path = where.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise _broken(setting, f"{where}: {error}") from error
    return found


def set_up(settings: Settings) -> None:
    """Calls the functions of ``env_setup``, each once in a process.

    Raises :class:`~online_migrate.exceptions.ConfigBroken` for one that does not exist or fails.
    """
    for where in (settings.env_setup or "").split(","):
        if where.strip():
            _call_once(where.strip())


@functools.cache
def _call_once(where: str) -> None:
    function = load(where, "env_setup")
    try:
        function()
    except (Exception, SystemExit) as error:
        raise _broken("env_setup", f"{where} failed: {type(error).__name__}: {error}") from error


def _broken(setting: str, reason: str) -> exceptions.ConfigBroken:
    return exceptions.ConfigBroken(path=f"[{SECTION}]", reason=f"{setting}: {reason}")
