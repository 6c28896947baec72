"""A Galera cluster of two nodes that nobody else uses.

    with clustered(tmp_path) as cluster, cluster.first.fresh_database(tmp_path) as database:
        with cluster.held(database.name, "letters"):
            ...  # who writes to the table makes the cluster hold back all writers, on both nodes

A cluster takes seconds to start, so the tests of a module share one.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import make_url, text

from tests.servers import launch
from tests.servers.access import Server, administration, examine
from tests.servers.mariadb import GaleraMember
from tests.servers.system import ServerError, free_ports

NAME = "galera"
"""As what the catalog knows a node."""

_ATTEMPTS = 3
_SMALL = 32  # MB of memory for the data: there may be many clusters
_USUAL_LIMIT = 16


class Cluster:
    """Two nodes; what is written on one of them is on the other as well, a moment later."""

    def __init__(self, first: Server, second: Server) -> None:
        self.first = first
        self.second = second

    @property
    def nodes(self) -> tuple[Server, Server]:
        """Both of them."""
        return self.first, self.second

    @contextlib.contextmanager
    def held(self, database_name: str, table: str, node: Server | None = None) -> Iterator[None]:
        """A node, the second one unless another is said, applies nothing once it comes to a row of *table*.

        With two transactions waiting there it has the cluster hold back its writers. Of what the node itself
        runs only what needs that table waits, and what commits.
        """
        # FLUSH TABLES WITH READ LOCK would take the node out of flow control: it may fall behind then.
        with administration((node or self.second).url) as connection:
            connection.execute(text("SET GLOBAL wsrep_provider_options = 'gcs.fc_limit=1'"))
            connection.execute(text(f"LOCK TABLES {database_name}.{table} WRITE"))
            try:
                yield
            finally:
                connection.execute(text("UNLOCK TABLES"))
                usual = f"SET GLOBAL wsrep_provider_options = 'gcs.fc_limit={_USUAL_LIMIT}'"
                connection.execute(text(usual))


def url_on(node: Server, database_name: str) -> str:
    """The URL of a database on a node, password included."""
    return make_url(node.url).set(database=database_name).render_as_string(hide_password=False)


def status_of(node: Server, name: str) -> str:
    """What a node says of itself in SHOW GLOBAL STATUS."""
    with administration(node.url) as connection:
        row = connection.execute(text("SHOW GLOBAL STATUS LIKE :name"), {"name": name}).one()
    return str(row[1])


@contextlib.contextmanager
def clustered(folder: Path) -> Iterator[Cluster]:
    """A cluster, stopped at the end; what its nodes logged is then in `folder`."""
    GaleraMember(0, 0, 0).obtain()
    with launch.guarded(folder) as base:
        yield _start(base)


def _start(base: Path) -> Cluster:
    """A cluster whose nodes have been seen to know each other."""
    before = time.monotonic()
    for attempt in range(_ATTEMPTS):
        folders = [base / f"{NAME}-{number}-{attempt}" for number in (1, 2)]
        urls = _serve(*folders)
        if urls is not None:
            origin = f"a node of our own, started in {time.monotonic() - before:.1f} s"
            return Cluster(*(examine(NAME, url, origin) for url in urls))
        logs = [launch.log_tail(folder) for folder in folders]
        if not any("already in use" in log for log in logs):
            break  # only losing a port to somebody else is worth another try
    raise ServerError("the cluster did not start; the ends of its logs:\n" + "\n\n".join(logs))


def _serve(first: Path, second: Path) -> list[str] | None:
    """Start two nodes, and return their URLs; None if one of them cannot be used."""
    ports = free_ports(6)
    recipes = (GaleraMember(ports[2], ports[3], ports[4]), GaleraMember(ports[4], ports[5], ports[2]))
    folders = [
        launch.new_folder(recipe, folder) for recipe, folder in zip(recipes, (first, second), strict=True)
    ]
    launch.prepare(recipes[0], first, recipes[0].preparation(first))
    launch.prepare(recipes[1], second, recipes[1].replica_preparation(second, first))
    history, *names = (str(uuid.uuid1()) for _ in range(3))
    for recipe, folder, own in zip(recipes, folders, names, strict=True):
        recipe.write_memory(folder, history, own, names)
    options = (*GaleraMember.hasty, f"--innodb-buffer-pool-size={_SMALL}M")
    with ThreadPoolExecutor(2) as pool:
        # Neither is ready before the other is there.
        came = list(pool.map(launch.serve_on, ports[:2], recipes, folders, [options] * 2))
    return [recipe.url(port) for recipe, port in zip(recipes, ports[:2], strict=True)] if all(came) else None
