"""The impact of an operation on the sessions that use the table. Pure."""

from __future__ import annotations

import dataclasses
import enum


class Blocks(enum.IntEnum):
    """What other sessions cannot do on the table while the lock is held. A higher one includes the lower."""

    NOTHING = 0
    MAINTENANCE = 1
    """Change or vacuum the table."""
    WRITES = 2
    EVERYTHING = 3
    """Read or write rows."""

    def __str__(self) -> str:
        return _TEXTS[self]


_TEXTS = {
    Blocks.NOTHING: "nothing",
    Blocks.MAINTENANCE: "DDL and VACUUM",
    Blocks.WRITES: "writes",
    Blocks.EVERYTHING: "reads and writes",
}


class Work(enum.IntEnum):
    """What the server does with the rows; the duration of the statement follows from it."""

    NONE = 0
    """It changes the catalog only: milliseconds, whatever the size of the table."""
    SCAN = 1
    """It reads every row, or builds an index."""
    REWRITE = 2
    """It copies the table."""


@dataclasses.dataclass(frozen=True)
class Impact:
    """The impact of one operation.

    *lock*: the server's name for the lock on the table, or the algorithm; empty if no existing table is
    locked. *blocks*: what the lock blocks for as long as the work lasts. *start*: what is blocked for a
    moment, at the start and at the end. *referred*: what is blocked on the table that a foreign key names.
    """

    lock: str = ""
    blocks: Blocks = Blocks.NOTHING
    work: Work = Work.NONE
    start: Blocks = Blocks.NOTHING
    referred: Blocks = Blocks.NOTHING

    @property
    def is_long(self) -> bool:
        """True if writes or reads are blocked while the server reads or copies all rows."""
        return self.work is not Work.NONE and self.blocks >= Blocks.WRITES


NONE = Impact()
