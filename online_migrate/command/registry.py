"""The commands on services: ``services``, ``services prune``, ``services force-down``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from online_migrate import exceptions, state
from online_migrate.context import CommandContext
from online_migrate.contract.graph_blockers import to_contract
from online_migrate.contract.live_services import LiveServices
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of
from online_migrate.services.errors import PinUnknown, UnknownService
from online_migrate.services.pin_rule import names_in, pin_in
from online_migrate.services.registry import Registry, read_registry
from online_migrate.services.reported import Reported, ReportedService, UnreadableReport
from online_migrate.services.service import Liveness, Service, Unreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class ServiceState:
    """A process of a service, and what it keeps from being contracted."""

    process: Service
    keeps: tuple[str, ...]
    """The contract revisions that are not applied, and cannot be while this process counts."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the state as a dictionary, for ``--json``."""
        one = self.process
        return {
            "id": one.id,
            "service": one.service,
            "host": one.host,
            "process": one.process,
            "release": one.release,
            "liveness": one.liveness.value,
            "silence": one.silence,
            "age": one.age,
            "dead_after": one.dead_after,
            "survives": sorted(one.survives),
            "versions": dict(one.versions),
            "forced_by": one.forced_by,
            "keeps": list(self.keeps),
        }


@dataclasses.dataclass(frozen=True)
class ReportedState:
    """A service that reports beside the registry, and what it keeps from being contracted."""

    report: ReportedService
    keeps: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the state as a dictionary, for ``--json``."""
        one = self.report
        return {
            "place": one.place,
            "service": one.service,
            "host": one.host,
            "state": str(one.state),
            "silence": one.silence,
            "versions": dict(one.versions),
            "survives": sorted(one.survives),
            "keeps": list(self.keeps),
        }


@dataclasses.dataclass(frozen=True)
class ReportedBeside:
    """What is reported beside the registry."""

    source: str
    note: str
    """What a check of it does not see."""
    services: tuple[ReportedState, ...]
    unreadable: tuple[UnreadableReport, ...]

    @classmethod
    def of(cls, live: LiveServices, reported: Reported | None, revisions: list[str]) -> ReportedBeside | None:
        """Returns what is reported, and what it keeps from being contracted; None if nothing is read."""
        if live.source is None or reported is None:
            return None
        kept_by = live.reported_rule.kept_by
        states = (ReportedState(one, tuple(kept_by(one, reported, revisions))) for one in reported.services)
        return cls(live.source.name, live.source.note, tuple(states), reported.unreadable)

    def as_dict(self) -> dict[str, Any]:
        """Returns it as a dictionary, for ``--json``."""
        return {
            "source": self.source,
            "note": self.note,
            "services": [one.as_dict() for one in self.services],
            "unreadable": [dataclasses.asdict(one) for one in self.unreadable],
        }


@dataclasses.dataclass(frozen=True)
class PinState:
    """The pin of a named version: the one that every process understands that may still run."""

    name: str
    pin: str | None
    """None: it is not known."""
    reason: str | None
    """Why it is not known."""

    @classmethod
    def of(cls, registry: Registry, name: str) -> PinState:
        """Returns the pin of *name* in the registry."""
        try:
            return cls(name, pin_in(registry, name), None)
        except PinUnknown as unknown:
            return cls(name, None, unknown.reason)


@dataclasses.dataclass(frozen=True)
class ServicesReport:
    """The content of ``online-migrate services``."""

    checked: bool
    """False if the project declares no services, and none has ever reported."""
    silent: tuple[str, ...]
    """Declared services of which no live process reports."""
    services: tuple[ServiceState, ...]
    unreadable: tuple[Unreadable, ...]
    attested: tuple[state.Contracted, ...]
    """The contract revisions for which an operator vouched that no service uses the old shape."""
    pins: tuple[PinState, ...]
    """The pin of each version that is reported."""
    reported: ReportedBeside | None = None
    """What is reported beside the registry; None: nothing is read."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as a dictionary, for ``--json``."""
        return {
            "checked": self.checked,
            "silent": list(self.silent),
            "services": [one.as_dict() for one in self.services],
            "unreadable": [dataclasses.asdict(one) for one in self.unreadable],
            "attested": [
                {
                    "revision": one.revision,
                    "attestation": one.attestation,
                    "operator": one.operator,
                    "runner": one.runner,
                    "at": f"{one.changed_at.isoformat()}Z",
                }
                for one in self.attested
            ],
            "pins": [dataclasses.asdict(one) for one in self.pins],
            "reported": None if self.reported is None else self.reported.as_dict(),
        }


def services(context: CommandContext) -> ServicesReport:
    """Returns the processes that report to the database. Changes nothing."""
    graph, applied = context.project.graph, context.applied()
    found = LiveServices.of(context.project)
    requirement = found.requirement
    revisions = to_contract(graph, applied)

    def read(connection: Connection) -> tuple[Registry, list[state.Contracted]]:
        registry = found.read(connection)
        return registry, [] if registry.missing else state.contracted_revisions(connection)

    registry, announced = context.read(read)
    return ServicesReport(
        checked=requirement.checks(registry),
        silent=tuple(name for name in requirement.declared or () if name not in registry.live),
        services=tuple(
            ServiceState(one, tuple(requirement.kept_by(one, revisions))) for one in registry.services
        ),
        unreadable=registry.unreadable,
        attested=tuple(one for one in announced if one.attestation is not None and one.counts),
        pins=tuple(PinState.of(registry, name) for name in names_in(registry)),
        reported=ReportedBeside.of(found, registry.reported, revisions),
    )


def prune_services(
    context: CommandContext, *, stale: float | None = None, ids: Sequence[str] = ()
) -> list[Service | Unreadable]:
    """Deletes processes that no longer count from the registry, and returns them.

    Without arguments these are the processes that have stopped cleanly, or were forced down. *stale*: also
    those that are stale and have been silent for longer than this, in seconds. *ids*: only these, by the
    beginning of their id, whatever they are; one that is live is refused. A process that is deleted and still
    runs registers again with its next heartbeat.
    """
    context.ensure_state_tables()
    with connect(context.engine) as connection, dialect_of(connection).write_transaction(connection):
        registry = read_registry(connection)
        chosen = [_named(registry, id) for id in ids] or _ended(registry, stale)
        for one in chosen:
            if isinstance(one, Service) and one.liveness is Liveness.LIVE:
                raise exceptions.Refused(
                    reason=f"{one.service} {one.where} ({one.id}) is live",
                    hint="stop it first; if it was killed, it is stale in "
                    f"{one.dead_after - one.silence + 1} s",
                )
        gone = [one for one in chosen if state.delete_services(connection, {one.id: one.beats})]
        connection.commit()
    return gone


def force_down_service(context: CommandContext, id: str, reason: str) -> Service:
    """Records that the operator vouches that a process has ended, and returns the process.

    *id*: the beginning of its id. *reason*: how that was checked. The process no longer counts, until it
    sends another heartbeat.
    """
    if not reason.strip():
        raise exceptions.UsageError(message="force-down needs a reason: how it was checked")
    context.ensure_state_tables()
    by = f"{state.this_operator()} ({state.this_runner()}): {reason}"
    with connect(context.engine) as connection, dialect_of(connection).write_transaction(connection):
        found = _named(read_registry(connection), id)
        state.force_down(connection, found.id, by)
        again = _named(read_registry(connection), found.id)
        connection.commit()
    if isinstance(again, Unreadable):
        raise exceptions.Refused(
            reason=f"the row {again.id} cannot be read: {again.reason}",
            hint=f"online-migrate services prune --id {again.id}",
        )
    return again


def _ended(registry: Registry, stale: float | None) -> list[Service | Unreadable]:
    return [
        one
        for one in registry.services
        if one.liveness in (Liveness.STOPPED, Liveness.FORCED_DOWN)
        or (stale is not None and one.liveness is Liveness.STALE and one.silence > stale)
    ]


def _named(registry: Registry, id: str) -> Service | Unreadable:
    rows: list[Service | Unreadable] = [*registry.services, *registry.unreadable]
    found = [one for one in rows if id and one.id.startswith(id)]
    if len(found) != 1:
        raise UnknownService(id=id)
    return found[0]
