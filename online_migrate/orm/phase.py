"""The phases of a moved column: which of its two columns a process reads, and which it writes.

Two processes in the same phase or in adjacent ones can run at the same time: each reads what the other has
written. Processes that are two phases apart cannot.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator

from online_migrate.orm.errors import PhaseUnknown

VARIABLE = "ONLINE_MIGRATE_ORM_PHASES"
"""The environment variable with the phases: ``NAME=PHASE,NAME=PHASE``; an item without a name is for all."""

PhaseLike = str | Callable[[], str] | None


class Phase(enum.StrEnum):
    """What a process reads and writes."""

    OLD = "old"
    """Reads and writes the old column. The new column need not exist."""
    WRITE_BOTH = "write-both"
    """Writes both. Reads the old column; the new one where it has the same value in more detail."""
    READ_NEW = "read-new"
    """Writes both. Reads the new column; the old one of a row that is not migrated yet."""
    NEW = "new"
    """Reads and writes the new column. The old column need not exist."""

    @property
    def maps_old(self) -> bool:
        """Whether the old column is part of the mapped class."""
        return self is not Phase.NEW

    @property
    def maps_new(self) -> bool:
        """Whether the new column is part of the mapped class."""
        return self is not Phase.OLD

    @property
    def maps_both(self) -> bool:
        """Whether both columns are written."""
        return self.maps_old and self.maps_new

    @property
    def old_is_current(self) -> bool:
        """Whether a process may run that writes only the old column."""
        return self in (Phase.OLD, Phase.WRITE_BOTH)


def phase_of(name: str, given: PhaseLike = None) -> Phase:
    """Returns the phase of moved column *name*: the one *given*, or that of the environment.

    Raises :class:`~online_migrate.orm.errors.PhaseUnknown` if there is none, or no such phase. There is no
    default: a command that assumes an earlier phase than the application would overwrite new values.
    """
    text = given() if callable(given) else given
    if text is None:
        text = _configured(name)
    if text is None:
        raise _unknown(name, "is not set.")
    try:
        return Phase(text)
    except ValueError:
        raise _unknown(name, f"is {text!r}, which is no phase.") from None


def _configured(name: str) -> str | None:
    by_name = dict(_items(os.environ.get(VARIABLE, "")))
    return by_name.get(name, by_name.get(""))


def _items(text: str) -> Iterator[tuple[str, str]]:
    for item in text.split(","):
        if item.strip():
            name, _, phase = item.rpartition("=")
            yield name.strip(), phase.strip()


def _unknown(name: str, reason: str) -> PhaseUnknown:
    return PhaseUnknown(name=name, reason=reason, phases=", ".join(Phase))
