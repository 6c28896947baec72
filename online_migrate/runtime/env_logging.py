"""What env.py may do to the logging of the process: ``fileConfig`` replaces handlers and disables loggers."""

from __future__ import annotations

import contextlib
import logging
import logging.config
import threading
from collections.abc import Callable, Iterator, Set
from typing import Any

_CONFIGURE = ("fileConfig", "dictConfig")
_STATEMENTS = "sqlalchemy.engine"
"""The logger of statements; its level is an option of the command."""
_KEPT = ("online_migrate.", f"{_STATEMENTS}.")
"""The beginnings of the names of loggers that env.py does not disable."""


@contextlib.contextmanager
def loggers_kept(*, configured_by_env: bool) -> Iterator[None]:
    """Keeps the loggers of the engine, and the level of SQLAlchemy's, while env.py runs.

    *configured_by_env*: False: the logging belongs to the program that runs the command, and env.py changes
    none of it, whether or not it looks at ``config.attributes["configure_logger"]``.
    """
    statements = logging.getLogger(_STATEMENTS)
    level, handlers = statements.level, statements.handlers[:]
    with contextlib.nullcontext() if configured_by_env else _nothing_configured():
        try:
            yield
        finally:
            statements.setLevel(level)
            statements.handlers[:] = handlers
            for name, logger in list(logging.root.manager.loggerDict.items()):
                if f"{name}.".startswith(_KEPT) and isinstance(logger, logging.Logger):
                    logger.disabled = False


@contextlib.contextmanager
def _nothing_configured() -> Iterator[None]:
    """Makes ``fileConfig`` and ``dictConfig`` do nothing in this thread, and keeps the root logger."""
    root, originals = logging.getLogger(), {name: getattr(logging.config, name) for name in _CONFIGURE}
    level, handlers = root.level, root.handlers[:]
    # A module that is imported meanwhile may keep one of the functions: afterwards it works again.
    silent = {threading.get_ident()}
    for name, original in originals.items():
        setattr(logging.config, name, _elsewhere(original, silent))
    try:
        yield
    finally:
        silent.clear()
        for name, original in originals.items():
            setattr(logging.config, name, original)
        root.setLevel(level)
        root.handlers[:] = handlers


def _elsewhere(original: Callable[..., Any], silent: Set[int]) -> Callable[..., Any]:
    """Returns *original*, which does nothing in the threads *silent*."""

    def configure(*arguments: Any, **keywords: Any) -> Any:
        return None if threading.get_ident() in silent else original(*arguments, **keywords)

    return configure
