"""Clients that write to a history all the time, in threads of their own."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

from sqlalchemy.exc import DBAPIError

from tests.support.history import History, Version

KEYS = 12
WAYS = ("insert", "update", "update", "upsert", "delete")


class Clients:
    """A client of each version. Two clients never write one row at the same time."""

    def __init__(self, history: History, seed: int) -> None:
        self.history = history
        self._rows = {key: threading.Lock() for key in range(1, KEYS + 1)}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._write, args=(version, random.Random(f"{seed}{version}")), daemon=True
            )
            for version in ("old", "new")
        ]
        self._unexpected: list[BaseException] = []
        self.acknowledged = self.refused = 0

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client still waits for a lock"
        assert not self._unexpected, self._unexpected

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block, no client writes."""
        with contextlib.ExitStack() as locked:
            for row in self._rows.values():
                locked.enter_context(row)
            yield

    def _write(self, version: Version, chosen: random.Random) -> None:
        try:
            while not self._stop.wait(0.003):
                key = chosen.randrange(1, KEYS + 1)
                with self._rows[key]:
                    self._write_row(version, chosen.choice(WAYS), key)
        except BaseException as error:  # noqa: BLE001 - shown by the test's thread
            self._unexpected.append(error)

    def _write_row(self, version: Version, way: Any, key: int) -> None:
        try:
            self.acknowledged += self.history.write(version, way, key)
        except DBAPIError:
            # The columns are gone, the table is locked, or the server is down.
            self.refused += 1
