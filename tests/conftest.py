"""Options of the test run, and its database servers: started once, stopped at the end of the run.

Without pytest-xdist the servers are started after collection, exactly those that the collected tests use.
With it, the controller starts all selected servers before the workers exist, unless only unit tests were
requested; the workers find the servers in their environment.

A server that is not available ends the run with an error.  No test is skipped for lack of a server.
"""

from __future__ import annotations

import compileall
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import hypothesis
import pytest

import online_migrate
from tests.servers import CATALOG, DEFAULT_NAMES, Fleet, Server, ServerError

FLEET = pytest.StashKey[Fleet]()
_UNIT_TESTS = Path(__file__).parent / "unit"


SEEN = "seen"
"""The property of a test whose value is a line in the summary of a run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("online-migrate")
    group.addoption(
        "--server",
        action="append",
        choices=list(CATALOG),
        help=f"run the tests on this server only (repeatable; default: {', '.join(DEFAULT_NAMES)})",
    )
    group.addoption("--long", action="store_true", help="run the tests marked `long` as well")


def pytest_configure(config: pytest.Config) -> None:
    # A project module rewritten within a second would be loaded from the stale bytecode of its old version.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if not hasattr(config, "workerinput"):
        # The package itself does not change: without its bytecode, each new Python would compile it again.
        compileall.compile_dir(Path(online_migrate.__file__).parent, quiet=1)
    needs = "needs(*capabilities): run on the servers which have all of these (tests/servers/catalog.py)"
    config.addinivalue_line("markers", needs)
    config.addinivalue_line(
        "markers", "each_product: without --server, on one version of each product; the suite has to end"
    )
    config.addinivalue_line("markers", "long: takes minutes; only run with --long")
    # A busy machine must not cause a failure: no test asserts a time.
    hypothesis.settings.register_profile("no deadline", deadline=None)
    hypothesis.settings.load_profile("no deadline")
    config.stash[FLEET] = Fleet()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[FLEET].close()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if config.pluginmanager.hasplugin("dsession") and not _only_unit_tests(config):
        _ensure(config, config.getoption("server") or CATALOG)
        config.stash[FLEET].export()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("long"):
        long = [item for item in items if item.get_closest_marker("long") is not None]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.getoption("collectonly"):
        _ensure(session.config, _used_by(session.items))
    # PyMySQL reads all certificates of the machine for each connection, and uses none of them without an
    # option. Set when the servers are there: a download needs the certificates.
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull
    gc.collect()
    gc.freeze()  # thousands of tests live until the end; the garbage collector need not scan them repeatedly


def pytest_report_header(config: pytest.Config) -> list[str]:
    return _report(config.stash[FLEET].servers.values())


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    return _report(config.stash[FLEET].servers.values())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = _report(config.stash[FLEET].servers.values())
    if lines:
        terminalreporter.section("database servers")
        for line in lines:
            terminalreporter.write_line(line)
    passed = terminalreporter.stats.get("passed", [])
    seen = sorted(str(value) for report in passed for name, value in report.user_properties if name == SEEN)
    if seen:
        terminalreporter.section("what these tests have seen")
        for line in seen:
            terminalreporter.write_line(line)


def _only_unit_tests(config: pytest.Config) -> bool:
    """Whether all paths on the command line are below tests/unit."""
    paths = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    return all(path.resolve().is_relative_to(_UNIT_TESTS) for path in paths)


def _used_by(items: Iterable[pytest.Item]) -> Iterator[str]:
    """The names of the servers that these tests are parametrized with."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            name = item.callspec.params.get("server")
            if isinstance(name, str):
                yield name


def _ensure(config: pytest.Config, names: Iterable[str]) -> None:
    try:
        config.stash[FLEET].need(names)
    except ServerError as error:
        raise pytest.UsageError(f"a database server is missing, so nothing is tested.\n{error}") from error


def _report(servers: Iterable[Server]) -> list[str]:
    return [f"server {server.name}: {server.product} {server.version}, {server.origin}" for server in servers]
