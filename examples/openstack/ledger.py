"""The ledger: a line for each step, and the comparison of the database with what users were told."""

from __future__ import annotations

import time
from collections.abc import Mapping

import sqlalchemy as sa
from load import Load


class Ledger:
    """Prints the steps with the requests so far, those that failed, and the rows of the database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._begun = time.monotonic()
        self.load: Load | None = None
        print(f"{'seconds':>7} {'requests':>8} {'failed':>6} {'rows':>5}  step", flush=True)

    def step(self, text: str) -> None:
        """Prints a line."""
        requests, failed = (self.load.requests, len(self.load.failures)) if self.load else (0, 0)
        seconds = time.monotonic() - self._begun
        print(f"{seconds:7.1f} {requests:8,} {failed:6} {self._rows():>5}  {text}", flush=True)

    def detail(self, text: str) -> None:
        """Prints what a command has printed."""
        for line in text.splitlines():
            print(f"{'':31}{line}", flush=True)

    def messages(self, forms: Mapping[str, int]) -> None:
        """Prints the forms of messages, each with its number."""
        self.detail("messages: " + ", ".join(f"{count} {form}" for form, count in forms.items()))

    def _rows(self) -> int | str:
        if not sa.inspect(self._engine).has_table("volumes"):
            return "-"
        with self._engine.connect() as connection:
            return connection.scalar(sa.text("SELECT count(*) FROM volumes"))


def differences(engine: sa.Engine, load: Load) -> list[str]:
    """Returns a line for each row that is lost or wrong. Requests must have stopped."""
    with engine.connect() as connection:
        query = sa.text("SELECT id, size_bytes FROM volumes")
        found = {row.id: row.size_bytes for row in connection.execute(query)}
    lines = [*_lost_or_wrong(found, load)]
    unexpected = found.keys() - load.sizes.keys()
    if len(unexpected) > load.failed_creates:
        lines.append(f"{len(unexpected)} row(s) were never acknowledged: {sorted(unexpected)[:5]}")
    return lines


def _lost_or_wrong(found: Mapping[int, int | None], load: Load) -> list[str]:
    lines = []
    for volume, gib in sorted(load.sizes.items()):
        if volume not in found:
            lines.append(f"volume {volume} is lost: users were told that it has {gib} GiB")
        elif found[volume] != gib * 1024**3 and volume not in load.unknown:
            lines.append(f"volume {volume} has {found[volume]} bytes, not {gib} GiB")
    return lines
