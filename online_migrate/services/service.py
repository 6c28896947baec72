"""A service as the registry shows it, and the rule of liveness. Pure."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from online_migrate import state
from online_migrate.services import errors

_VERSION = re.compile(r"\d+(\.\d+)*")
_FUTURE = 5
"""Seconds that a heartbeat may be in the future: the nodes of a cluster have clocks of their own."""


class Liveness(enum.StrEnum):
    """Whether a process still runs, as far as the registry shows it."""

    LIVE = "live"
    STALE = "stale"
    """Silent for longer than its ``dead_after``: killed, frozen, or cut off from the database."""
    STOPPED = "stopped"
    """It has stopped cleanly."""
    FORCED_DOWN = "forced down"
    """An operator vouches that it has ended."""


@dataclasses.dataclass(frozen=True)
class Service:
    """One process of a service."""

    id: str
    service: str
    host: str
    process: str
    release: str | None
    survives: frozenset[str]
    """The contract revisions that its code survives."""
    versions: Mapping[str, str]
    dead_after: int
    """Seconds of silence after which it is stale."""
    beats: int
    silence: int
    """Seconds since its last heartbeat, by the server's clock."""
    age: int
    """Seconds since it started."""
    liveness: Liveness
    forced_by: str | None
    returned: bool
    """True if it has sent a heartbeat after it was forced down, or after it had stopped."""

    @property
    def where(self) -> str:
        """Host and process, for messages."""
        return f"{self.host}/{self.process}"


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A row of the registry that cannot be read, and so proves nothing."""

    id: str
    service: str
    reason: str
    beats: Any


def read(row: Mapping[str, Any]) -> Service | Unreadable:
    """Returns the service in a row of :func:`~online_migrate.state.service_rows`."""
    try:
        return _read(row)
    except _RowError as error:
        return Unreadable(str(row["id"]), str(row["service"]), str(error), row["beats"])


class _RowError(Exception):
    """A value of a row that cannot be what a heartbeat has written."""


def _read(row: Mapping[str, Any]) -> Service:
    number = {name: _whole(row, name) for name in ("dead_after", "beats", "started", "heartbeat", state.NOW)}
    ended = {name: None if row[name] is None else _whole(row, name) for name in ("stopped", "forced_down")}
    now, heartbeat = number[state.NOW], number["heartbeat"]
    if number["dead_after"] <= 0:
        raise _RowError(f"dead_after is {number['dead_after']}")
    if heartbeat > now + _FUTURE:
        raise _RowError(f"its heartbeat is {heartbeat - now} s in the future, by the server's clock")
    silence = max(0, now - heartbeat)
    over = [name for name, when in ended.items() if when is not None]
    # A heartbeat removes the time of force-down and keeps the text.
    returned = any(when is not None and heartbeat > when for when in ended.values()) or (
        row["forced_by"] is not None and row["forced_down"] is None
    )
    return Service(
        id=_name(row, "id"),
        service=_name(row, "service"),
        host=_name(row, "host"),
        process=_name(row, "process"),
        release=row["code_release"],
        survives=_revisions(row["survives"]),
        versions=_versions(row["versions"]),
        dead_after=number["dead_after"],
        beats=number["beats"],
        silence=silence,
        age=max(0, now - number["started"]),
        liveness=liveness_of(over, returned=returned, silence=silence, dead_after=number["dead_after"]),
        forced_by=row["forced_by"],
        returned=returned,
    )


def liveness_of(over: Collection[str], *, returned: bool, silence: int, dead_after: int) -> Liveness:
    """Returns the liveness of a process.

    *over*: ``stopped`` or ``forced_down``, where the row says so. *returned*: it has sent a heartbeat after
    that, so it runs.
    """
    if over and not returned:
        return Liveness.FORCED_DOWN if "forced_down" in over else Liveness.STOPPED
    return Liveness.LIVE if silence <= dead_after else Liveness.STALE


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise _RowError(f"{name} is not a whole number: {value!r}")
    return value


def _name(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise _RowError(f"{name} is empty")
    return value


def _json(text: Any, name: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        raise _RowError(f"{name} is not JSON: {text!r}"[:200]) from None


@functools.lru_cache(maxsize=256)
def _revisions(text: Any) -> frozenset[str]:
    # Most processes report the same text: that of their release.
    found = _json(text, "survives")
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise _RowError(f"survives is not a list of revisions: {text!r}"[:200])
    return frozenset(found)


def _versions(text: Any) -> Mapping[str, str]:
    found = _json(text, "versions")
    if not isinstance(found, dict):
        raise _RowError(f"versions is not an object: {text!r}"[:200])
    for name, version in found.items():
        if not is_version(version):
            raise _RowError(f"version {version!r} of {name} is not a version")
    return found


def is_version(text: Any) -> bool:
    """Returns True for numbers that are separated by dots: ``3.10``."""
    return isinstance(text, str) and _VERSION.fullmatch(text) is not None


# --- what a process reports of itself -------------------------------------------------------------


def report(
    id: str,
    service: str,
    *,
    host: str,
    process: str,
    release: str | None,
    survives: Collection[str],
    versions: Mapping[str, str],
    dead_after: int,
) -> state.NewService:
    """Returns the row of a process. Raises :class:`~online_migrate.services.errors.ServiceBroken`."""
    if isinstance(survives, str) or not all(isinstance(one, str) and one for one in survives):
        raise errors.ServiceBroken(
            service=service, reason=f"survives is not a collection of revision ids: {survives!r}"
        )
    for name, text in {"service": service, "host": host, "process": process, "release": release}.items():
        if text is not None and (not text.strip() or len(text) > 255):
            raise errors.ServiceBroken(
                service=service, reason=f"{name} has no text, or more than 255 characters"
            )
    for name, version in versions.items():
        if not is_version(version):
            raise errors.ServiceBroken(
                service=service, reason=f"version {version!r} of {name} is not a version such as 3.10"
            )
    return state.NewService(
        id=id,
        service=service,
        host=host,
        process=process,
        code_release=release,
        survives=json.dumps(sorted(survives)),
        versions=json.dumps(dict(sorted(versions.items()))),
        dead_after=dead_after,
    )
