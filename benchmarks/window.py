"""The time in which the rows of a contender move, seen from outside: by polling the table."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import sqlalchemy as sa

_INTERVAL = 0.02
"""Seconds between two polls."""


class Window:
    """Polls the table inside its ``with`` block; *column* is the one that the contender fills.

    The window begins when the first row is locked or filled: the first chunk is being written. It ends when
    the last row is filled and committed. The application writes neither row. A contender that stops earlier,
    or that fills no column (it rebuilds the table), has a window that ends with its process.
    """

    def __init__(self, engine: sa.Engine, column: str) -> None:
        self.began = self.ended = 0.0
        """Seconds of the monotonic clock."""
        self._engine = engine
        # A locked row is skipped like a filled one, so that one UPDATE of the whole table has a beginning.
        self._untouched = sa.text(
            f"SELECT id FROM volumes WHERE id = :id AND {column} IS NULL FOR UPDATE SKIP LOCKED"
        )
        self._filled = sa.text(f"SELECT id FROM volumes WHERE id = :id AND {column} IS NOT NULL")
        self._fills = column != "id"
        self._over = threading.Event()
        self._error: BaseException | None = None
        with engine.connect() as connection:
            ends = sa.text("SELECT min(id), max(id) FROM volumes")
            self._first, self._last = connection.execute(ends).one()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        if self._fills:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = time.monotonic()
        self._over.set()
        if self._fills:
            self._thread.join()
        self.ended = self.ended or ended
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                self._poll(connection)
        except BaseException as error:  # noqa: BLE001 - it is raised at the end of the block
            self._error = error

    def _poll(self, connection: sa.Connection) -> None:
        while connection.scalar(self._untouched, {"id": self._first}) is not None:
            if self._over.wait(_INTERVAL):
                return
        self.began = time.monotonic()
        while connection.scalar(self._filled, {"id": self._last}) is None:
            if self._over.wait(_INTERVAL):
                return
        self.ended = time.monotonic()
