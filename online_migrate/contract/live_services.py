"""The services in the gate, and under the lock of a contract revision."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.script.graph import Graph
from online_migrate.script.project import Project
from online_migrate.services import errors
from online_migrate.services.registry import read_registry
from online_migrate.services.requirement import Requirement, service_blockers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class LiveServices:
    """What contract requires of the services of a project."""

    graph: Graph
    requirement: Requirement
    attestation: str | None = None
    """What the operator vouches for where no service reports."""

    @classmethod
    def of(cls, project: Project, *, attest: str | None = None, unused: bool = False) -> LiveServices:
        """Returns the requirement of *project*.

        *attest*: an attestation; silence is accepted then. *unused*: no service uses the database, so silence
        is accepted as well. Raises :class:`~online_migrate.services.errors.AttestationEmpty`.
        """
        if attest is not None and not attest.strip():
            raise errors.AttestationEmpty()
        accepted = unused or attest is not None
        return cls(project.graph, Requirement.of(project.settings, silence_accepted=accepted), attest)

    def check(self, connection: Connection, revisions: Sequence[str]) -> ServiceCheck:
        """Reads the registry, and checks the contract revisions *revisions*.

        A registry that cannot be read is returned as a blocker; only a lost connection is raised.
        """
        try:
            registry = read_registry(connection)
        except DATABASE_ERRORS as error:
            if dialect_of(connection).is_connection_lost(error):
                raise
            connection.rollback()
            return ServiceCheck((_unreadable(error_message(error)),) if revisions else (), True)
        blockers = service_blockers(registry, self.requirement, self.graph.revisions, revisions)
        return ServiceCheck(tuple(blockers), self.requirement.checks(registry))

    def require(self, connection: Connection, revision: str, *, beside: bool) -> None:
        """Refuses *revision* if a service has started since the gate read the registry.

        *beside*: *connection* is not the one that holds the lock. Then the registry is read in a transaction
        that begins now. Raises :class:`~online_migrate.exceptions.GateClosed`.
        """
        if beside:
            connection.rollback()
        blockers = self.check(connection, [revision]).blockers
        if beside:
            connection.rollback()
        if blockers:
            raise exceptions.GateClosed(blockers)


@dataclasses.dataclass(frozen=True)
class ServiceCheck:
    """The result of a check of the services."""

    blockers: tuple[Blocker, ...]
    checked: bool
    """False if the project declares no services, and none has ever reported: nothing was checked."""


def _unreadable(reason: str) -> Blocker:
    return Blocker(
        "services-unreadable",
        "services",
        f"it is unknown which services run, because their registry cannot be read: {reason}",
        f"grant this user SELECT on {state.SERVICE_TABLE}, then: online-migrate gate",
    )
