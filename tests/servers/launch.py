"""One server: prepared in its own folder, started, and waited for."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from tests.servers.mariadb import Galera, MariaDB
from tests.servers.mysql import MySQL
from tests.servers.postgresql import PostgreSQL, WheelPostgreSQL
from tests.servers.recipe import ZONE, Recipe
from tests.servers.system import ServerError, become, data_folder, free_port, give
from tests.servers.watchdog import PROCESS_FILE, Watchdog, process_id

RECIPES: dict[str, Recipe] = {
    "postgresql": PostgreSQL(),
    "postgresql18": WheelPostgreSQL(),
    "mariadb": MariaDB(),
    "mysql": MySQL(),
    "galera": Galera(),
}

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": ZONE}
_PATIENCE = 90.0
_ATTEMPTS = 3
_LOG_LINES = 40
_RECORD_AND_BECOME = 'echo "$$ $1" > "$2"; shift 2; exec "$@"'
"""The process id is written to disk before the server exists, so that no server can be lost."""


def new_base(*, durable: bool = False) -> Path:
    """Creates a folder for the servers of one start; every account may enter it. *durable*: on disk."""
    base = Path(tempfile.mkdtemp(prefix="online-migrate-", dir=data_folder(durable=durable)))
    base.chmod(0o755)
    return base


@contextlib.contextmanager
def guarded(logs: Path) -> Iterator[Path]:
    """Yields a new folder.

    Its servers are stopped at the end in any case, and their logs copied to `logs`.
    """
    base = new_base()
    watchdog = Watchdog(base)
    try:
        yield base
    finally:
        with contextlib.suppress(OSError):
            for log in base.glob("*/log"):
                shutil.copyfile(log, logs / f"{log.parent.name}.log")
        watchdog.stop()


def start(name: str, base: Path, *, durable: bool = False) -> str:
    """Starts the server `name` in a folder below `base`, waits until it is ready, and returns its URL."""
    recipe = RECIPES[name]
    folder = new_folder(recipe, base / name)
    prepare(recipe, folder, recipe.preparation(folder))
    return serve(recipe, folder, recipe.durable if durable else recipe.hasty)


def new_folder(recipe: Recipe, folder: Path) -> Path:
    """Creates `folder`, for the recipe's account only."""
    folder.mkdir(mode=0o700)
    give(folder, recipe.account())
    return folder


def prepare(recipe: Recipe, folder: Path, command: list[str]) -> None:
    """Runs the command that creates the data directory in `folder`."""
    process = _spawn(recipe, folder, command)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        _kill(process)
    if process.returncode:
        raise ServerError(f"no data directory for {folder.name}; the end of the log:\n{log_tail(folder)}")


def serve(recipe: Recipe, folder: Path, options: Sequence[str]) -> str:
    """Starts the server with the data of `folder`, waits until it is ready, and returns its URL."""
    for _ in range(_ATTEMPTS):
        port = free_port()
        if serve_on(port, recipe, folder, options):
            return recipe.url(port)
        if "already in use" not in log_tail(folder):
            break  # only a port taken by another process justifies another attempt
    raise ServerError(f"{folder.name} did not start; the end of its log:\n{log_tail(folder)}")


def serve_on(port: int, recipe: Recipe, folder: Path, options: Sequence[str]) -> bool:
    """Starts the server with the data of `folder` on `port`; returns whether it is ready."""
    process = _spawn(recipe, folder, [*recipe.command(folder, port), *options])
    return _wait_until_ready(recipe, folder, port, process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _spawn(recipe: Recipe, folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Runs `command` as the recipe's account, in its own session, with its own log."""
    record = [str(int(recipe.stop_signal)), str(folder / PROCESS_FILE)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _RECORD_AND_BECOME, "sh", *record, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_ENVIRONMENT | {"HOME": str(folder)},
            start_new_session=True,
            **become(recipe.account()),
        )


def _wait_until_ready(recipe: Recipe, folder: Path, port: int, process: subprocess.Popen[bytes]) -> bool:
    """Waits until the started server answers on `port`; returns False if it ended or took too long."""
    engine = create_engine(recipe.url(port), poolclass=NullPool, connect_args={"connect_timeout": 5})
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with engine.connect() as connection:
                ours = os.path.samefile(recipe.data_directory(connection), folder / "data")
                if ours and recipe.is_ready(connection):
                    process.returncode = 0  # never waited for: it may outlive this process
                    return True
        except (DBAPIError, OSError):
            pass  # no answer yet, or from another server whose folder is not accessible
        time.sleep(0.05)
    if process.poll() is None:
        _kill(process)
    return False


def log_tail(folder: Path) -> str:
    """Returns the last lines of the log of the server of `folder`."""
    lines = (folder / "log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])


def is_running(folder: Path) -> bool:
    """Returns whether the server of `folder` still runs."""
    return process_id(folder) is not None
