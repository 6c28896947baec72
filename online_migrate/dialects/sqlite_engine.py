"""Engines for SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import event, pool

from online_migrate import exceptions
from online_migrate.dialects.base import OWN_STATEMENT
from online_migrate.dialects.facets.engines import Engines
from online_migrate.dialects.sqlite_sessions import BEGIN_OPTION, BUSY_TIMEOUT

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from online_migrate.engine_options import EngineOptions


class SQLiteEngines(Engines):
    """Creates engines that begin their transactions themselves."""

    def create_engine(self, url: sa.URL, options: EngineOptions) -> Engine:
        """Returns a plain SQLAlchemy engine that emits its own BEGIN, with oslo.db's exception filters.

        oslo.db's engine emits a BEGIN that can only be deferred, so only its exception filters are used.
        Raises :class:`~online_migrate.exceptions.ServerDown` if the folder of the database does not exist.
        """
        from oslo_db.sqlalchemy import exc_filters

        self._check_folder(url)
        in_memory = url.database in (None, "", ":memory:") or "mode=memory" in (url.database or "")
        engine = sa.create_engine(url, poolclass=pool.StaticPool if in_memory else pool.NullPool)

        @event.listens_for(engine, "connect")
        def _own_transactions(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
            # pysqlite otherwise commits before a DDL statement, which then cannot be rolled back.
            connection.isolation_level = None
            # By default sqlite3 raises an error for a text that is not UTF-8, and the whole query fails.
            connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            connection.execute("PRAGMA foreign_keys = ON")
            if not options.sqlite_synchronous:
                connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            mode = connection.get_execution_options().get(BEGIN_OPTION, "DEFERRED")
            if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
                connection.info[OWN_STATEMENT] = True
                try:
                    connection.exec_driver_sql(f"BEGIN {mode}")
                finally:
                    del connection.info[OWN_STATEMENT]

        exc_filters.register_engine(engine)
        return engine

    @staticmethod
    def _check_folder(url: sa.URL) -> None:
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            return
        folder = Path(url.database).absolute().parent
        if not folder.is_dir():
            raise exceptions.ServerDown(
                url=str(url), reason=f"folder {folder} does not exist", hint=f"mkdir -p {folder}"
            )
