"""Contract revisions whose scripts were folded into another one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from online_migrate.config import Settings, settings_broken


def squashed_of(settings: Settings) -> Mapping[str, str]:
    """Returns the revision into which each squashed one was folded.

    Raises :class:`~online_migrate.exceptions.ConfigBroken`.
    """
    found: dict[str, str] = {}
    for part in (settings.squashed or "").replace(",", " ").split():
        old, colon, new = part.partition(":")
        if not old or not colon or not new or old in found:
            raise settings_broken(f"squashed: {part!r} is not OLD:NEW, or names OLD again")
        found[old] = new
    return found


def folded_into(squashed: Mapping[str, str]) -> Mapping[str, list[str]]:
    """Returns the squashed revisions by the revision into which they were folded."""
    found: dict[str, list[str]] = {}
    for old, new in squashed.items():
        found.setdefault(new, []).append(old)
    return found


def survives(revision: str, survived: Collection[str], squashed: Mapping[str, str]) -> bool:
    """Returns True if code that survives the revisions *survived* survives *revision*.

    A package from before a squash names the old revisions, and a later one names the new revision.
    """
    if revision in survived:
        return True
    if squashed.get(revision) in survived:
        return True
    folded = [old for old, new in squashed.items() if new == revision]
    return bool(folded) and all(old in survived for old in folded)
