"""The engine of a database that an application names."""

from __future__ import annotations

from sqlalchemy import URL
from sqlalchemy.engine import Engine

from online_migrate.config import POOLERS
from online_migrate.dialects import create_engine, full_url
from online_migrate.exceptions import UsageError


def engine_of(bind: Engine | URL | str, pooler: str | None) -> Engine:
    """Returns *bind*, or an engine of its URL.

    *pooler*: what the setting ``pooler`` may be, for a URL; an engine has the connections of the application.
    Raises :class:`~online_migrate.exceptions.UsageError` for another *pooler*.
    """
    if pooler is not None and pooler not in POOLERS:
        raise UsageError(message=f"pooler is {' or '.join(POOLERS)}, not {pooler!r}")
    return bind if isinstance(bind, Engine) else create_engine(full_url(bind), pooler=pooler)
