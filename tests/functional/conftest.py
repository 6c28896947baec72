"""The fixtures `server`, `database`, `pair`, `cluster` and `group`, for each server that was selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import FLEET
from tests.servers import CATALOG, DEFAULT_NAMES, Database, Server
from tests.servers.cluster import Cluster, clustered
from tests.servers.group import NAME as MYSQL
from tests.servers.group import grouped
from tests.servers.replication import REPLICATED, Pair, replicated

_NO_SERVER = "none-selected"
_CLUSTER_SERVERS = frozenset({"galera", "mariadb"})
"""Servers whose selection also selects the tests of a cluster."""


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """A running server; the test is repeated for each selected server with the capabilities it needs."""
    return request.config.stash[FLEET].get(request.param)


@pytest.fixture
def database(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database for this test only."""
    function = getattr(request.node, "originalname", None) or request.node.name
    with server.fresh_database(tmp_path, function.removeprefix("test_")) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A primary and its replica, for each product that supports it; shared by the tests of a module."""
    with replicated(request.param, tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of a Galera cluster; shared by the tests of a module."""
    with clustered(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def group(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The only member of a multi-primary group of MySQL; shared by the tests of a module."""
    with grouped(tmp_path_factory.mktemp("group"), single_primary=False) as member:
        yield member


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        names = _names_for(metafunc.definition) or [_NO_SERVER]
        metafunc.parametrize("server", names, indirect=True, scope="session")
    if "pair" in metafunc.fixturenames and not _parametrizes_pair(metafunc.definition):
        selected = metafunc.config.getoption("server")
        pairs = [name for name in REPLICATED if not selected or name in selected]
        metafunc.parametrize("pair", pairs or [_NO_SERVER], indirect=True, scope="module")
    if "cluster" in metafunc.fixturenames:
        selected = metafunc.config.getoption("server")
        wanted = not selected or not _CLUSTER_SERVERS.isdisjoint(selected)
        metafunc.parametrize("cluster", ["galera" if wanted else _NO_SERVER], indirect=True, scope="module")
    if "group" in metafunc.fixturenames:
        selected = metafunc.config.getoption("server")
        wanted = not selected or MYSQL in selected
        metafunc.parametrize("group", [MYSQL if wanted else _NO_SERVER], indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects tests that their server cannot run.

    No selected server can run the test, or the server lacks what the `needs` mark of a parameter names.
    """
    unsupported = {item for item in items if not _is_supported(item)}
    if unsupported:
        config.hook.pytest_deselected(items=list(unsupported))
        items[:] = [item for item in items if item not in unsupported]


def _is_supported(item: pytest.Item) -> bool:
    server = _server_parameter(item)
    if server not in CATALOG:
        return server != _NO_SERVER
    return all(
        CATALOG[server].has(capability) for mark in item.iter_markers("needs") for capability in mark.args
    )


def _names_for(test: pytest.Item) -> Sequence[str]:
    """The servers a test runs on: the selected ones that have the capabilities of its `needs` marks.

    Servers outside of the default ones are used for tests that no default server can run.
    """
    needed = [capability for mark in test.iter_markers("needs") for capability in mark.args]
    selected = test.config.getoption("server")
    for names in (selected,) if selected else (DEFAULT_NAMES, CATALOG):
        suitable = [name for name in names if all(CATALOG[name].has(capability) for capability in needed)]
        if suitable and not selected and test.get_closest_marker("each_product"):
            return list({CATALOG[name].product: name for name in reversed(suitable)}.values())[::-1]
        if suitable:
            return suitable
    if not selected:
        raise pytest.UsageError(f"{test.nodeid}: no server has all of {needed}")
    return []


def _server_parameter(item: pytest.Item) -> object:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return next((params[name] for name in ("server", "pair", "cluster", "group") if name in params), None)


def _parametrizes_pair(test: pytest.Item) -> bool:
    return any(mark.args[0] == "pair" for mark in test.iter_markers("parametrize"))
