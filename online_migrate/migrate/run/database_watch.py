"""Watches which databases a function of the user connects to while it is called.

A function that commits by itself connects by itself, by the configuration of its project. If that names
another database than the command, the rows there would be migrated, or nothing would be found there, and the
record of the command's database would say that it is complete.

Connections of SQLAlchemy are seen, in the calling thread and in threads that the function starts. A
connection that is opened by a driver itself, or by another process, is not seen, and neither is a statement
that names another database of the same server.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

from online_migrate import exceptions
from online_migrate.ddl.session import connect
from online_migrate.dialects import dialect_of, safe_url
from online_migrate.dialects.base import SERVERS
from online_migrate.driver_errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_SEEN = "online_migrate_database_watch"


class OtherDatabaseUsed(exceptions.Failed):
    """the function uses another database than the command: {theirs}, not {ours}"""

    default_hint = (
        "bind the function to the database of the command: counted(..., bind=...); "
        "if it needs other databases as well: counted(..., other_databases=True)"
    )


class DatabaseWatch:
    """Refuses connections to other databases than that of *engine*, while :meth:`calling` lasts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.others_allowed = False
        """True: only a call that uses other databases, and not this one, is refused."""
        self._own: Mapping[str, str] | None = None
        self._ignored: frozenset[threading.Thread] = frozenset()
        self._calling = self._own_used = False
        self._thread = threading.local()
        """``comparing``: the statements of this thread are those of the comparison."""
        self._refusal: OtherDatabaseUsed | None = None
        """The first refusal of a run; the function may have caught the exception."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listens to every engine of the process while the block lasts."""
        with (
            _listening("engine_connect", self._connected),
            _listening("before_cursor_execute", self._executing),
        ):
            yield

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """The block calls the function. Raises :class:`OtherDatabaseUsed`, also if the function caught it."""
        # Not by their numbers: the number of a thread that has ended is given to a new one.
        self._ignored = frozenset(threading.enumerate()) - {threading.current_thread()}
        self._calling = True
        try:
            yield
        except Exception as error:
            if self._refusal is None or self.others_allowed:
                raise
            raise self._refusal from error
        finally:
            self._calling = False
        if self._refusal is not None and not (self.others_allowed and self._own_used):
            raise self._refusal

    def _connected(self, connection: Connection) -> None:
        try:
            self._compare(connection)
        except OtherDatabaseUsed:
            connection.close()  # the function does not get it
            raise
        except DATABASE_ERRORS:
            pass  # compared before its first statement, on the session that replaces a lost one

    def _executing(self, connection: Connection, *_statement: Any) -> None:
        # A connection may have been opened before the call.
        self._compare(connection)

    def _compare(self, connection: Connection) -> None:
        """Raises :class:`OtherDatabaseUsed`, or the error of the comparison; the statement is not sent."""
        if not self._calling or self._comparing or threading.current_thread() in self._ignored:
            return
        if connection.info.get(_SEEN) is self:
            return
        self._thread.comparing = True
        try:
            same = self._is_own(connection)
        except DATABASE_ERRORS:
            if self.others_allowed:
                return
            raise
        finally:
            self._thread.comparing = False
        if same:
            self._own_used = True
            connection.info[_SEEN] = self
            return
        if self._refusal is None:
            theirs, ours = safe_url(connection.engine.url), safe_url(self._engine.url)
            self._refusal = OtherDatabaseUsed(theirs=theirs, ours=ours)
        if not self.others_allowed:
            raise self._refusal

    @property
    def _comparing(self) -> bool:
        return getattr(self._thread, "comparing", False)

    def _is_own(self, connection: Connection) -> bool:
        """True if *connection* is one to the command's database.

        Raises one of :data:`~online_migrate.driver_errors.DATABASE_ERRORS`, such as that of an aborted
        transaction.
        """
        if connection.dialect.name not in SERVERS:
            return False
        if self._own is None:
            with connect(self._engine) as own:
                self._own = dialect_of(own).identity(own)
        in_transaction = connection.in_transaction()
        try:
            return dialect_of(connection).identity(connection) == self._own
        finally:
            if not in_transaction:
                connection.rollback()  # the function may begin its own transaction


@contextlib.contextmanager
def _listening(name: str, function: Callable[..., Any]) -> Iterator[None]:
    event.listen(sa.Engine, name, function)
    try:
        yield
    finally:
        event.remove(sa.Engine, name, function)
