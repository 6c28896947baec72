"""What contract requires of the services: the code of each live process survives the revision. Pure.

The rule fails closed. A process counts until it has stopped cleanly, or an operator vouches that it has ended
(``services force-down``, ``services prune``), or it has been silent for ``ignore_stale_after``. A row that
cannot be read, and a revision that the project does not have, prove nothing, and close the gate.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set

from online_migrate.config import Settings
from online_migrate.exceptions import Blocker
from online_migrate.services.registry import Registry
from online_migrate.services.service import Liveness, Service, Unreadable
from online_migrate.services.squashed import squashed_of, survives

ATTEST = 'online-migrate contract --attest "why no process runs with old code"'
"""The command that vouches for services that prove nothing."""
_SHOWN = 5
"""Processes that a blocker names."""


@dataclasses.dataclass(frozen=True)
class Requirement:
    """The rule of a project, and of a command."""

    declared: tuple[str, ...] | None = None
    """The services of which a live process must report; None: the project declares no services."""
    squashed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignore_stale_after: float | None = None
    silence_accepted: bool = False
    """True if no process has to report: an operator vouches for them, or no service uses the database."""
    attested: bool = False
    """True if an operator vouches for what the services do not prove."""

    @classmethod
    def of(cls, settings: Settings, *, silence_accepted: bool = False, attested: bool = False) -> Requirement:
        """Returns the rule that the settings of a project declare."""
        declared = None
        if settings.services is not None:
            names = settings.services.replace(",", " ").split()
            declared = tuple(name for name in names if name != "*")
        squashed = squashed_of(settings)
        return cls(declared, squashed, settings.ignore_stale_after, silence_accepted, attested)

    def checks(self, registry: Registry) -> bool:
        """Returns True if services are checked: the project declares them, or a process has reported."""
        return self.declared is not None or registry.reported is not None or not registry.empty

    def counts(self, service: Service) -> bool:
        """Returns True if *service* may still run, and so has to survive what is contracted."""
        if service.liveness is Liveness.LIVE:
            return True
        if service.liveness is not Liveness.STALE:
            return False
        return self.ignore_stale_after is None or service.silence <= self.ignore_stale_after

    def kept_by(self, service: Service, revisions: Collection[str]) -> list[str]:
        """Returns those of *revisions* that *service* keeps from being contracted, in their order."""
        return self.not_survived(service.survives, revisions) if self.counts(service) else []

    def not_survived(self, survived: Collection[str], revisions: Collection[str]) -> list[str]:
        """Returns those of *revisions* that code does not survive which survives *survived*."""
        return [revision for revision in revisions if not survives(revision, survived, self.squashed)]


def service_blockers(
    registry: Registry, requirement: Requirement, known: Collection[str], revisions: Sequence[str]
) -> list[Blocker]:
    """Returns the blockers of contract revisions that the services cause.

    *known*: every revision of the project. *revisions*: the contract revisions to apply.
    """
    if not revisions or not requirement.checks(registry):
        return []
    counted = [one for one in registry.services if requirement.counts(one)]
    return [
        *(_of_unreadable(row) for row in registry.unreadable),
        *_of_shared_identities(counted),
        *_of_unknown_revisions(counted, {*known, *requirement.squashed}),
        *_of_old_code(counted, requirement, revisions),
        *_of_silence(registry, requirement),
    ]


def _of_unreadable(row: Unreadable) -> Blocker:
    return Blocker(
        "service-unreadable",
        _object(row.service),
        f"its row {row.id} in the registry cannot be read: {row.reason}",
        f"end the process, then: online-migrate services prune --id {row.id}",
    )


def _of_shared_identities(services: Sequence[Service]) -> list[Blocker]:
    """Returns a blocker for live processes that cannot be told apart."""
    found: dict[tuple[str, str], list[Service]] = defaultdict(list)
    for one in services:
        if one.liveness is Liveness.LIVE:
            found[one.service, one.where].append(one)
    return [
        Blocker(
            "service-identity-shared",
            _object(service),
            f"{len(same)} live processes report as {where}: {some([one.id for one in same])}",
            "give each its own host= or process= in heartbeat(...); if one was killed, it is stale in "
            f"{max(one.dead_after - one.silence for one in same)} s: online-migrate services",
            count=len(same),
        )
        for (service, where), same in found.items()
        if len(same) > 1
    ]


def _of_unknown_revisions(services: Sequence[Service], known: Set[str]) -> list[Blocker]:
    found: dict[tuple[str, tuple[str, ...]], list[Service]] = defaultdict(list)
    unknown_in = {survived: tuple(sorted(survived - known)) for survived in {s.survives for s in services}}
    for one in services:
        unknown = unknown_in[one.survives]
        if unknown:
            found[one.service, unknown].append(one)
    return [
        Blocker(
            "service-revision-unknown",
            _object(service),
            f"{_processes(same)} report contract revisions that this project does not have: {some(unknown)}",
            "run contract from the project of the newest release; or, if their scripts were folded into "
            "another one, add them to squashed in [online_migrate]",
            count=len(same),
        )
        for (service, unknown), same in found.items()
    ]


def _of_old_code(
    services: Sequence[Service], requirement: Requirement, revisions: Sequence[str]
) -> list[Blocker]:
    """Returns a blocker for each service, release and liveness whose code does not survive a revision."""
    found: dict[tuple[str, str | None, Liveness, tuple[str, ...]], list[Service]] = defaultdict(list)
    kept_with = {s: tuple(requirement.not_survived(s, revisions)) for s in {s.survives for s in services}}
    for one in services:
        kept = kept_with[one.survives]
        if kept:
            found[one.service, one.release, one.liveness, kept].append(one)
    return [
        _old_code(service, release, liveness, kept, same)
        for (service, release, liveness, kept), same in found.items()
    ]


def _old_code(
    service: str,
    release: str | None,
    liveness: Liveness,
    kept: Sequence[str],
    same: Sequence[Service],
) -> Blocker:
    code = f"of release {release}" if release else "of an unnamed release"
    reason = f"{_processes(same)} {code}, whose code does not survive {some(kept)}"
    if liveness is Liveness.LIVE:
        hint = "stop them, or restart them with a release that contains the script, then: online-migrate gate"
        if any(one.returned for one in same):
            reason += "; reports again after it was forced down or had stopped"
        return Blocker("service-behind", _object(service), f"live: {reason}", hint, count=len(same))
    silent = f"silent for at least {min(one.silence for one in same)} s, but not stopped cleanly"
    return Blocker(
        "service-stale",
        _object(service),
        f"stale: {reason}; {silent}",
        "make sure that they have ended, then: online-migrate services prune --stale 1s",
        count=len(same),
    )


def _of_silence(registry: Registry, requirement: Requirement) -> list[Blocker]:
    """Returns a blocker for each declared service of which no live process reports."""
    if requirement.silence_accepted or not requirement.declared:
        return []
    if registry.missing:
        reason = "no process can report, because this database has no registry of services"
        hint = "online-migrate expand   (creates it), then start the services with heartbeat(...)"
        return [Blocker("service-registry-missing", _object(n), reason, hint) for n in requirement.declared]
    live = registry.live
    return [
        Blocker(
            "service-silent",
            _object(name),
            f"it is declared, but no live process of it reports{_ended(registry, name)}",
            f"start it with online_migrate.services.heartbeat(...), or: {ATTEST}",
        )
        for name in requirement.declared
        if name not in live
    ]


def _ended(registry: Registry, name: str) -> str:
    other = registry.reported.services if registry.reported else ()
    seen = [one.liveness.value for one in registry.services if one.service == name]
    seen += [str(one.state) for one in other if one.service == name]
    kinds = [f"{seen.count(kind)} {kind}" for kind in dict.fromkeys(seen)]
    return f" ({', '.join(kinds)})" if kinds else ""


def _object(service: str) -> str:
    return f"service {service}"


def _processes(same: Sequence[Service]) -> str:
    return f"{len(same)} process(es) ({some([one.where for one in same])})"


def some(names: Sequence[str]) -> str:
    """Returns the first of *names*, for a message."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
