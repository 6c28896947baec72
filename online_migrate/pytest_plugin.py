"""The plugin of pytest: the markers ``online_migrate_additive`` and ``online_migrate_prove``.

Imports nothing until a test has one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDITIVE = "online_migrate_additive"
PROVE = "online_migrate_prove"


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers."""
    config.addinivalue_line(
        "markers",
        f"{ADDITIVE}(config='alembic.ini', since=..., dialects=(), allowed={{}}): before the test, "
        "online_migrate.testing.assert_additive is called with these arguments; config is relative to the "
        "root folder",
    )
    config.addinivalue_line(
        "markers",
        f"{PROVE}(config='alembic.ini', old=..., new=..., url=None, final=None, since=None, release=None, "
        "rows=None): before the test, online_migrate.testing.assert_proved is called with these arguments; "
        "config is relative to the root folder",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fails a test with a marker if its check fails."""
    for arguments in _arguments(item, ADDITIVE):
        from online_migrate.testing import assert_additive

        assert_additive(**arguments)
    for arguments in _arguments(item, PROVE):
        from online_migrate.testing import assert_proved

        assert_proved(**arguments)


def _arguments(item: pytest.Item, name: str) -> Iterator[dict[str, Any]]:
    """Yields the arguments of each marker *name* of a test."""
    for marker in item.iter_markers(name):
        arguments = {"config": "alembic.ini", **dict(zip(("config",), marker.args, strict=False))}
        arguments |= marker.kwargs
        if isinstance(arguments["config"], str | Path):
            arguments["config"] = item.config.rootpath / arguments["config"]
        yield arguments
