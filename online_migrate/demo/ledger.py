"""What the database acknowledged, and whether it is there. Knows nothing of databases.

A key is lent to one writer at a time. So there is one right value for every key at every moment, and
every read of the running application can be compared with it as well as the database at the end.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import threading
from collections.abc import Mapping
from typing import Any

Key = tuple[str, int]
"""A table, and the id of a row in it."""
Row = Mapping[str, Any]
"""The fields of a row by their meaning, in no version's spelling."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One row that is not as it was acknowledged."""

    kind: str
    """``lost``, ``wrong``, ``back`` (it was deleted) or ``unknown`` (nobody wrote it)."""
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
    """What is wrong with one row; *found* may lack fields that its reader does not know. Pure."""
    if expected is None:
        return None if found is None else Difference("back", key, None, found)
    if found is None:
        return Difference("lost", key, expected, None)
    if any(name not in expected or expected[name] != value for name, value in found.items()):
        return Difference("wrong", key, expected, found)
    return None


def compare(expected: Mapping[Key, Row | None], found: Mapping[Key, Row]) -> list[Difference]:
    """Every row that is not as it was acknowledged; None stands for a row that was deleted. Pure."""
    differences = [difference(key, row, found.get(key)) for key, row in expected.items()]
    strangers = [Difference("unknown", key, None, found[key]) for key in found.keys() - expected.keys()]
    return [d for d in differences if d is not None] + sorted(strangers, key=lambda d: d.key)


class Ledger:
    """What every row has to be. Safe to use from many threads."""

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
        """A key that no row has yet."""
        with self._lock:
            number = self._next[table]
            self._next[table] += 1
            return (table, number)

    def borrow(self, table: str) -> tuple[Key, Row] | None:
        """Any row that nobody else works on, with what it has to be; None where there is none."""
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
        """The database has committed *row* under a borrowed key, or its deletion (None)."""
        with self._lock:
            self._rows[key] = row
            if row is not None:
                self._free[key[0]].append(key[1])

    @property
    def rows(self) -> Mapping[Key, Row | None]:
        """A copy of what every row has to be now."""
        with self._lock:
            return dict(self._rows)
