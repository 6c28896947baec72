"""The running services that use what a rollback removes.

Code that survives a contract revision does not need the old shape: it uses the new one, which the expand
revision has created. While such a process may run, the expand revision is not undone. Code that uses both
shapes survives no such revision, and is not recognised.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.contract.live_services import LiveServices
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.script.graph import Graph, Phase
from online_migrate.services.registry import Registry
from online_migrate.services.requirement import some

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class NewCode:
    """The check of the services for the expand revisions *chosen*."""

    services: LiveServices
    graph: Graph
    chosen: Sequence[str]

    @property
    def contracts(self) -> list[str]:
        """The contract revisions that need one of the expand revisions."""
        chosen = set(self.chosen)
        return [one for one in self.graph.of(Phase.CONTRACT) if chosen & self.graph.needed(one)]

    def before_lock(self, connection: Connection) -> NewCode:
        """Returns the same, after reading what must not be read under a lock."""
        return dataclasses.replace(self, services=self.services.before_lock(connection))

    def refuse(self, connection: Connection, *, holder: Connection | None = None) -> bool:
        """Raises :class:`~online_migrate.exceptions.RollbackRefused` if a service uses what is removed.

        Returns False if nothing shows which code runs: no process has ever reported, or no contract revision
        needs the expand revisions. *holder*: the connection that has locked a table in which services report.
        """
        contracts = self.contracts
        if not contracts:
            return False
        try:
            registry = self.services.read(connection, holder=holder)
        except DATABASE_ERRORS as error:
            if dialect_of(connection).is_connection_lost(error):
                raise
            raise exceptions.RollbackRefused([_unreadable(error_message(error))]) from error
        blockers = self._blockers(registry, contracts)
        if blockers:
            raise exceptions.RollbackRefused(blockers)
        return self.services.requirement.checks(registry)

    def _blockers(self, registry: Registry, contracts: Sequence[str]) -> list[Blocker]:
        requirement, rule = self.services.requirement, self.services.reported_rule
        found: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
        for one in registry.services:
            if requirement.counts(one):
                survived = _without(contracts, requirement.kept_by(one, contracts))
                found[one.service, survived].append(f"{one.where}, {one.liveness}")
        reported = registry.reported
        for other in reported.services if reported else ():
            assert reported is not None
            if rule.counts(other, reported):
                survived = _without(contracts, rule.kept_by(other, reported, contracts))
                found[other.service, survived].append(f"{other.host}, {other.state}")
        reasons = [one.reason for one in registry.unreadable]
        reasons += [one.reason for one in reported.unreadable] if reported else []
        return [
            *(_unreadable(reason) for reason in reasons),
            *(_uses(service, kept, where) for (service, kept), where in found.items() if kept),
        ]


def _without(contracts: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    return tuple(one for one in contracts if one not in kept)


def _uses(service: str, survived: Sequence[str], where: Sequence[str]) -> Blocker:
    return Blocker(
        "service-uses-expand",
        f"service {service}",
        f"the code of {len(where)} process(es) ({some(where)}) survives contract revision {some(survived)}: "
        "it uses what the rollback removes",
        "stop them, or restart them with the older release; where a process has ended without a report: "
        "online-migrate services prune --stale 1s; then: online-migrate rollback",
        count=len(where),
    )


def _unreadable(reason: str) -> Blocker:
    return Blocker(
        "services-unreadable",
        "services",
        f"it is unknown which services run: {reason}",
        "online-migrate services",
    )
