"""The commands that only read: ``status``, ``plan``, ``history``, ``current``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from online_migrate.context import CommandContext
from online_migrate.ddl.tools import registry
from online_migrate.dialects import dialect_of, safe_url
from online_migrate.script.graph import Graph, Phase
from online_migrate.status import report as reports
from online_migrate.status.plan import Plan, make_plan

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def status(context: CommandContext) -> reports.Report:
    """Returns the status report of the database. Changes nothing."""
    context.project.load_data_migrations()  # its errors are raised before the database is read
    applied = context.applied()
    url = safe_url(context.engine.url)
    return context.read(lambda read: reports.make_report(read, context.project, applied, url=url))


def plan(context: CommandContext, *, ddl_tool: str | None = None) -> Plan:
    """Returns the SQL that each phase would run on this database. Executes none of it.

    *ddl_tool*: the tool that would be given to the other commands; it need not be installed. None: the
    setting is used.
    """
    applied = context.applied()

    def read(connection: Connection) -> Plan:
        tool = registry.wanted(ddl_tool, context.project.settings.ddl_tool, dialect_of(connection))
        return make_plan(connection, context.project, context.environment, applied, tool)

    return context.read(read)


@dataclasses.dataclass(frozen=True)
class HistoryLine:
    """One revision in the output of ``history`` and ``heads``."""

    revision: str
    phase: Phase
    doc: str
    release: str | None
    head: bool
    parents: tuple[str, ...]


def history(context: CommandContext) -> list[HistoryLine]:
    """Returns all revisions, the oldest first. Does not connect to the database."""
    graph = context.project.graph
    heads = set(graph.tips) - _branch_point(graph)
    return [
        HistoryLine(r.id, graph.phase(r.id), r.doc, r.release, r.id in heads, r.down)
        for r in graph.revisions.values()
    ]


def _branch_point(graph: Graph) -> set[str]:
    """The heads of the base from which the expand and contract branches start."""
    grown = [phase for phase in (Phase.EXPAND, Phase.CONTRACT) if phase in graph.heads]
    if len(graph.history) < 2:
        return {graph.heads[Phase.BASE]} if grown and Phase.BASE in graph.heads else set()
    return {old for phase in grown for old in graph.history if old in graph.ancestors(graph.heads[phase])}


def current(context: CommandContext) -> dict[Phase, reports.PhaseState]:
    """Returns the effective position on each branch, by ancestry."""
    graph, applied = context.project.graph, context.applied()
    return {phase: reports.phase_state(graph, applied, phase) for phase in Phase if phase in graph.heads}
