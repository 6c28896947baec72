"""Services as another registry than that of online-migrate reports them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from online_migrate.services.service import Liveness, is_version


@dataclasses.dataclass(frozen=True)
class ReportedService:
    """What another registry says of the processes of one service on one host.

    *service*, *host*: their names. *versions*: named versions of numbers and dots, which the setting
    ``survived_by`` compares. *survives*: the contract revisions that the code survives, if the registry says
    so. *state*: ``live``, ``stale``, ``stopped`` or ``forced down``; the last two do not count. *silence*:
    seconds since the last heartbeat; None: unknown, so a stale service always counts. *place*: where it
    reports, for messages.

    Raises ValueError for a value that cannot be compared.
    """

    service: str
    host: str
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    survives: Collection[str] = ()
    state: str = Liveness.LIVE
    silence: float | None = None
    place: str = ""

    def __post_init__(self) -> None:
        for name in ("service", "host"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{name} is empty")
        if isinstance(self.survives, str) or not all(isinstance(one, str) for one in self.survives):
            raise ValueError(f"survives is not a collection of revision ids: {self.survives!r}")
        for name, version in self.versions.items():
            if not is_version(version):
                raise ValueError(f"version {version!r} of {name} is not a version such as 3.10")
        if self.state not in list(Liveness):
            raise ValueError(f"state is {self.state!r}, not one of {', '.join(Liveness)}")
        if self.silence is not None and not isinstance(self.silence, int | float):
            raise ValueError(f"silence is not a number of seconds: {self.silence!r}")


@dataclasses.dataclass(frozen=True)
class UnreadableReport:
    """What cannot be read, and so proves nothing: a row, a table, a database."""

    object: str
    reason: str
    hint: str


@dataclasses.dataclass(frozen=True)
class Reported:
    """What a source of services reports at one moment."""

    services: tuple[ReportedService, ...] = ()
    unreadable: tuple[UnreadableReport, ...] = ()
    stale_counts: bool = False
    """True if a stale service counts whatever ``ignore_stale_after`` is."""
    removal: str = "remove it from the registry in which it reports"
    """How the report of a process that has ended is removed."""
