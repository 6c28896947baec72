"""The pin of a named version: the version that every process that may still run understands. Pure.

A process counts while it is live or stale, like at the gate: Cinder and Nova count stale rows as well, and
Nova leaves out those that were forced down. Versions are compared as numbers: 3.9 is older than 3.10. What
cannot be read refuses the pin, as in Cinder: too high a pin would send messages that a process does not
understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from online_migrate.services import errors
from online_migrate.services.registry import Registry
from online_migrate.services.service import Liveness, Service

_COUNTED = (Liveness.LIVE, Liveness.STALE)


def as_numbers(version: str) -> tuple[int, ...]:
    """Returns a version as it is compared."""
    return tuple(int(part) for part in version.split("."))


def counted(services: Iterable[Service]) -> list[Service]:
    """Returns the processes that may still run."""
    return [one for one in services if one.liveness in _COUNTED]


def pin_in(registry: Registry, name: str) -> str | None:
    """Returns the pin of *name*; None if no process that counts reports it.

    Raises :class:`~online_migrate.services.errors.PinUnknown` if a row cannot be read, or if a process of a
    service does not report the name and another one does.
    """
    if registry.unreadable:
        row = registry.unreadable[0]
        raise errors.PinUnknown(
            name=name,
            reason=f"the row {row.id} of service {row.service} cannot be read: {row.reason}",
            hint=f"end the process, then: online-migrate services prune --id {row.id}",
        )
    processes = counted(registry.services)
    reporting = {one.service for one in processes if name in one.versions}
    for one in processes:
        if one.service in reporting and name not in one.versions:
            raise errors.PinUnknown(
                name=name,
                reason=f"{one.service} {one.where} ({one.id}) does not report it, other processes do",
                hint="stop it, or restart it with a release that reports the version",
            )
    found = [one.versions[name] for one in processes if name in one.versions]
    return min(found, key=as_numbers, default=None)


def names_in(registry: Registry) -> list[str]:
    """Returns the names of all versions that are reported by a process that counts, sorted."""
    return sorted({name for one in counted(registry.services) for name in one.versions})


def refuse_older(registry: Registry, id: str, service: str, versions: Mapping[str, str]) -> None:
    """Refuses a process that starts with a version older than the pin that is in force without it.

    *registry*: with the row *id* of that process. A pin that is not known was not given to any client.
    Raises :class:`~online_migrate.services.errors.VersionTooOld`.
    """
    others = Registry(tuple(one for one in registry.services if one.id != id), registry.unreadable)
    for name, version in versions.items():
        try:
            pin = pin_in(others, name)
        except errors.PinUnknown:
            continue
        if pin is not None and as_numbers(version) < as_numbers(pin):
            raise errors.VersionTooOld(service=service, name=name, version=version, pin=pin)
