"""The verdict on one operation of a statement: where it belongs, why, and the form to use instead. Pure."""

from __future__ import annotations

import dataclasses
import enum


class Place(enum.Enum):
    """Where an operation belongs."""

    ANYWHERE = "reads, or changes a setting of the session"
    EXPAND = "additive: code that does not know of it keeps reading and writing"
    DATA = "changes rows: belongs to a data migration"
    CONTRACT = "old code may fail after it"
    REFUSED = "its effect is not known"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one operation.

    *rule*: the id, for example ``drop-column``; it does not change between releases. *object*: the table,
    column or other object, for example ``volumes.size``. *reason*: why old code breaks, or why the effect is
    not known; empty for EXPAND and ANYWHERE. *hint*: the form to use instead.
    """

    place: Place
    rule: str
    object: str = ""
    reason: str = ""
    hint: str = ""

    @property
    def additive(self) -> bool:
        """True if expand may execute the operation."""
        return self.place in (Place.ANYWHERE, Place.EXPAND)

    def __str__(self) -> str:
        return f"{self.rule} {self.object}".strip()
