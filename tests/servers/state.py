"""The servers that `python -m tests.servers start` left running, in a file below the repository."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.servers.launch import is_running
from tests.servers.system import REPOSITORY

STATE_FILE = REPOSITORY / ".servers" / "state.json"


@dataclass(frozen=True)
class LeftRunning:
    """A server that outlives the process that started it."""

    folder: str
    url: str = field(repr=False)


def read() -> dict[str, LeftRunning]:
    """Returns the servers that were left running and still run."""
    try:
        entries = json.loads(STATE_FILE.read_text())
    except FileNotFoundError:
        return {}
    servers = {name: LeftRunning(**entry) for name, entry in entries.items()}
    return {name: server for name, server in servers.items() if is_running(Path(server.folder))}


def write(servers: dict[str, LeftRunning]) -> None:
    """Replaces the list; the file holds passwords, so it is readable for its owner only."""
    STATE_FILE.parent.mkdir(exist_ok=True)
    draft = STATE_FILE.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({name: asdict(server) for name, server in servers.items()}, indent=2) + "\n")
    os.replace(draft, STATE_FILE)
