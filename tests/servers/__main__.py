"""Controls the test servers by hand: `python -m tests.servers install|start|stop|status [NAME...]`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.servers import state
from tests.servers.access import examine
from tests.servers.catalog import CATALOG, SERVER_NAMES
from tests.servers.fleet import Fleet
from tests.servers.launch import RECIPES
from tests.servers.system import ServerError
from tests.servers.watchdog import stop_server


def install(names: Sequence[str]) -> None:
    """Installs the programs of these servers on this machine, without starting a server."""
    for name in names:
        before = time.monotonic()
        where = RECIPES[name].obtain()
        print(f"{name}: {where} ({time.monotonic() - before:.1f} s)", flush=True)


def start(names: Sequence[str], *, durable: bool = False) -> None:
    """Starts servers that run until `stop`, and prints their URLs."""
    fleet = Fleet(durable=durable)
    try:
        fleet.need(names)
        state.write({**state.read(), **_as_left_running(fleet)})
        for name in names:
            print(f"export {CATALOG[name].variable}={shlex.quote(fleet.servers[name].url)}")
        fleet.leave_running()
    finally:
        fleet.close()


def _as_left_running(fleet: Fleet) -> dict[str, state.LeftRunning]:
    return {
        name: state.LeftRunning(str(folder), fleet.servers[name].url)
        for name, folder in fleet.folders.items()
    }


def stop(names: Sequence[str]) -> None:
    """Stops the servers that `start` left running, and removes their data."""
    servers = state.read()
    for name in names:
        if name in servers:
            folder = Path(servers.pop(name).folder)
            stop_server(folder)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
            print(f"{name}: stopped")
    state.write(servers)


def status(names: Sequence[str]) -> None:
    """Prints the running servers and their versions."""
    servers = state.read()
    for name in names:
        if name in servers:
            server = examine(name, servers[name].url, "left running")
            print(f"{name}: {server.product} {server.version} in {servers[name].folder}")
        else:
            print(f"{name}: not running")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "install": install,
    "start": start,
    "stop": stop,
    "status": status,
}
_DURABLE = "servers that wait for the disk and keep what they have confirmed, for benchmarks; tests need none"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for word, function in COMMANDS.items():
        command = commands.add_parser(word, help=function.__doc__)
        command.add_argument(
            "names", nargs="*", metavar="NAME", help=f"of {', '.join(SERVER_NAMES)}; default: all"
        )
    commands.choices["start"].add_argument("--durable", action="store_true", help=_DURABLE)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(SERVER_NAMES)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(SERVER_NAMES)}")
    try:
        names = arguments.names or SERVER_NAMES
        if arguments.command == "start":
            start(names, durable=arguments.durable)
        else:
            COMMANDS[arguments.command](names)
    except ServerError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
