"""Says that an earlier expand revision created the table of a refused operation.

What one run of ``expand`` creates is new to all code. Later it cannot be proved that no code uses it: code
of the release may have been deployed in between. So the operation is refused, and the hint says how to
declare it.
"""

from __future__ import annotations

from collections.abc import Callable

from online_migrate.phases.known import Server
from online_migrate.phases.script import read
from online_migrate.phases.verdict import Verdict
from online_migrate.runtime.rendering import Rendered
from online_migrate.script.graph import Graph, Phase
from online_migrate.sql.operations.operation import CreateTable

_LAST = 20
"""The expand revisions that are looked at: rendering all of a long history would take too long."""


class Origins:
    """The expand revisions that created tables. *render*: renders one revision."""

    def __init__(self, graph: Graph, server: Server, render: Callable[[str], Rendered]) -> None:
        self._graph = graph
        self._server = server
        self._render = render

    def hint(self, revision: str, verdict: Verdict) -> str:
        """Returns the end of the hint for an operation that *revision* must not have; empty in most cases."""
        table = verdict.object.partition(".")[0]
        created_by = self._of(revision, table)
        if created_by is None:
            return ""
        return (
            f"{table} was created by expand revision {created_by}: if no code uses it yet, declare the"
            " operation as additive, with that reason"
        )

    def _of(self, revision: str, table: str) -> str | None:
        graph = self._graph
        ancestors = graph.ancestors(revision) - {revision}
        before = [one for one in graph.of(Phase.EXPAND) if one in ancestors]
        for one in reversed(before[-_LAST:]):
            if table in self._created_by(one):
                return one
        return None

    def _created_by(self, revision: str) -> set[str]:
        texts = [statement.text for statement in self._render(revision).statements]
        found = (operation for text in texts for operation in read(text, self._server) or ())
        return {operation.table.name for operation in found if isinstance(operation, CreateTable)}
