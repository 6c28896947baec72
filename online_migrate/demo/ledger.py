"""The ledger of acknowledged writes, and its comparison with rows. Has no database access.

A key is borrowed by one writer at a time. So each key has exactly one correct value at any time. Each read of
the application and the final state of the database are compared with it.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import threading
from collections.abc import Mapping
from typing import Any

Key = tuple[str, int]
"""The name of a table, and the id of a row."""
Row = Mapping[str, Any]
"""The fields of a row, independent of the columns of a version."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A row that differs from its acknowledged state."""

    kind: str
    """``lost``, ``wrong``, ``back`` (was deleted, but exists) or ``unknown`` (was never written)."""
    key: Key
    expected: Row | None
    found: Row | None

    def __str__(self) -> str:
        table, number = self.key
        acknowledged, found = _shown(self.expected), _shown(self.found)
        return f"{self.kind}: {table} id={number}, acknowledged {acknowledged}; found {found}"


def _shown(row: Row | None) -> str:
    return "no row" if row is None else ", ".join(f"{name}={value!r}" for name, value in row.items())


def difference(key: Key, expected: Row | None, found: Row | None) -> Difference | None:
    """Compares a row; None if it is correct. *found* may lack fields that its version does not have. Pure."""
    if expected is None:
        return None if found is None else Difference("back", key, None, found)
    if found is None:
        return Difference("lost", key, expected, None)
    if any(name not in expected or expected[name] != value for name, value in found.items()):
        return Difference("wrong", key, expected, found)
    return None


def compare(expected: Mapping[Key, Row | None], found: Mapping[Key, Row]) -> list[Difference]:
    """Returns every difference. In *expected*, None is a deleted row. Pure."""
    differences = [difference(key, row, found.get(key)) for key, row in expected.items()]
    unknown = [Difference("unknown", key, None, found[key]) for key in found.keys() - expected.keys()]
    return [d for d in differences if d is not None] + sorted(unknown, key=lambda d: d.key)


class Ledger:
    """The acknowledged state of every row. Thread-safe."""

    def __init__(self, rows: Mapping[Key, Row], *, seed: int = 0) -> None:
        self._rows: dict[Key, Row | None] = dict(rows)
        self._random = random.Random(seed)
        self._free: dict[str, list[int]] = collections.defaultdict(list)
        self._next: dict[str, int] = collections.defaultdict(lambda: 1)
        for table, number in rows:
            self._free[table].append(number)
            self._next[table] = max(self._next[table], number + 1)
        self._lock = threading.Lock()

    def borrow_new(self, table: str) -> Key:
        """Returns an unused key."""
        with self._lock:
            number = self._next[table]
            self._next[table] += 1
            return (table, number)

    def borrow(self, table: str) -> tuple[Key, Row] | None:
        """Returns a random row that is not borrowed, with its acknowledged state; None if there is none."""
        with self._lock:
            free = self._free[table]
            if not free:
                return None
            place = self._random.randrange(len(free))
            free[place], free[-1] = free[-1], free[place]
            key = (table, free.pop())
            row = self._rows[key]
            assert row is not None
            return key, row

    def acknowledge(self, key: Key, row: Row | None) -> None:
        """Records that *row*, or its deletion (None), was committed, and returns the borrowed key."""
        with self._lock:
            self._rows[key] = row
            if row is not None:
                self._free[key[0]].append(key[1])

    @property
    def rows(self) -> Mapping[Key, Row | None]:
        """A copy of the acknowledged state of every row."""
        with self._lock:
            return dict(self._rows)
