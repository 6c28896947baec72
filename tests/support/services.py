"""Processes of a service, and rows of the registry."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from online_migrate import services
from tests.servers import Database
from tests.support import forks
from tests.support.chaos import wait_until
from tests.support.project import wait_for
from tests.support.schema import query_all, run_all

SERVICE = "online_migrate_service"


class ServiceProcess:
    """A real process with a heartbeat every 0.1 s."""

    def __init__(self, database: Database, folder: Path, *, survives: Sequence[str], **more: Any) -> None:
        folder.mkdir()
        self._started, self._refused = folder / "started", folder / "refused"
        arguments = (database.url, tuple(survives), str(self._started), str(self._refused), more)
        self._process = forks.processes().Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        wait_for(self._started)
        self.id = self._started.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Sends kill -9, which also ends a stopped process, and waits for its end."""
        self._process.kill()
        self._process.join()

    def refusal(self) -> str:
        """Waits until its heartbeat is refused, and returns the reason."""
        wait_for(self._refused)
        return self._refused.read_text()


def _serve(url: str, survives: Sequence[str], started: str, refused: str, more: dict[str, Any]) -> None:
    logging.disable()

    def write(path: str, text: str) -> None:
        whole = Path(f"{path}.part")
        whole.write_text(text)
        whole.rename(path)

    beat = services.heartbeat(
        url,
        "api",
        survives=survives,
        interval=0.1,
        on_refused=lambda error: write(refused, str(error)),
        **more,
    )
    write(started, beat.id)
    while True:
        time.sleep(60)


@contextlib.contextmanager
def live(
    database: Database, *survives: str, service: str = "api", **more: Any
) -> Iterator[services.Heartbeat]:
    """A heartbeat of this process, whose code survives these revisions."""
    more.setdefault("interval", 0.05)
    with services.heartbeat(database.url, service, survives=survives, **more) as beat:
        yield beat


def age(database: Database, seconds: int = 1000, id: str | None = None) -> None:
    """Makes the last heartbeat older: of one process, or of all."""
    where = "" if id is None else f" WHERE id = '{id}'"
    run_all(database, f"UPDATE {SERVICE} SET heartbeat = heartbeat - {seconds}{where}")


def insert(database: Database, id: str, **changed: Any) -> None:
    """Inserts the row of a live process whose code survives c2, with other values."""
    [now] = query_all(database, f"SELECT max(heartbeat) FROM {SERVICE}")[0]
    row = {
        "id": id,
        "service": "api",
        "host": "one",
        "process": id,
        "code_release": "2026.1",
        "survives": '["c2"]',
        "versions": "{}",
        "dead_after": 3600,
        "beats": 0,
        "started": now,
        "heartbeat": now,
        **changed,
    }
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO {SERVICE} ({columns}) VALUES ({values})"), row)


def rows(database: Database, columns: str = "id, process, beats, stopped") -> list[tuple[Any, ...]]:
    """The rows of the registry, in the order in which the processes started."""
    return query_all(database, f"SELECT {columns} FROM {SERVICE} ORDER BY started, id")


def announced(database: Database) -> dict[str, str]:
    """The state of each contract revision that was announced."""
    query = "SELECT revision, state FROM online_migrate_contracted"
    return {str(revision): str(state) for revision, state in query_all(database, query)}


def beats(database: Database, id: str) -> int:
    """The number of heartbeats in the row of a process."""
    return {row[0]: int(row[2]) for row in rows(database)}[id]


def wait_for_beats(database: Database, id: str, more: int = 2) -> None:
    """Waits until the process has sent *more* heartbeats."""
    before = beats(database, id)
    wait_until(lambda: beats(database, id) >= before + more, f"{more} heartbeats of {id}")
