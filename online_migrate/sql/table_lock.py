"""The lock of a statement on a table. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.lexer import Sort, Token


class Strength(enum.IntEnum):
    """What other sessions cannot do while the lock is held. A higher one includes the lower ones."""

    MAINTENANCE = 1
    """Change or vacuum the table: SHARE UPDATE EXCLUSIVE on PostgreSQL."""
    BUILD = 2
    """Write rows; another index may be built: SHARE."""
    WRITE = 3
    """Write rows: SHARE ROW EXCLUSIVE."""
    EXCLUSIVE = 4
    """Read or write rows."""


class Locked(enum.Enum):
    """What the name of a lock is the name of."""

    TABLE = "table"
    INDEX = "index"
    TRIGGER = "trigger"


@dataclasses.dataclass(frozen=True)
class TableLock:
    """The lock of a statement on a table; *kind*: the lock is on the table of an index or a trigger."""

    name: str
    schema: str | None = None
    strength: Strength = Strength.EXCLUSIVE
    kind: Locked = Locked.TABLE
    constraints: tuple[str, ...] = ()
    """The constraints that the statement drops; ``*``: all. The tables that they refer to are locked too."""


def lock_on(
    path: Sequence[Token],
    server: str,
    strength: Strength = Strength.EXCLUSIVE,
    *,
    kind: Locked = Locked.TABLE,
    constraints: tuple[str, ...] = (),
) -> Iterator[TableLock]:
    """Yields the lock on the table, the index or the trigger that *path* names; nothing if it is empty."""
    names = [folded(token.text, token.sort is Sort.NAME, server) for token in path]
    if names and names[-1]:
        yield TableLock(names[-1], names[-2] if len(names) > 1 else None, strength, kind, constraints)
