"""Applies the expand branch, and never a contract revision."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate import exceptions
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script.graph import Graph, Phase


def plan(
    graph: Graph, applied: frozenset[str], target: str | None = None, *, with_base: bool = False
) -> list[str]:
    """Returns the expand revisions to apply, in order, up to *target* or the end of the branch. Pure.

    *with_base*: missing revisions of the linear base are applied too; without it they raise
    :class:`~online_migrate.exceptions.BaseBehind`.
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
    """Applies *revisions*, each one separately; those before one that fails remain applied.

    Raises :class:`~online_migrate.exceptions.ContractNotPermitted` for a contract revision, and what
    :meth:`~online_migrate.runtime.apply.RevisionRunner.apply` raises.
    """
    for revision in revisions:
        if runner.project.graph.phase(revision) is Phase.CONTRACT:
            raise exceptions.ContractNotPermitted(revisions=revision)
        graph = runner.project.graph
        runner.echo(f"{graph.phase(revision)} {revision}: {graph.revisions[revision].doc or 'no message'}")
        runner.apply(revision)
