"""Engines for PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects import postgresql_pooler
from online_migrate.dialects import postgresql_sessions as sessions
from online_migrate.dialects.facets.engines import Engines

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from online_migrate.engine_options import EngineOptions

_LARGEST_MESSAGE = 0x3FFFFFFE
"""The largest message of the protocol, in bytes; the server closes the connection at a larger one."""


class PostgreSQLEngines(Engines):
    """Creates engines whose sessions read and write values unchanged, and belong to one client."""

    extra: ClassVar[str] = "postgresql"

    def create_engine(self, url: sa.URL, options: EngineOptions) -> Engine:
        if "application_name" not in url.query:
            url = url.update_query_dict({"application_name": "online-migrate"})
        if "connect_timeout" not in url.query:
            url = url.update_query_dict({"connect_timeout": "10"})
        engine = super().create_engine(sessions.url_of(url), options)
        sessions.install(engine)
        self.refuse_large_statements(engine)
        return engine

    def refuse_shared_sessions(self, engine: Engine, *, sessions_declared: bool) -> None:
        postgresql_pooler.install(engine, sessions_declared=sessions_declared)

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        return _LARGEST_MESSAGE, "the largest message of the protocol"
