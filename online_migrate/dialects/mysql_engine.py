"""Engines for MySQL and MariaDB."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event

from online_migrate.dialects import mysql_sessions as sessions
from online_migrate.dialects.facets.engines import Engines
from online_migrate.dialects.mysql_errors import TOO_LARGE
from online_migrate.values import mysql as mysql_values

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from online_migrate.engine_options import EngineOptions


class MySQLEngines(Engines):
    """Creates engines whose sessions read and write values unchanged."""

    extra: ClassVar[str] = "mysql"

    def create_engine(self, url: sa.URL, options: EngineOptions) -> Engine:
        if "connect_timeout" not in url.query:
            url = url.update_query_dict({"connect_timeout": "10"})
        engine = super().create_engine(sessions.url_of(url), options)
        dialect: Any = engine.dialect
        dialect.ischema_names = mysql_values.TypeNames(dialect.ischema_names)
        if engine.dialect.driver == "pymysql":
            _share_tls_context(engine)
        elif engine.dialect.driver == "mysqldb":
            mark_binary_values(engine)
        sessions.install(engine, options.session)
        self.refuse_large_statements(engine)
        return engine

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        cursor = connection.connection.cursor()
        try:
            cursor.execute("SELECT @@max_allowed_packet")
            row = cursor.fetchone()
        finally:
            cursor.close()
        return None if row is None else (int(row[0]), "max_allowed_packet")

    def too_large_error(self, reason: str) -> tuple[Any, ...]:
        return (TOO_LARGE, reason)


def mark_binary_values(engine: Engine) -> None:
    """Makes mysqlclient write bytes as ``_binary'...'``, as PyMySQL does.

    Without the mark the server reads them as text of the connection's character set, and refuses bytes that
    are not valid there.
    """

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, _arguments: Any, options: Any) -> None:
        options["binary_prefix"] = True


def _share_tls_context(engine: Engine) -> None:
    """Makes all connections of the process that name no certificate share one TLS context.

    PyMySQL creates a context for each connection, whether the server has TLS or not. OpenSSL then reads all
    certificates of the machine, which takes much longer than the connect itself, and none of them is used.
    """
    shared_class = connection_class(engine.dialect.dbapi.connections.Connection)  # type: ignore[union-attr]

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: Any, options: Any) -> object:
        return shared_class(*arguments, **options)


@functools.cache
def connection_class(base: Any) -> Any:
    """Returns the class of connections, derived from PyMySQL's, whose objects share a context."""
    shared: list[object] = []

    class Connection(base):  # type: ignore[misc]
        def _create_ssl_ctx(self, options: object) -> object:
            if options:
                # A certificate that the URL names may be renewed during a run, which may last for days.
                return super()._create_ssl_ctx(options)
            if not shared:
                shared.append(super()._create_ssl_ctx(options))
            return shared[0]

    return Connection
