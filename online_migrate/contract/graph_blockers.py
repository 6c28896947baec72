"""The reasons why contract is refused that the revision graph shows, without the database. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate import exceptions
from online_migrate.exceptions import Blocker
from online_migrate.script.graph import UNDECLARED, Graph, Phase, expand_hint


def to_contract(graph: Graph, applied: frozenset[str], target: str | None = None) -> list[str]:
    """Returns the contract revisions to apply, in order, up to *target* or the end of the branch. Pure.

    Raises :class:`~online_migrate.exceptions.UnknownRevision` if *target* is not a contract revision.
    """
    head = target if target is not None else graph.heads.get(Phase.CONTRACT)
    if head is None:
        return []
    if graph.phase(head) is not Phase.CONTRACT:
        raise exceptions.UnknownRevision(
            revision=head, hint=f"it is on the {graph.phase(head)} branch; contract needs a contract revision"
        )
    return [r for r in graph.missing(applied, head) if graph.phase(r) is Phase.CONTRACT]


def schema_blockers(graph: Graph, applied: frozenset[str], revisions: Sequence[str]) -> list[Blocker]:
    """Returns the blockers of *revisions* that the revision graph shows: of the base, if there are none."""
    needed = {revision: graph.needed(revision) - applied for revision in revisions}
    missing = graph.base_missing(applied) if not revisions else graph.order(set().union(*needed.values()))
    found = _of_base([revision for revision in missing if graph.phase(revision) is Phase.BASE])
    for revision in revisions:
        if graph.revisions[revision].requires is UNDECLARED:
            found.append(_undeclared(graph, revision))
        expands = [r for r in graph.order(needed[revision]) if graph.phase(r) is Phase.EXPAND]
        named = {blocker.object for blocker in found}
        found += [_not_expanded(graph, expand, revision) for expand in expands if expand not in named]
    return found


def _of_base(missing: Sequence[str]) -> list[Blocker]:
    if not missing:
        return []
    last, before = missing[-1], len(missing) - 1
    reason = f"base revision {last} is not applied"
    if before:
        reason += f", nor {before} before it, from {missing[0]}"
    return [Blocker("base-not-applied", last, reason, f"alembic upgrade {last}")]


def _undeclared(graph: Graph, revision: str) -> Blocker:
    return Blocker(
        "requires-undeclared",
        revision,
        "the script does not declare which data migrations it requires",
        f"write requires = ('name', ...) into {graph.revisions[revision].path}, "
        "or requires = () if it requires none",
    )


def _not_expanded(graph: Graph, expand: str, contract: str) -> Blocker:
    reason = f"expand revision {expand} is not applied"
    if expand not in graph.ancestors(contract):
        reason += f", and {contract} has no depends_on that names the expand revision it requires"
    return Blocker("expand-not-applied", expand, reason, expand_hint(graph, expand))
