"""Writes version rows without running scripts, and keeps both branches in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from online_migrate import exceptions
from online_migrate.observe.unlogged import no_context_logged
from online_migrate.runtime.environment import Environment
from online_migrate.script.graph import Graph, Phase
from online_migrate.script.project import Project

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def rows_after(graph: Graph, applied: frozenset[str], targets: Sequence[str]) -> tuple[str, ...]:
    """Returns the version rows of a database that is stamped with *targets*. Pure.

    *applied*: the revisions that the database has. A target moves the position on its own branch only,
    forward or back; ``heads`` and ``base`` move all branches. Alembic's own stamp would lose the fact that
    later expand revisions are applied. Raises :class:`~online_migrate.exceptions.UsageError` if a contract
    revision would be left without the expand revision that it needs, or if a target would not be the position
    of its branch.
    """
    if list(targets) == ["base"]:
        return ()
    positions = {phase: graph.position(applied, phase) for phase in Phase}
    names = list(graph.tips) if list(targets) == ["heads"] else [graph.resolve(t) for t in targets]
    moved = {graph.phase(name): name for name in names}
    positions |= moved
    wanted = {*names, *(revision for revision in applied if graph.phase(revision) not in moved)}
    contract, expand = positions[Phase.CONTRACT], positions[Phase.EXPAND]
    if contract is not None and expand is not None:
        needed = graph.position(graph.ancestors(contract), Phase.EXPAND)
        if needed is not None and needed not in graph.ancestors(expand):
            raise exceptions.UsageError(
                message=f"contract revision {contract} needs {needed}, which is not an ancestor of {expand}",
                hint=f"give a position on both branches: online-migrate stamp {expand} CONTRACT_REVISION",
            )
    covered = {a for name in wanted for a in graph.ancestors(name) if a != name}
    rows = tuple(graph.order(wanted - covered))
    reached = graph.applied(rows)
    for name in names:
        is_last = graph.position(reached, graph.phase(name)) == name
        if not is_last and not (name in graph.history and name in reached):
            raise exceptions.UsageError(
                message=f"{name} is an ancestor of {', '.join(rows)}, so the position would not change",
                hint=f"online-migrate stamp base   (then: online-migrate stamp {name})",
            )
    return rows


def write(connection: Connection, project: Project, environment: Environment, rows: Sequence[str]) -> None:
    """Replaces the content of Alembic's version table by *rows*, in one transaction."""
    options = {
        name: environment.options[name]
        for name in ("version_table", "version_table_schema", "version_table_pk")
        if name in environment.options
    }
    with no_context_logged():
        context = MigrationContext.configure(connection, opts={"script": project.script, **options})
    context._ensure_version_table()
    version = sa.table(environment.version_table, sa.column("version_num"), schema=environment.version_schema)
    connection.execute(sa.delete(version))
    for row in rows:
        connection.execute(sa.insert(version).values(version_num=row))
    connection.commit()
