"""The code that is specific to one server, behind capability names.

:func:`dialect_of` returns the :class:`~online_migrate.dialects.base.Dialect` of an engine or connection.
No code outside this package tests for a server by its name.
"""

from __future__ import annotations

from online_migrate.dialects.base import Dialect
from online_migrate.dialects.connect import create_engine, dialect_of, full_url, parse_url, safe_url
from online_migrate.dialects.facets.locks import LockTarget

__all__ = ["Dialect", "LockTarget", "create_engine", "dialect_of", "full_url", "parse_url", "safe_url"]
