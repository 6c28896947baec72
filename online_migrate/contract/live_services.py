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
from online_migrate.service_sources.source import ServiceSource, source_of
from online_migrate.services import errors
from online_migrate.services.registry import Registry, read_registry
from online_migrate.services.reported import Reported
from online_migrate.services.reported_rule import ReportedRule
from online_migrate.services.requirement import Requirement, service_blockers
from online_migrate.services.survived_by import SurvivedBy

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class LiveServices:
    """What contract requires of the services of a project."""

    graph: Graph
    requirement: Requirement
    attestation: str | None = None
    """What the operator vouches for where no service reports."""
    source: ServiceSource | None = None
    """Where services report beside the registry."""
    survived_by: SurvivedBy = dataclasses.field(default_factory=SurvivedBy)
    reported: Reported | None = None
    """What was read before the tables were locked; None: it is read together with the registry."""

    @classmethod
    def of(cls, project: Project, *, attest: str | None = None, unused: bool = False) -> LiveServices:
        """Returns the requirement of *project*.

        *attest*: an attestation; silence is accepted then. *unused*: no service uses the database, so silence
        is accepted as well. Raises :class:`~online_migrate.services.errors.AttestationEmpty` and
        :class:`~online_migrate.exceptions.ConfigBroken`.
        """
        if attest is not None and not attest.strip():
            raise errors.AttestationEmpty()
        accepted = unused or attest is not None
        settings = project.settings
        rule = Requirement.of(settings, silence_accepted=accepted, attested=attest is not None)
        source = source_of(settings, project.config_file.parent)
        survived_by = SurvivedBy.of(settings, source.version_names if source else (), project.graph)
        return cls(project.graph, rule, attest, source, survived_by)

    @property
    def reported_rule(self) -> ReportedRule:
        """The rule for services that report beside the registry."""
        return ReportedRule(self.requirement, self.survived_by)

    @property
    def note(self) -> str | None:
        """What the check of the services does not see; None if they report to the registry only."""
        return None if self.source is None else self.source.note

    @property
    def tables(self) -> frozenset[str]:
        """The tables of the database in which services report, except for the registry."""
        return frozenset() if self.source is None else self.source.tables

    def before_lock(self, connection: Connection) -> LiveServices:
        """Returns the same, after reading what must not be read under the lock of a contract revision."""
        if self.source is None or not self.source.before_lock or self.reported is not None:
            return self
        return dataclasses.replace(self, reported=self.source.read(connection))

    def read(self, connection: Connection, *, holder: Connection | None = None) -> Registry:
        """Returns the registry, with what is reported beside it.

        *holder*: the connection that has locked a table in which services report; no other one can read it.
        Raises one of :data:`~online_migrate.driver_errors.DATABASE_ERRORS` if the registry cannot be read.
        """
        # A function may write to this database: on SQLite it would wait for the transaction of *connection*.
        reported = self.before_lock(connection).reported
        registry = read_registry(connection)
        if self.source is None:
            return registry
        reported = reported or self.source.read(holder or connection)
        return dataclasses.replace(registry, reported=reported)

    def check(
        self, connection: Connection, revisions: Sequence[str], *, holder: Connection | None = None
    ) -> ServiceCheck:
        """Reads the registry, and checks the contract revisions *revisions*. *holder*: see :meth:`read`.

        A registry that cannot be read is returned as a blocker; only a lost connection is raised.
        """
        if not revisions and self.source is not None:
            return ServiceCheck((), True)
        try:
            registry = self.read(connection, holder=holder)
        except DATABASE_ERRORS as error:
            if dialect_of(connection).is_connection_lost(error):
                raise
            connection.rollback()
            return ServiceCheck((_unreadable(error_message(error)),) if revisions else (), True)
        blockers = service_blockers(registry, self.requirement, self.graph.revisions, revisions)
        if registry.reported is not None:
            blockers += self.reported_rule.blockers(registry.reported, revisions)
        return ServiceCheck(tuple(blockers), self.requirement.checks(registry))

    def require(
        self, connection: Connection, revision: str, *, beside: bool, holder: Connection | None = None
    ) -> None:
        """Refuses *revision* if a service has started since the gate read the registry.

        *beside*: *connection* is not the one that holds the lock. Then the registry is read in a transaction
        that begins now. *holder*: see :meth:`read`. Raises :class:`~online_migrate.exceptions.GateClosed`.
        """
        if beside:
            connection.rollback()
        blockers = self.check(connection, [revision], holder=holder).blockers
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
