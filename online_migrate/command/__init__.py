"""One function for each command. The parts of the package are connected here and nowhere else.

Each function takes a :class:`~online_migrate.context.CommandContext` with the project and the database. The
functions raise the errors of :mod:`online_migrate.exceptions`; their ``exit_code`` is the exit code of the
command line. An error of the server, of its driver or of the network, for which no command has an error of
its own, is raised as :class:`~online_migrate.exceptions.ServerError` from the original error.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from online_migrate.deferred_import import defer_import

if TYPE_CHECKING:
    from online_migrate.command.all_phases import upgrade
    from online_migrate.command.data import cancel, migrate, pause, resume, retry
    from online_migrate.command.linting import lint, lint_rules
    from online_migrate.command.proving import prove
    from online_migrate.command.registry import (
        ServicesReport,
        force_down_service,
        prune_services,
        services,
    )
    from online_migrate.command.reports import HistoryLine, current, history, plan, status
    from online_migrate.command.rolling_back import PlannedUndo, RolledBack, rollback, rollback_plan
    from online_migrate.command.schema import (
        Contracted,
        contract,
        expand,
        gate,
        gate_report,
        stamp,
    )
    from online_migrate.command.scripts import adopt, init, revision
    from online_migrate.command.soaking import Soaked, Unsoaked, soak, unsoak
    from online_migrate.command.verification import drop_barrier, verify
    from online_migrate.context import CommandContext
    from online_migrate.contract.gate import GateReport
    from online_migrate.migrate.options import MigrateOptions
    from online_migrate.migrate.status import Outcome, Result, exit_code

__all__ = [
    "CommandContext",
    "Contracted",
    "GateReport",
    "HistoryLine",
    "MigrateOptions",
    "Outcome",
    "PlannedUndo",
    "Result",
    "RolledBack",
    "ServicesReport",
    "Soaked",
    "Unsoaked",
    "adopt",
    "cancel",
    "contract",
    "current",
    "drop_barrier",
    "exit_code",
    "expand",
    "force_down_service",
    "gate",
    "gate_report",
    "history",
    "init",
    "lint",
    "lint_rules",
    "migrate",
    "pause",
    "plan",
    "prove",
    "prune_services",
    "resume",
    "retry",
    "revision",
    "rollback",
    "rollback_plan",
    "services",
    "soak",
    "stamp",
    "status",
    "unsoak",
    "upgrade",
    "verify",
]

_MODULES = {
    "context": ("CommandContext",),
    "contract.gate": ("GateReport",),
    "migrate.options": ("MigrateOptions",),
    "migrate.status": ("Outcome", "Result", "exit_code"),
    "command.scripts": ("init", "adopt", "revision"),
    "command.schema": ("Contracted", "contract", "expand", "gate", "gate_report", "stamp"),
    # Not "command.rollback": a module would replace the function of its name.
    "command.rolling_back": ("PlannedUndo", "RolledBack", "rollback", "rollback_plan"),
    "command.soaking": ("Soaked", "Unsoaked", "soak", "unsoak"),
    # Not "command.services": a module would replace the function of its name.
    "command.registry": ("ServicesReport", "force_down_service", "prune_services", "services"),
    "command.data": ("cancel", "migrate", "pause", "resume", "retry"),
    "command.all_phases": ("upgrade",),
    "command.verification": ("drop_barrier", "verify"),
    "command.linting": ("lint", "lint_rules"),
    "command.proving": ("prove",),
    "command.reports": ("HistoryLine", "current", "history", "plan", "status"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

# Mako, which Alembic imports, imports Pygments for the display of errors in templates.
defer_import("mako.exceptions")


def __getattr__(name: str) -> Any:
    # Each command imports only what it needs: ``migrate`` starts without the gate and without contract.
    try:
        module = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"online_migrate.{module}"), name)
    return _translating(value) if module.startswith("command.") and not isinstance(value, type) else value


@functools.cache
def _translating(command: Callable[..., Any]) -> Callable[..., Any]:
    """Returns *command*, which raises every error of the server as an error of online-migrate."""

    @functools.wraps(command)
    def translating(*arguments: Any, **options: Any) -> Any:
        from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
        from online_migrate.exceptions import ServerError

        try:
            return command(*arguments, **options)
        except CLEANUP_ERRORS as error:
            raise ServerError(reason=error_message(error)) from error

    return translating
