"""One TLS context for all of PyMySQL's connections in this process, and in those that fork from it.

PyMySQL makes one for each connection, and OpenSSL reads all certificates of the machine for it: a third of
the time of a short test. The product makes one for each engine; tests make many engines.
"""

from __future__ import annotations

import importlib
from typing import Any

_driver: Any = importlib.import_module("pymysql.connections")
of_pymysql: Any = _driver.Connection._create_ssl_ctx
"""How it makes one, for a test of just that."""
_shared: Any = of_pymysql(_driver.Connection.__new__(_driver.Connection), {})


def share() -> None:
    """From now on."""
    _driver.Connection._create_ssl_ctx = _create


def _create(connection: Any, options: Any) -> Any:
    return of_pymysql(connection, options) if options else _shared
