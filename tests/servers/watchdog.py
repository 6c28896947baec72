"""Stops servers whose owner process has ended in any way.

Run as a program it waits for the end of its standard input, which occurs when the process that started it
closes the pipe or is killed by any signal; then it stops every server below a folder and removes the folder.
If it reads the word `keep` first, it changes nothing.

This file imports only Python's standard library, so that the program starts fast.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PROCESS_FILE = "process"
"""The file in each server's folder with the process id and the signal that stops it."""

KEEP = b"keep"
_PATIENCE = 5.0


class Watchdog:
    """The handle of the running program in the process that started it."""

    def __init__(self, base: Path) -> None:
        command = [sys.executable, "-I", __file__, str(base)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def leave_running(self) -> None:
        """Leaves the servers running."""
        self._end(KEEP)

    def stop(self) -> None:
        """Stops the servers and removes their folders."""
        self._end(b"")

    def _end(self, last_word: bytes) -> None:
        self._process.communicate(last_word, timeout=60)


def process_id(folder: Path) -> int | None:
    """Returns the id of the process (and its group) that works in `folder`, or None if it has ended."""
    try:
        pid = int((folder / PROCESS_FILE).read_text().split()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return None
    return pid if os.fsencode(folder) in command else None  # otherwise the id was reused for another process


def stop_server(folder: Path) -> None:
    """Stops the server in `folder`, and removes the folder."""
    pid = process_id(folder)
    if pid is not None:
        wanted = int((folder / PROCESS_FILE).read_text().split()[1])
        for number in (wanted, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)  # the server, or the script that prepares its data
            if _wait_until_gone(folder):
                break
    for _ in range(10):  # the server's own children may still be writing
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.2)


def _wait_until_gone(folder: Path) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while process_id(folder) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def stop_all(base: Path) -> None:
    """Stops every server below `base`, and removes the folder."""
    for folder in base.iterdir() if base.exists() else ():
        stop_server(folder)
    shutil.rmtree(base, ignore_errors=True)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the owner counts
    if sys.stdin.buffer.read() != KEEP:
        stop_all(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
