"""A private Galera cluster of two nodes.

    with clustered(tmp_path) as cluster, cluster.first.fresh_database(tmp_path) as database:
        with cluster.held(database.name, "letters"):
            ...  # a write to the table makes the cluster pause all writers, on both nodes

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
"""The name of a node in the catalog."""

_ATTEMPTS = 3
_SMALL = 32  # MB of memory for the data: there may be many clusters
_USUAL_LIMIT = 16


class Cluster:
    """Two nodes; a write on one of them is replicated to the other a moment later."""

    def __init__(self, first: Server, second: Server) -> None:
        self.first = first
        self.second = second

    @property
    def nodes(self) -> tuple[Server, Server]:
        """Both nodes."""
        return self.first, self.second

    @contextlib.contextmanager
    def held(self, database_name: str, table: str, node: Server | None = None) -> Iterator[None]:
        """Makes a node (default: the second) stop applying at the first row of *table*.

        With two transactions waiting there, the node's flow control pauses the writers of the cluster. Of the
        statements on the node itself only those wait that need the table, and commits.
        """
        # FLUSH TABLES WITH READ LOCK would remove the node from flow control: it could fall behind then.
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
    """Returns the URL of a database on a node, password included."""
    return make_url(node.url).set(database=database_name).render_as_string(hide_password=False)


def status_of(node: Server, name: str) -> str:
    """Returns a value of SHOW GLOBAL STATUS on a node."""
    with administration(node.url) as connection:
        row = connection.execute(text("SHOW GLOBAL STATUS LIKE :name"), {"name": name}).one()
    return str(row[1])


@contextlib.contextmanager
def clustered(folder: Path) -> Iterator[Cluster]:
    """Yields a cluster, stopped at the end; the logs of its nodes are then in `folder`."""
    GaleraMember(0, 0, 0).obtain()
    with launch.guarded(folder) as base:
        yield _start(base)


def _start(base: Path) -> Cluster:
    """Starts a cluster, and returns it once both nodes are connected."""
    before = time.monotonic()
    for attempt in range(_ATTEMPTS):
        folders = [base / f"{NAME}-{number}-{attempt}" for number in (1, 2)]
        urls = _serve(*folders)
        if urls is not None:
            origin = f"a node of our own, started in {time.monotonic() - before:.1f} s"
            return Cluster(*(examine(NAME, url, origin) for url in urls))
        logs = [launch.log_tail(folder) for folder in folders]
        if not any("already in use" in log for log in logs):
            break  # only a port taken by another process justifies another attempt
    raise ServerError("the cluster did not start; the ends of its logs:\n" + "\n\n".join(logs))


def _serve(first: Path, second: Path) -> list[str] | None:
    """Starts two nodes, and returns their URLs; None if one of them cannot be used."""
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
        # Neither node is ready before the other one runs.
        ready = list(pool.map(launch.serve_on, ports[:2], recipes, folders, [options] * 2))
    return [recipe.url(port) for recipe, port in zip(recipes, ports[:2], strict=True)] if all(ready) else None
