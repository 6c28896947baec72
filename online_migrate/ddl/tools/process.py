"""Runs a tool: its credentials in a file, its output in the log.

Invariants:

* No credential is in the command line or in the environment. The file with them can be read by its owner
  only, and is removed when the tool has ended.
* The tool does not depend on this process: if this process is killed, the tool completes its work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from online_migrate.observe import events
from online_migrate.waiting import Clock, Stop

logger = logging.getLogger(__name__)
_POLL = 0.1
_KEEP_ALIVE = 30.0
"""Seconds between two calls of ``keep_alive``."""
_LAST_LINES = 8
_UNTIL_KILLED = 30.0
"""Seconds that an interrupted tool gets to end."""
_NOT_INHERITED = frozenset({"PTDEBUG", "MYSQL_PWD", "DBI_TRACE"})
"""Variables that would write credentials to the output, or replace those of the URL."""
_SECRET_URL = re.compile(r"://(?:[^:/\s]*:[^@]+@|\S*[?&](?:password|passwd)=)", re.IGNORECASE)
"""A URL with a password: a variable with one is not inherited either."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """The result of a tool: its exit code, and the last lines of its output."""

    code: int
    last_lines: tuple[str, ...]


def run(
    name: str,
    command: Callable[[Path], Sequence[str]],
    options_file: str,
    *,
    keep_alive: Callable[[], None],
    clock: Clock,
) -> Ended:
    """Runs a tool until it ends, and logs each line of its output.

    *command*: returns its command line, for the path of the file with *options_file*. *keep_alive*: is called
    from time to time. A stop signal does not end it, as it does not end a statement of the server; an
    exception, such as KeyboardInterrupt, does.
    """
    with tempfile.TemporaryDirectory(prefix="online-migrate-") as folder:
        path, output = Path(folder) / "client.cnf", Path(folder) / "output"
        path.touch(mode=0o600)
        path.write_text(options_file, encoding="utf-8")
        with output.open("wb") as written, _started(command(path), written.fileno()) as process:
            said = _Said(name, output)
            next_call = clock.monotonic() + _KEEP_ALIVE
            while process.poll() is None:
                said.log()
                clock.wait(_POLL, Stop())
                if clock.monotonic() >= next_call:
                    keep_alive()
                    next_call = clock.monotonic() + _KEEP_ALIVE
        said.log(ended=True)
    return Ended(process.returncode, tuple(said.last))


@contextlib.contextmanager
def _started(command: Sequence[str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own: the Ctrl-C of a terminal asks this process for a stop, and not the tool.
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=_environment(),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_UNTIL_KILLED)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not _SECRET_URL.search(value)
    }


class _Said:
    """Logs the lines of an output, which grows, and keeps the last ones."""

    def __init__(self, name: str, output: Path) -> None:
        self._name = name
        self._output = output
        self._read = 0
        self.last: list[str] = []

    def log(self, *, ended: bool = False) -> None:
        """Logs the lines since the last call; *ended*: also one without an end."""
        with self._output.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n") or ended:
                    self._read += len(line)
                    self._log(line.decode("utf-8", "replace").strip())

    def _log(self, line: str) -> None:
        if line:
            self.last = [*self.last, line][-_LAST_LINES:]
            events.emit(logger, events.ToolSaid(self._name, line))
