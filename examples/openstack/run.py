"""Upgrades a volume service from 2026.1 to 2026.2 while users send requests, and prints a ledger.

    python examples/openstack/run.py --url URL [--break pins|contract]

The database must be empty. Exit code 0 means that no request failed, and that the database has what users
were told.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import oslo_messaging
import sqlalchemy as sa
import volume_manage
import volumes_2026_1.release
import volumes_2026_2.release
from database import create_engine
from ledger import Ledger, differences
from load import Load
from mistakes import force_contract, has_pending_rows
from oslo_config import cfg
from processes import HOSTS, Cloud, Process
from volumes_2026_1.db import volumes

ROWS = 200
"""The volumes that exist before the upgrade."""
REQUESTS = 10
"""A step ends after at least so many requests."""
OLD_FORMS = {"Volume 1.0 (size)", "resize(volume_id, size)"}
NEW_FORMS = {"Volume 1.1 (size_bytes)", "resize(volume_id, size_bytes)"}
OLD, NEW = volumes_2026_1.release, volumes_2026_2.release


class Upgrade:
    """The steps of an upgrade of one database."""

    def __init__(self, cloud: Cloud, folder: Path, broken: str | None) -> None:
        self._cloud = cloud
        self._broken = broken
        self._config = folder / "volume.conf"
        self._config.touch(mode=0o600)
        self._config.write_text(f"[database]\nconnection = {cloud.url.replace('$', '$$')}\n")
        self._engine = create_engine(cloud.url)
        self._ledger = Ledger(self._engine)
        self._processes: dict[str, Process] = {}
        self._load: Load | None = None

    def run(self) -> bool:
        """Runs all steps. True if no request failed and no row is lost."""
        try:
            self._release_2026_1_is_live()
            self._restart_all_but_the_last()
            self._contract_is_refused()
            if self._broken != "contract":
                self._restart_the_last()
        finally:
            self._stop()
        return self._verdict()

    def _release_2026_1_is_live(self) -> None:
        self._manage("expand", "--revision", "expand_2026_1")
        with self._engine.begin() as connection:
            rows = [{"host": HOSTS[n % 2], "size": n % 100 + 1} for n in range(ROWS)]
            connection.execute(sa.insert(volumes), rows)
            query = sa.select(volumes.c.id, volumes.c.size)
            sizes = {row.id: row.size for row in connection.execute(query)}
        self._start(OLD, "volume-volume", "host-1")
        self._start(OLD, "volume-volume", "host-2")
        self._start(OLD, "volume-scheduler", "host-1")
        self._start(OLD, "volume-api", "host-1")
        self._load = self._ledger.load = Load(self._cloud.transport, sizes)
        self._load.start()
        self._step("four processes of 2026.1 run, users send requests")
        self._show_messages()

    def _restart_all_but_the_last(self) -> None:
        self._manage("expand")
        self._restart("volume-volume", "host-1")
        self._restart("volume-scheduler", "host-1")
        self._restart("volume-api", "host-1")

    def _contract_is_refused(self) -> None:
        self._manage("online_data_migrations", "--max_count", "50", codes={1})
        # 1: the old process makes rows pending as fast as they are migrated.
        self._manage("online_data_migrations", codes={0, 1})
        self._manage("gate", codes={3})
        self._manage("contract", codes={3})
        if self._broken == "contract":
            self._force_contract()

    def _force_contract(self) -> None:
        """Drops the old column while it has values that the new one lacks, and waits for a failed request."""
        while not has_pending_rows(self._engine):
            self._load.wait_for_more(1)
        force_contract(self._engine)
        while not self._load.failures:
            self._load.wait_for_more(1)
        self._step("contract is forced: ALTER TABLE volumes DROP COLUMN size")

    def _restart_the_last(self) -> None:
        self._restart("volume-volume", "host-2")
        self._wait_for_clients()
        self._manage("online_data_migrations")
        self._manage("gate")
        self._manage("contract")
        self._manage("check")

    # --- the parts of a step ---------------------------------------------------------------------

    def _start(self, release: ModuleType, service: str, host: str) -> None:
        with_pins = not (self._broken == "pins" and release is NEW)
        process = Process(release, service, host, self._cloud, with_pins=with_pins)
        self._processes[process.name] = process

    def _restart(self, service: str, host: str) -> None:
        """Starts the new release beside the old one, which ends after the requests that it has received."""
        old = self._processes[f"{service} on {host}"]
        self._start(NEW, service, host)
        self._load.wait_for_more(REQUESTS)
        old.drain()
        self._step(f"{old.name}: 2026.2 is started, 2026.1 is drained")
        self._show_messages()

    def _show_messages(self) -> None:
        self._ledger.messages(self._cloud.messages.taken())

    def _wait_for_clients(self) -> None:
        """Waits until the pins of all clients have expired, and every message has the new form."""
        while True:
            self._load.wait_for_more(REQUESTS)
            forms = self._cloud.messages.taken()
            if OLD_FORMS.isdisjoint(forms) and forms.keys() >= NEW_FORMS:
                break
        self._step("the clients have switched to the new forms")
        self._ledger.messages(forms)

    def _manage(self, *arguments: str, codes: Collection[int] = (0,)) -> None:
        """Runs a command of the operator, and prints what it says. *codes*: what it may return."""
        command = ("db", *arguments)
        printed = io.StringIO()
        got = volume_manage.main(["--config-file", str(self._config), *command], out=printed, err=printed)
        self._step(f"$ volume-manage {' '.join(command)}: exit code {got}")
        self._ledger.detail(printed.getvalue())
        if got not in codes:
            raise SystemExit(f"volume-manage {' '.join(command)} ended with exit code {got}")

    def _step(self, text: str) -> None:
        if self._load is not None:
            self._load.wait_for_more(REQUESTS)
        self._ledger.step(text)

    def _stop(self) -> None:
        if self._load is not None:
            self._load.stop()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Process.drain, self._processes.values()))

    def _verdict(self) -> bool:
        wrong = differences(self._engine, self._load)
        failures = self._load.failures
        self._ledger.step("users and services have stopped")
        self._ledger.detail("\n".join([*failures[:5], *wrong[:5]]))
        requests, rows = self._load.requests, len(self._load.sizes)
        print(f"{requests:,} requests, {len(failures)} failed; {rows:,} rows, {len(wrong)} lost or wrong")
        return not failures and not wrong


def main(arguments: Sequence[str]) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Upgrade a volume service under load.")
    parser.add_argument("--url", required=True, help="an empty database, as a SQLAlchemy URL")
    parser.add_argument(
        "--break",
        dest="broken",
        choices=["pins", "contract"],
        help="without the pins; with a forced contract",
    )
    given = parser.parse_args(arguments)
    cfg.CONF([], project="volume")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url="fake://")
    with tempfile.TemporaryDirectory() as folder:
        upgrade = Upgrade(Cloud(given.url, transport), Path(folder), given.broken)
        return 0 if upgrade.run() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
