"""Applies the expand branch, and never a contract revision."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate import exceptions
from online_migrate.expand.additive import AdditiveCheck
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.script.graph import Graph, Phase


def plan(
    graph: Graph, applied: frozenset[str], target: str | None = None, *, with_base: bool = False
) -> list[str]:
    """Returns the expand revisions to apply, in order, up to *target* or the end of the branch. Pure.

    *with_base*: missing revisions of the base are applied too; without it they raise
    :class:`~online_migrate.exceptions.BaseBehind`. Raises :class:`~online_migrate.exceptions.Refused` if an
    expand revision depends on a contract revision that is not applied.
    """
    head = target if target is not None else graph.heads.get(Phase.EXPAND)
    missing = graph.base_missing(applied) if head is None else graph.missing(applied, head)
    base_missing = [revision for revision in missing if graph.phase(revision) is Phase.BASE]
    if base_missing and not with_base:
        raise exceptions.BaseBehind(missing=_some(base_missing), tip=base_missing[-1])
    _refuse_contracts(graph, missing)
    return missing


def _refuse_contracts(graph: Graph, missing: Sequence[str]) -> None:
    contracts = [revision for revision in missing if graph.phase(revision) is Phase.CONTRACT]
    if not contracts:
        return
    crossing = [e for e in missing if set(contracts) & set(graph.crossings.get(e, ()))]
    expands = [revision for revision in missing if graph.phase(revision) is Phase.EXPAND]
    before = [e for e in expands if graph.ancestors(e).isdisjoint(contracts)]
    first = f"online-migrate expand {before[-1]}, online-migrate migrate, " if before else ""
    raise exceptions.Refused(
        reason=f"expand revision(s) {', '.join(crossing)} depend on contract revision(s) "
        f"{', '.join(contracts)}, so expand would apply a contract revision",
        hint=f"{first}online-migrate contract {contracts[-1]}   (then: online-migrate expand)",
    )


def _some(revisions: Sequence[str]) -> str:
    shown = ", ".join(revisions[:3])
    return f"{shown} and {len(revisions) - 3} more are" if len(revisions) > 3 else f"{shown} is"


def run(runner: RevisionRunner, revisions: Sequence[str]) -> None:
    """Applies *revisions*, each one separately; those before one that fails remain applied.

    Revisions of the linear base are history, and are not judged. Raises
    :class:`~online_migrate.exceptions.ContractNotPermitted` for a contract revision,
    :class:`~online_migrate.exceptions.NotAdditive` for one that is not additive, and what
    :meth:`~online_migrate.runtime.apply.RevisionRunner.apply` raises.
    """
    graph, session = runner.project.graph, runner.session
    check = AdditiveCheck(runner.project, runner.environment, session.connection, session.dialect)
    for revision in revisions:
        phase = graph.phase(revision)
        if phase is Phase.CONTRACT:
            raise exceptions.ContractNotPermitted(revisions=revision)
        runner.echo(f"{phase} {revision}: {graph.revisions[revision].doc or 'no message'}")
        if phase is Phase.BASE:
            runner.apply(revision)
        else:
            _expand(runner, check, revision)


def _expand(runner: RevisionRunner, check: AdditiveCheck, revision: str) -> None:
    declared = check.before(revision)
    runner.session.connection.rollback()
    runner.apply(revision, watch=lambda journal: check.guard(journal, declared))
