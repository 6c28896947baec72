"""The machine: accounts, commands, folders and free ports."""

from __future__ import annotations

import os
import pwd
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm")
"""The file system in memory that Linux has."""
REPOSITORY = Path(__file__).resolve().parents[2]
CACHE_NAME = "online-migrate-tests"


_DATA_OF_A_RUN = 6 * 2**30
"""More bytes than all servers of a run store."""


class ServerError(Exception):
    """A test server is not available; the message has the attempts and the remedy."""


def is_root() -> bool:
    """Returns whether this process runs as root, and so must not run a database server under its account."""
    return os.geteuid() == 0


def download_folder() -> Path:
    """Returns the folder of downloaded packages, which is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / CACHE_NAME
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program_folder() -> Path:
    """Returns the folder of unpacked programs.

    For root a folder that the server's account can read as well.
    """
    folder = Path("/var/cache") / CACHE_NAME if is_root() else download_folder() / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def data_folder(*, durable: bool) -> Path:
    """Returns the folder for the data of servers: on disk for *durable* ones, else in memory if it suffices.

    CREATE DATABASE of PostgreSQL creates 300 files: 100 ms on a disk, 12 ms in memory, measured.
    """
    disk = Path("/tmp") if is_root() else Path(tempfile.gettempdir())
    return disk if durable or not _has_memory() else MEMORY


def _has_memory() -> bool:
    """Returns whether :data:`MEMORY` holds the data of a whole run, and leaves as much to the processes."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        return False
    free = os.statvfs(MEMORY)
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    unused = min(free.f_bavail * free.f_frsize, kilobytes["MemAvailable"] * 1024 - _DATA_OF_A_RUN)
    return unused > _DATA_OF_A_RUN


def server_account(*preferred: str) -> str | None:
    """Returns the account for a server: None for the own account, else the first existing preferred one."""
    if not is_root():
        return None
    for name in (*preferred, "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServerError(f"a database server must not run as root, and none of {preferred}, nobody exists")


def give(path: Path, account: str | None) -> None:
    """Changes the owner of `path` to `account`."""
    if account is not None:
        entry = pwd.getpwnam(account)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def become(account: str | None) -> dict[str, Any]:
    """Returns the arguments of subprocess.Popen that run a program under `account`."""
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def as_root(command: Sequence[str], purpose: str) -> list[str]:
    """Returns `command` as run by root, with sudo if it needs no password."""
    if is_root():
        return list(command)
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n", *command]
    raise ServerError(f"{purpose}: run this as root, then try again: {shlex.join(command)}")


def run(command: Sequence[str | Path], *, timeout: float = 1800) -> str:
    """Runs `command` and returns its output; an error includes the output."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"cannot run {shlex.join(words)}: {error}") from error
    if done.returncode:
        raise ServerError(f"{shlex.join(words)} failed with status {done.returncode}:\n{done.stdout}")
    return str(done.stdout)


def find_program(name: str) -> Path | None:
    """Returns the path of a program of the system, also outside an ordinary user's PATH."""
    places = os.pathsep.join(("/usr/sbin", "/usr/bin", os.environ.get("PATH", "")))
    found = shutil.which(name, path=places)
    return Path(found) if found else None


def free_port() -> int:
    """Returns an unused port below the ephemeral ports of the kernel."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Returns *count* different unused ports."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        if len(found) == count:
            return found
    raise ServerError(f"no {count} free port(s) between 20000 and 32000 on 127.0.0.1")
