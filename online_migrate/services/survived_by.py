"""The least versions that survive each contract revision, as settings and scripts declare them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from online_migrate.config import Settings, settings_broken
from online_migrate.script.graph import Graph, Phase, Revision
from online_migrate.services.pin_rule import as_numbers
from online_migrate.services.reported import ReportedService
from online_migrate.services.service import is_version

_EMPTY, _NONE = Graph(()), Revision("")
_FORM = "REVISION:SERVICE=VERSION or REVISION:SERVICE:NAME=VERSION"


@dataclasses.dataclass(frozen=True)
class Least:
    """The least version of a service that survives a contract revision."""

    revision: str
    service: str
    name: str | None
    """The name of the version; None: the only one that the service reports."""
    version: str

    def is_reached_by(self, one: ReportedService) -> bool:
        """Returns True if *one* reports the version, and it is not older. Compared as numbers."""
        name = self.name
        if name is None and len(one.versions) == 1:
            [name] = one.versions
        found = None if name is None else one.versions.get(name)
        return found is not None and as_numbers(found) >= as_numbers(self.version)

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.name else self.version


@dataclasses.dataclass(frozen=True)
class SurvivedBy:
    """All least versions, by contract revision and service."""

    least: Mapping[tuple[str, str], tuple[Least, ...]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, names: Sequence[str] = (), graph: Graph = _EMPTY) -> SurvivedBy:
        """Returns the least versions that the settings and the contract scripts of *graph* declare.

        *names*: the names of all versions that the source of services reports; empty if they are not known.
        Raises :class:`~online_migrate.exceptions.ConfigBroken`, also for a revision that both declare.
        """
        found: dict[tuple[str, str], tuple[Least, ...]] = {}
        in_scripts = _of_scripts(graph)
        in_settings = (settings.survived_by or "").replace(",", " ").split()
        for part in (*in_scripts, *in_settings):
            one = _parse(part, names)
            if part not in in_scripts and graph.revisions.get(one.revision, _NONE).survived_by:
                raise settings_broken(
                    f"survived_by: {part!r}: the script of {one.revision} declares it itself"
                )
            same = found.get((one.revision, one.service), ())
            if any(one.name == other.name for other in same):
                raise settings_broken(f"survived_by: {part!r} names the version of a service again")
            found[one.revision, one.service] = (*same, one)
        return cls(found)

    def revisions(self) -> frozenset[str]:
        """Returns the contract revisions for which the version of any service is declared."""
        return frozenset(revision for revision, _service in self.least)

    def declared(self, service: str) -> frozenset[str]:
        """Returns the contract revisions for which a version of *service* is declared."""
        return frozenset(revision for revision, name in self.least if name == service)

    def survived(self, one: ReportedService) -> frozenset[str]:
        """Returns the contract revisions that *one* survives by its versions."""
        return frozenset(
            revision
            for (revision, service), least in self.least.items()
            if service == one.service and all(needed.is_reached_by(one) for needed in least)
        )


def _of_scripts(graph: Graph) -> list[str]:
    """Returns what the scripts declare, in the form of the setting."""
    for revision in graph.revisions.values():
        if revision.survived_by and graph.phase(revision.id) is not Phase.CONTRACT:
            raise settings_broken(f"survived_by in {revision.path}: {revision.id} is no contract revision")
    return [
        f"{revision.id}:{service}={version}"
        for revision in graph.revisions.values()
        for service, version in revision.survived_by
    ]


def _parse(part: str, names: Sequence[str]) -> Least:
    left, equals, version = part.partition("=")
    revision, colon, rest = left.partition(":")
    service, named, name = rest.partition(":")
    if not (equals and colon and revision and service) or (named and not name) or not is_version(version):
        raise settings_broken(f"survived_by: {part!r} is not {_FORM}")
    if names and not name and len(names) > 1:
        which = " or ".join(names)
        raise settings_broken(f"survived_by: {part!r} does not say which version: {which}; write {_FORM}")
    if names and name and name not in names:
        known = ", ".join(names)
        raise settings_broken(f"survived_by: {part!r}: no version has the name {name!r}; names are {known}")
    return Least(revision, service, name or None, version)
