"""Checks of oslo.upgradecheck, for the moment before services are restarted with the new release.

At this moment the packages of the new release are installed, and the services run the code of the previous
one. The data migrations of the previous releases must be complete: the new release may have removed the code
that understands their old rows. The next contract is not run yet: what closes its gate is a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from online_migrate import command, exceptions
from online_migrate.command import CommandContext
from online_migrate.driver_errors import CLEANUP_ERRORS, error_message
from online_migrate.openstack.host import Database, command_context
from online_migrate.openstack.previous_release import contract_target, unfinished
from online_migrate.status.migration_state import MigrationState

try:
    from oslo_upgradecheck.upgradecheck import Code, Result
except ImportError as error:
    raise exceptions.ExtraMissing(module=__name__, reason=error, extra="openstack") from error

Check = Callable[[Any], Result]
_MIGRATE = "; run: db online_data_migrations, with the code of the previous release"


def checks(
    config_file: str | Path,
    database: Database | Callable[[], Database] | None = None,
    *,
    group: str = "database",
) -> tuple[tuple[str, Check], ...]:
    """Returns the entries for ``_upgrade_checks`` of a class of oslo.upgradecheck.

    *config_file*, *database*, *group*: see :class:`~online_migrate.openstack.manage.DbCommands`.
    """

    def checked(check: Callable[[CommandContext], Result]) -> Check:
        def run(_commands: Any) -> Result:
            try:
                with command_context(Path(config_file), database, group=group) as context:
                    return check(context)
            except exceptions.OnlineMigrateError as error:
                return Result(Code.FAILURE, f"{error} {error.hint}".strip())
            except CLEANUP_ERRORS as error:
                return Result(Code.FAILURE, error_message(error))

        return run

    return (
        ("Data migrations of the previous release", checked(previous_data_migrations)),
        ("Gate of the next contract", checked(next_contract)),
    )


def previous_data_migrations(context: CommandContext) -> Result:
    """Checks that no data migration of a previous release has pending rows.

    In a project whose scripts name no releases, those whose expand revision is applied are checked. Then an
    incomplete one is a warning: it may belong to the new release.
    """
    report = command.status(context)
    graph = context.project.graph
    left = unfinished(report, graph, context.project.data_migrations)
    if not left:
        return Result(Code.SUCCESS)
    details = ", ".join(f"{one.name} ({_pending(one)})" for one in left)
    released = any(revision.release is not None for revision in graph.revisions.values())
    code = Code.FAILURE if released else Code.WARNING
    return Result(code, f"not complete: {details}{_MIGRATE}")


def next_contract(context: CommandContext) -> Result:
    """Checks whether the gate of the next contract is open."""
    graph = context.project.graph
    target = contract_target(graph, context.applied(), context.project.data_migrations)
    if target is None:
        return Result(Code.SUCCESS)
    blockers = command.gate(context, target)
    if not blockers:
        return Result(Code.SUCCESS)
    said = "; ".join(f"{blocker.object}: {blocker.reason} ({blocker.hint})" for blocker in blockers)
    return Result(Code.WARNING, f"contract {target}: {said}")


def _pending(one: MigrationState) -> str:
    if one.pending is None:
        return f"{one.status}: {one.error}" if one.error else one.status
    return f"{one.status}, {one.pending:,} row(s) pending"
