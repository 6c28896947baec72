"""A member of a MySQL group (Group Replication), the only one of its group, that no other test uses.

    with grouped(tmp_path, single_primary=False) as group, group.fresh_database(tmp_path) as database:
        ...

One member is a group: another one may join it at any time.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from tests.servers import launch
from tests.servers.access import Server, administration, examine
from tests.servers.mysql import MySQL
from tests.servers.system import free_port

NAME = "mysql"
"""As what the catalog knows the member."""

_SMALL = 32  # MB of memory for the data


@contextlib.contextmanager
def grouped(folder: Path, *, single_primary: bool, started: bool = True) -> Iterator[Server]:
    """A member, stopped at the end; what it logged is then in `folder`.

    *started*: False has the plugin loaded, and the member in no group.
    """
    MySQL().obtain()
    with launch.guarded(folder) as base:
        yield _start(base / "group", single_primary=single_primary, started=started)


def _start(folder: Path, *, single_primary: bool, started: bool) -> Server:
    before = time.monotonic()
    recipe = MySQL()
    launch.new_folder(recipe, folder)
    launch.prepare(recipe, folder, recipe.preparation(folder))
    url = launch.serve(recipe, folder, (*MySQL.hasty, *_options(single_primary=single_primary)))
    if started:
        with administration(url) as connection:
            connection.execute(text("SET GLOBAL group_replication_bootstrap_group = ON"))
            connection.execute(text("START GROUP_REPLICATION"))
            connection.execute(text("SET GLOBAL group_replication_bootstrap_group = OFF"))
    return examine(NAME, url, f"a group of our own, started in {time.monotonic() - before:.1f} s")


def _options(*, single_primary: bool) -> tuple[str, ...]:
    address = f"127.0.0.1:{free_port()}"
    return (
        f"--innodb-buffer-pool-size={_SMALL}M",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--report-host=127.0.0.1",
        "--plugin-load-add=group_replication.so",
        f"--loose-group-replication-group-name={uuid.uuid4()}",
        "--loose-group-replication-start-on-boot=OFF",
        f"--loose-group-replication-local-address={address}",
        f"--loose-group-replication-group-seeds={address}",
        f"--loose-group-replication-single-primary-mode={'ON' if single_primary else 'OFF'}",
        f"--loose-group-replication-enforce-update-everywhere-checks={'OFF' if single_primary else 'ON'}",
    )
