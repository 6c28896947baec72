"""Applies the expand branch, and never a contract revision."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate import exceptions
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script.graph import Graph, Phase


def plan(
    graph: Graph, applied: frozenset[str], target: str | None = None, *, with_base: bool = False
) -> list[str]:
    """The expand revisions to apply, in order, up to *target* or the end of the branch. Pure.

    Raises :class:`~online_migrate.exceptions.BaseBehind` if a revision from before the branches is
    missing, unless *with_base* says that those are to be applied too.
    """
    head = target if target is not None else graph.heads.get(Phase.EXPAND)
    if head is None:
        base = graph.heads.get(Phase.BASE)
        return graph.missing(applied, base) if with_base and base else []
    missing = graph.missing(applied, head)
    base_missing = [revision for revision in missing if graph.phase(revision) is Phase.BASE]
    if base_missing and not with_base:
        raise exceptions.BaseBehind(missing=_some(base_missing), tip=base_missing[-1])
    return missing


def _some(revisions: Sequence[str]) -> str:
    shown = ", ".join(revisions[:3])
    return f"{shown} and {len(revisions) - 3} more are" if len(revisions) > 3 else f"{shown} is"


def run(runner: RevisionRunner, revisions: Sequence[str]) -> None:
    """Applies *revisions*, each on its own; those before one that fails stay applied."""
    for revision in revisions:
        if runner.project.graph.phase(revision) is Phase.CONTRACT:
            raise exceptions.ContractNotPermitted(revisions=revision)
        graph = runner.project.graph
        runner.say(f"{graph.phase(revision)} {revision}: {graph.revisions[revision].doc or 'no message'}")
        runner.apply(revision)
