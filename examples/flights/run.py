"""Migrates the flights through two releases, with the commands that an operator types.

    python examples/flights/run.py --url URL [--rows N]

The database must be empty. The output is that of `online-migrate`. Exit code 0 means that every command
succeeded, and that the independent check of every row found no difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import load

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Release:
    """The target revisions of a release, and the data migrations to run."""

    name: str
    expand: str
    migrate: tuple[str, ...]
    contract: str


RELEASES = (
    Release("2026.1", "expand_2026_1", ("flight_times", "distance_km"), "contract_2026_1"),
    Release("2026.2", "expand_2026_2", ("carriers",), "contract_2026_2"),
)


class Journey:
    """The migration of one database; records the duration of every step."""

    def __init__(self, url: str, rows: int | None) -> None:
        self._url = url
        self._rows = rows
        self._times: list[tuple[str, float]] = []

    def go(self) -> None:
        """Loads the rows, runs every release, checks the result, and prints the durations."""
        loaded = self._timed("load", lambda: load.load(self._url, self._rows))
        print(f"loaded {loaded:,} flights", flush=True)
        for release in RELEASES:
            self._take_through(release)
        self._run("python check.py", str(HERE / "check.py"), "--rows", str(loaded))
        self._print_times(loaded)

    def _take_through(self, release: Release) -> None:
        print(f"\n=== release {release.name}", flush=True)
        # Before the new version is rolled out:
        self._online_migrate("expand", release.expand)
        # While the old and the new version both run:
        for name in release.migrate:
            self._online_migrate("migrate", name)
        # When the last process of the old version has ended:
        self._online_migrate("gate", release.contract)
        self._online_migrate("contract", release.contract)

    def _online_migrate(self, *arguments: str) -> None:
        config = ("-c", str(HERE / "alembic.ini"))
        self._run(f"online-migrate {' '.join(arguments)}", "-m", "online_migrate", *arguments, *config)

    def _run(self, label: str, *arguments: str) -> None:
        """Runs Python; the URL is passed in the environment, so that no process list shows the password."""
        print(f"\n$ {label}", flush=True)
        environment = os.environ | {"ONLINE_MIGRATE_URL": self._url}
        command = [sys.executable, *arguments]
        code = self._timed(label, lambda: subprocess.run(command, env=environment, check=False).returncode)
        if code:
            raise SystemExit(code)

    def _timed(self, label: str, work: Callable[[], int]) -> int:
        begin = time.monotonic()
        result = work()
        self._times.append((label, time.monotonic() - begin))
        return result

    def _print_times(self, rows: int) -> None:
        print(f"\n=== {rows:,} rows, seconds")
        for label, seconds in self._times:
            print(f"{seconds:9.1f}  {label}")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Take the flights of 2013 through two releases.")
    parser.add_argument("--url", required=True, help="an empty database, as a SQLAlchemy URL")
    parser.add_argument("--rows", type=int, help="a sample of so many rows [default: all 336,776]")
    arguments = parser.parse_args()
    Journey(arguments.url, arguments.rows).go()


if __name__ == "__main__":
    main()
