"""Imports an object that a setting names as ``module:object``."""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HINT = "write module:function; the module may be in the folder of alembic.ini"


class FunctionNotImported(Exception):
    """What a setting names cannot be imported. The text is the reason, without a subject."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def import_object(path: str, folder: Path) -> Any:
    """Returns the object *path*; its name in the module may have dots.

    *folder*: a folder that may contain the module. Raises :class:`FunctionNotImported`.
    """
    module, _, name = path.partition(":")
    sys.path.insert(0, str(folder.absolute()))
    try:
        return operator.attrgetter(name)(importlib.import_module(module))
    except Exception as error:
        raise FunctionNotImported(f"cannot be imported: {type(error).__name__}: {error}", _HINT) from error
    finally:
        sys.path.pop(0)


def import_function(path: str, folder: Path) -> Callable[..., Any]:
    """Returns the function *path*; see :func:`import_object`."""
    found = import_object(path, folder)
    if not callable(found):
        raise FunctionNotImported("is not a function")
    return found  # type: ignore[no-any-return]
