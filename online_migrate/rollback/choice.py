"""Which expand revisions are undone, and which contract revisions forbid it. Pure."""

from __future__ import annotations

from collections.abc import Collection

from online_migrate import exceptions
from online_migrate.script.graph import Graph, Phase


def to_undo(
    graph: Graph,
    applied: frozenset[str],
    target: str | None,
    *,
    begun: Collection[str] = (),
    soaking: Collection[str] = (),
) -> list[str]:
    """Returns the expand revisions to undo, the last one first, down to *target*.

    *target*: None: those at the end of the branch that have the release of the last one; the last one, if it
    has no release. *begun*, *soaking*: contract revisions that are not applied, but were begun, or soak.
    Raises :class:`~online_migrate.exceptions.Refused` for one that is contracted.
    """
    done = [revision for revision in graph.of(Phase.EXPAND) if revision in applied]
    if target is not None and target not in done:
        raise exceptions.Refused(
            reason=f"expand revision {target} is not applied", hint="online-migrate current"
        )
    if not done:
        raise exceptions.Refused(reason="no expand revision is applied", hint="online-migrate current")
    first = done.index(target) if target is not None else _first_of_release(graph, done)
    chosen = done[first:]
    for contract in graph.of(Phase.CONTRACT):
        needed = [revision for revision in chosen if revision in graph.needed(contract)]
        if not needed:
            continue
        if contract in applied:
            raise exceptions.Refused(
                reason=f"expand revision {needed[-1]} is contracted by {contract}",
                hint="write a new expand revision, or restore a backup",
            )
        if contract in soaking:
            raise exceptions.Refused(
                reason=f"contract revision {contract}, which needs {needed[-1]}, soaks",
                hint="online-migrate contract --unsoak   (or finish it: online-migrate contract)",
            )
        if contract in begun:
            raise exceptions.Refused(
                reason=f"contract revision {contract}, which needs {needed[-1]}, is half applied",
                hint="online-migrate contract   (finishes it)",
            )
    return chosen[::-1]


def _first_of_release(graph: Graph, done: list[str]) -> int:
    release = graph.revisions[done[-1]].release
    first = len(done) - 1
    while first and release is not None and graph.revisions[done[first - 1]].release == release:
        first -= 1
    return first
