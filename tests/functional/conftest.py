"""The fixtures `server` and `database`, for each server that was selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import FLEET
from tests.servers import CATALOG, DEFAULT_NAMES, Database, Server

_NO_SERVER = "none-selected"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """A server that runs; the test is repeated for each that was selected and has what the test needs."""
    return request.config.stash[FLEET].get(request.param)


@pytest.fixture
def database(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database for this test alone."""
    function = getattr(request.node, "originalname", None) or request.node.name
    with server.fresh_database(tmp_path, function.removeprefix("test_")) as fresh:
        yield fresh


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        names = _names_for(metafunc.definition) or [_NO_SERVER]
        metafunc.parametrize("server", names, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the selected servers cannot do; with no selection there is nothing to leave out."""
    hopeless = {item for item in items if _server_parameter(item) == _NO_SERVER}
    if hopeless:
        config.hook.pytest_deselected(items=list(hopeless))
        items[:] = [item for item in items if item not in hopeless]


def _names_for(test: pytest.Item) -> Sequence[str]:
    """The servers a test runs on: the selected ones which have what its `needs` marks say.

    Servers that are not among the default ones are for the tests that no default one is enough for.
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
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("server") if callspec else None
