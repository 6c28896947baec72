"""A private server that can be killed, and started again with the same data on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from tests.servers import Database, Server, ServerError, launch
from tests.servers.access import examine
from tests.servers.watchdog import Watchdog, process_id
from tests.support.chaos import wait_until

_ATTEMPTS = 5


class Throwaway:
    """A server that runs during its ``with`` block. Committed data survives a kill."""

    def __init__(self, name: str) -> None:
        """*name*: a name in :data:`tests.servers.CATALOG`."""
        self._recipe = launch.RECIPES[name]
        self._recipe.obtain()
        base = launch.new_base(durable=True)
        self._folder = base / name
        self._watchdog = Watchdog(base)
        try:
            url = launch.start(name, base, durable=True)
            self.server: Server = examine(name, url, "started for one test")
        except ServerError:
            self._watchdog.stop()
            raise
        self._port = sa.make_url(self.server.url).port or 0
        self.database = Database(self.server, "om_throwaway", base)
        """Empty; removed with the server."""
        self.database.create()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.stop()

    def kill(self) -> None:
        """Sends kill -9 to all of its processes."""
        server = process_id(self._folder)
        assert server is not None, launch.log_tail(self._folder)
        family = [server, *_children(server)]
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(server, 0)
        wait_until(lambda: not any(map(_is_alive, family)), "the end of a server that was killed")

    def start(self) -> None:
        """Starts the server again, and waits until it has recovered."""
        for _ in range(_ATTEMPTS):
            self._mark_safe_to_bootstrap()
            if launch.serve_on(self._port, self._recipe, self._folder, self._recipe.durable):
                return
        raise ServerError(f"it did not start again; the end of its log:\n{launch.log_tail(self._folder)}")

    def _mark_safe_to_bootstrap(self) -> None:
        """Marks the only node of a cluster as safe to bootstrap: no other node has newer data."""
        state = self._folder / "data" / "grastate.dat"
        if state.exists():
            state.write_text(state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def _is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        # A zombie process has no command line.
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    return False
