"""What contract requires of services that report to another registry. Pure.

Such a registry says versions, and not which contract revisions the code survives: the setting ``survived_by``
says that. The rule fails closed: a revision or a service without a declared version is refused, unless an
operator attests it. An attestation does not replace a version that is too old, or that cannot be read.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Sequence

from online_migrate.config import SECTION
from online_migrate.exceptions import Blocker
from online_migrate.services.reported import Reported, ReportedService
from online_migrate.services.requirement import ATTEST, Requirement, some
from online_migrate.services.service import Liveness
from online_migrate.services.squashed import survives
from online_migrate.services.survived_by import SurvivedBy

_Groups = dict[tuple[str, str, tuple[str, ...]], list[ReportedService]]


@dataclasses.dataclass(frozen=True)
class ReportedRule:
    """The rule of a project, for what one source of services reports."""

    requirement: Requirement
    survived_by: SurvivedBy = dataclasses.field(default_factory=SurvivedBy)

    def counts(self, one: ReportedService, reported: Reported) -> bool:
        """Returns True if *one* may still run, and so has to survive what is contracted."""
        if one.state != Liveness.STALE:
            return one.state == Liveness.LIVE
        limit = self.requirement.ignore_stale_after
        if limit is None or one.silence is None or reported.stale_counts:
            return True
        return one.silence <= limit

    def kept_by(self, one: ReportedService, reported: Reported, revisions: Collection[str]) -> list[str]:
        """Returns those of *revisions* that *one* keeps from being contracted, in their order."""
        if not self.counts(one, reported):
            return []
        return self.requirement.not_survived(self._survived(one), revisions)

    def blockers(self, reported: Reported, revisions: Sequence[str]) -> list[Blocker]:
        """Returns the blockers of contract revisions that the reported services cause."""
        if not revisions:
            return []
        counted = [one for one in reported.services if self.counts(one, reported)]
        behind: _Groups = defaultdict(list)
        undeclared: _Groups = defaultdict(list)
        unmapped = [] if self.requirement.attested else self._unmapped(counted, revisions)
        for one in counted:
            kept = [r for r in self.kept_by(one, reported, revisions) if r not in unmapped]
            known = {*one.survives, *self.survived_by.declared(one.service)}
            old = tuple(r for r in kept if survives(r, known, self.requirement.squashed))
            if old:
                behind[one.service, _versions(one), old].append(one)
            unknown = tuple(r for r in kept if r not in old)
            if unknown and not self.requirement.attested:
                undeclared[one.service, "", unknown].append(one)
        return [
            *(Blocker("service-unreadable", row.object, row.reason, row.hint) for row in reported.unreadable),
            *self._of_silence(reported, counted),
            *(_unmapped(revision, counted) for revision in unmapped),
            *(_undeclared(service, kept, same) for (service, _, kept), same in undeclared.items()),
            *(
                self._behind(service, has, kept, same, reported)
                for (service, has, kept), same in behind.items()
            ),
        ]

    def _survived(self, one: ReportedService) -> set[str]:
        return {*one.survives, *self.survived_by.survived(one)}

    def _unmapped(self, counted: Sequence[ReportedService], revisions: Sequence[str]) -> list[str]:
        """Returns the revisions for which neither the settings nor a report say what survives them."""
        if not counted and self.requirement.silence_accepted:
            return []
        known = {*self.survived_by.revisions(), *(r for one in counted for r in one.survives)}
        return self.requirement.not_survived(known, revisions)

    def _of_silence(self, reported: Reported, counted: Sequence[ReportedService]) -> list[Blocker]:
        if counted or reported.unreadable or self.requirement.silence_accepted:
            return []
        reason = "services_from is set, and no service that counts reports there"
        return [Blocker("service-silent", "services", reason, f"start the services, or: {ATTEST}")]

    def _behind(
        self, service: str, has: str, kept: Sequence[str], same: Sequence[ReportedService], reported: Reported
    ) -> Blocker:
        needed = [
            f"{revision} needs {' and '.join(str(least) for least in found)}"
            for revision in kept
            if (found := self.survived_by.least.get((revision, service)))
        ]
        reason = f"{_reports(same)} {has}; its code does not survive {some(kept)}"
        if needed:
            reason += f" ({some(needed)})"
        hint = f"restart them with a newer release; where a process has ended: {reported.removal}"
        return Blocker("service-behind", f"service {service}", reason, hint, count=len(same))


def _unmapped(revision: str, counted: Sequence[ReportedService]) -> Blocker:
    return Blocker(
        "service-versions-undeclared",
        revision,
        "the services report versions, and it is not declared which version survives this revision",
        f"declare it: {_declaration(revision, 'SERVICE', counted)}; or let the services report by "
        f"heartbeat(...), or: {ATTEST}",
    )


def _undeclared(service: str, kept: Sequence[str], same: Sequence[ReportedService]) -> Blocker:
    return Blocker(
        "service-versions-undeclared",
        f"service {service}",
        f"{_reports(same)}, and it is not declared which version of {service} survives {some(kept)}",
        f"declare it: {_declaration(kept[0], service, same)}; or: {ATTEST}",
        count=len(same),
    )


def _declaration(revision: str, service: str, reports: Sequence[ReportedService]) -> str:
    """Returns the setting that is missing. A version needs its name where a service reports several."""
    names = next((list(one.versions) for one in reports if len(one.versions) > 1), [])
    what = f"{service}:{names[0]}" if names else service
    return f"survived_by = {revision}:{what}=VERSION in [{SECTION}]"


def _reports(same: Sequence[ReportedService]) -> str:
    hosts = [f"{one.host} in {one.place}" if one.place else one.host for one in same]
    states = dict.fromkeys(one.state for one in same)
    return f"{len(same)} report(s) ({some(hosts)}), {', '.join(states)}"


def _versions(one: ReportedService) -> str:
    return "with " + (
        ", ".join(f"{name} {version}" for name, version in one.versions.items()) or "no version"
    )
