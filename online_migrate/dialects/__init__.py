"""What only one server understands, behind capability names.

:func:`dialect_of` gives the :class:`~online_migrate.dialects.base.Dialect` of an engine or connection;
nothing outside this package asks for a server by its name.
"""

from __future__ import annotations

from online_migrate.dialects.base import Dialect
from online_migrate.dialects.connect import create_engine, dialect_of, parse_url, safe_url

__all__ = ["Dialect", "create_engine", "dialect_of", "parse_url", "safe_url"]
