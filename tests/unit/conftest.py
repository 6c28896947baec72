"""Fixtures of the unit tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from online_migrate.cli import logs


@pytest.fixture
def restore_logger() -> Iterator[None]:
    """Restores the logger of the package, which :func:`online_migrate.cli.logs.configure` changes."""
    package_logger = logging.getLogger(logs.LOGGER)
    before = package_logger.level, package_logger.propagate, list(package_logger.handlers)
    yield
    package_logger.level, package_logger.propagate = before[:2]
    package_logger.handlers[:] = before[2]
