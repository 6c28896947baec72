"""The veto: a contract revision is applied only with a permit of the gate.

The veto is below the gate. Every command that runs steps, Alembic's own included, gets them from the function
that is wrapped here. It returns a contract step only with a permit, which the contract runner puts into the
configuration after the check of the gate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alembic import util

from online_migrate import exceptions
from online_migrate.script.graph import Graph, Phase

if TYPE_CHECKING:
    from alembic.config import Config

_PERMIT = "online_migrate_permit"

StepsFunction = Callable[[Any, Any], Iterable[Any]]


def as_command_error(error: exceptions.OnlineMigrateError) -> util.CommandError:
    """Returns the error in the form that Alembic's command line prints as one line without a traceback."""
    return util.CommandError(f"{error} {error.hint}".rstrip())


def refuse_contract_steps(
    function: StepsFunction, config: Config, graph: Callable[[], Graph]
) -> StepsFunction:
    """Returns *function* with a check of every step before the first one is run.

    *graph*: returns the graph of the scripts. The returned function raises :class:`VetoError` for a contract
    step without a permit.
    """

    def checked(heads: Any, context: Any) -> Sequence[Any]:
        steps = list(function(heads, context))
        if steps:
            _refuse(steps, graph(), permitted(config), fresh=not heads and not context.as_sql)
        return steps

    return checked


def _refuse(steps: Sequence[Any], graph: Graph, permit: frozenset[str], *, fresh: bool) -> None:
    touched = {revision for step in steps for revision in _revisions_of(step) if revision in graph}
    contracts = [r for r in graph.order(touched) if graph.phase(r) is Phase.CONTRACT and r not in permit]
    if not contracts:
        return
    hint = "online-migrate contract"
    if any(step.is_downgrade for step in steps):
        hint = (
            "a downgrade cannot revert a contract revision: write a new expand revision, or restore a backup"
        )
    elif any(step.info.is_stamp for step in steps):
        hint = f"online-migrate stamp {' '.join(contracts[-1:])}"
    elif fresh:
        hint = "online-migrate upgrade   (applies all phases to a new database)"
    elif len(contracts) < len(touched):
        hint = "online-migrate expand, then online-migrate migrate, then online-migrate contract"
    raise VetoError(contracts, hint)


def _revisions_of(step: Any) -> Iterable[str]:
    info = step.info
    return info.up_revision_ids if not info.is_stamp else (*info.up_revision_ids, *info.down_revision_ids)


class VetoError(util.CommandError, exceptions.ContractNotPermitted):
    """Destructive revisions run only through the gate: contract revision {revisions}."""

    # Also a CommandError, which Alembic's command line prints as one line without a traceback.

    def __init__(self, revisions: Sequence[str], hint: str) -> None:
        exceptions.ContractNotPermitted.__init__(self, revisions=", ".join(revisions), hint=hint)
        self.args = (f"{self.args[0]} Use: {hint}",)


def permitted(config: Config) -> frozenset[str]:
    """Returns the contract revisions that have a permit."""
    permit: frozenset[str] = config.attributes.get(_PERMIT, frozenset())
    return permit


@contextlib.contextmanager
def permit(config: Config, revisions: Iterable[str]) -> Iterator[None]:
    """Permits these contract revisions, which the gate has checked, while the block lasts."""
    before = permitted(config)
    config.attributes[_PERMIT] = before | frozenset(revisions)
    try:
        yield
    finally:
        config.attributes[_PERMIT] = before
