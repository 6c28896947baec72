"""Several servers at once, from all their sources."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import text

from tests.servers import launch, state
from tests.servers.access import Server, administration, examine
from tests.servers.catalog import CATALOG
from tests.servers.system import ServerError
from tests.servers.watchdog import Watchdog


class Fleet:
    """The servers of one process: from the environment, left running, or started here and stopped again."""

    def __init__(self, *, durable: bool = False) -> None:
        """*durable*: servers that keep committed data if the machine fails."""
        self._durable = durable
        self.servers: dict[str, Server] = {}
        self.folders: dict[str, Path] = {}
        self._watchdogs: list[Watchdog] = []

    def need(self, names: Iterable[str]) -> None:
        """Provides these servers, or raises a ServerError that names each unavailable one."""
        wanted = [name for name in dict.fromkeys(names) if name not in self.servers]
        found = {name: source for name in wanted if (source := _find(name))}
        for name, (url, origin) in found.items():
            self.servers[name] = examine(name, url, origin)
            if self._durable and not is_durable(self.servers[name]):
                raise ServerError(f"{name} ({origin}) does not wait for the disk: stop it, then try again")
        self._start([name for name in wanted if name not in found])

    def get(self, name: str) -> Server:
        """Returns the server `name`; starts it if it does not run yet."""
        self.need([name])
        return self.servers[name]

    def export(self) -> None:
        """Exports the URLs of the servers to the environment of child processes."""
        for server in self.servers.values():
            os.environ[CATALOG[server.name].variable] = server.url

    def leave_running(self) -> None:
        """Leaves the servers that were started here running."""
        while self._watchdogs:
            self._watchdogs.pop().leave_running()

    def close(self) -> None:
        """Stops the servers that were started here, and clears all state."""
        while self._watchdogs:
            self._watchdogs.pop().stop()
        self.servers.clear()
        self.folders.clear()

    def _start(self, names: Collection[str]) -> None:
        if not names:
            return
        for name in names:  # one after the other: there is one package manager
            launch.RECIPES[name].obtain()
        base = launch.new_base(durable=self._durable)
        self._watchdogs.append(Watchdog(base))
        failures = []
        with ThreadPoolExecutor(len(names)) as pool:
            for name, outcome in pool.map(lambda name: (name, self._attempt(name, base)), names):
                if isinstance(outcome, Server):
                    self.servers[name] = outcome
                    self.folders[name] = base / name
                else:
                    failures.append(f"{name}: {outcome}")
        if failures:
            raise ServerError("\n".join(failures))

    def _attempt(self, name: str, base: Path) -> Server | ServerError:
        before = time.monotonic()
        try:
            url = launch.start(name, base, durable=self._durable)
            return examine(name, url, f"started for this run in {time.monotonic() - before:.1f} s")
        except ServerError as error:
            return error


def is_durable(server: Server) -> bool:
    """Returns whether the server keeps committed data if the machine fails."""
    if server.name not in launch.RECIPES:
        return True  # SQLite, which waits for the disk by default
    with administration(server.url) as connection:
        return bool(connection.execute(text(launch.RECIPES[server.name].durability)).scalar_one())


def _find(name: str) -> tuple[str, str] | None:
    """Returns URL and origin of a server that need not be started."""
    if name == "sqlite":
        return "sqlite://", "part of Python"
    variable = CATALOG[name].variable
    if url := os.environ.get(variable):
        return url, f"from {variable}"
    if left := state.read().get(name):
        return left.url, "left running by `python -m tests.servers start`"
    return None
