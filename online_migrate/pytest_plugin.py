"""The plugin of pytest: the marker ``online_migrate_additive``. Imports nothing until a test has it."""

from __future__ import annotations

from pathlib import Path

import pytest

MARKER = "online_migrate_additive"


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(config='alembic.ini', since=..., dialects=(), allowed={{}}): before the test, "
        "online_migrate.testing.assert_additive is called with these arguments; config is relative to the "
        "root folder",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fails a test with the marker if a revision is not additive."""
    for marker in item.iter_markers(MARKER):
        from online_migrate.testing import assert_additive

        arguments = {"config": "alembic.ini", **dict(zip(("config",), marker.args, strict=False))}
        arguments |= marker.kwargs
        if isinstance(arguments["config"], str | Path):
            arguments["config"] = item.config.rootpath / arguments["config"]
        assert_additive(**arguments)
