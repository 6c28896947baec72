"""One TLS context for all of PyMySQL's connections in this process, and in those forked from it.

PyMySQL creates one for each connection, for which OpenSSL reads all certificates of the machine: a third of
the time of a short test. The product creates one for each engine; tests create many engines.
"""

from __future__ import annotations

import importlib
from typing import Any

_driver: Any = importlib.import_module("pymysql.connections")
of_pymysql: Any = _driver.Connection._create_ssl_ctx
"""PyMySQL's own function, for tests of that function."""
_shared: Any = of_pymysql(_driver.Connection.__new__(_driver.Connection), {})


def share() -> None:
    """Makes PyMySQL use the shared context from now on."""
    _driver.Connection._create_ssl_ctx = _create


def _create(connection: Any, options: Any) -> Any:
    return of_pymysql(connection, options) if options else _shared
