"""How an engine connects, and the largest statement that it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from online_migrate.deferred_import import defer_import
from online_migrate.dialects.blame import CERTAINLY_SMALL, StatementTooLarge, largest_size, statement_size

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from online_migrate.engine_options import EngineOptions

_LIMIT = "online_migrate_statement_limit"


class Engines:
    """Creates the engine of a URL, and refuses what its connections cannot carry."""

    extra: ClassVar[str] = ""
    """The extra of this distribution that installs the server's default driver."""

    def create_engine(self, url: sa.URL, options: EngineOptions) -> Engine:
        """Returns an engine for *url*; it is not connected.

        oslo.db creates it, with its exception filters, its guards against forks and its pool settings.
        """
        # oslo.db imports its models, and so SQLAlchemy's ORM, which takes as long as half of Core.
        defer_import("oslo_db.sqlalchemy.models")
        from oslo_db.sqlalchemy import engines

        # connection_debug: at 0 oslo.db sets the level of a logger of this process.
        engine: Engine = engines.create_engine(url, max_retries=0, connection_debug=-1, **options.pool)
        return engine

    def refuse_shared_sessions(self, engine: Engine, *, sessions_declared: bool) -> None:
        """Makes the first connection of *engine* fail if a pooler shares its sessions between clients.

        *sessions_declared*: True if the settings declare that the pooler keeps one session for each client.
        The connection attempt raises :class:`~online_migrate.exceptions.SharedSessions`.
        """

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        """Returns the largest statement that the server accepts, in bytes, and the name of that limit.

        Reads it from the session where it is a setting. None: there is no such limit.
        """
        return None

    def load_statement_limit(self, connection: Connection) -> None:
        """Reads the limit of :meth:`statement_limit` now, once for a connection."""
        if _LIMIT not in connection.info:
            connection.info[_LIMIT] = self.statement_limit(connection)

    def refuse_large_statements(self, engine: Engine) -> None:
        """Refuses a statement of *engine* that is too large, before it is sent.

        The server would close the session at such a statement, and the reason would be lost with it. The
        execution raises a :class:`sqlalchemy.exc.DataError` that wraps
        :class:`~online_migrate.dialects.blame.StatementTooLarge`.
        """

        @event.listens_for(engine, "before_cursor_execute")
        def _measure(
            connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
        ) -> None:
            most = largest_size(statement, parameters)
            if most <= CERTAINLY_SMALL:
                return
            self.load_statement_limit(connection)
            if connection.info[_LIMIT] is None:
                return
            limit, name = connection.info[_LIMIT]
            if most < limit:
                return
            literal = getattr(connection.connection.dbapi_connection, "literal", None)
            size, value = statement_size(statement, parameters, limit, literal)
            if size < limit:
                return
            reason = (
                f"the statement has {size:,} bytes, its largest value {value:,} bytes; {name} is {limit:,}"
            )
            raise exc.DataError(statement, None, StatementTooLarge(*self.too_large_error(reason)))

    def too_large_error(self, reason: str) -> tuple[Any, ...]:
        """Returns the arguments of the driver error that the server causes for a statement that is too large.

        *reason*: the message.
        """
        return (reason,)
