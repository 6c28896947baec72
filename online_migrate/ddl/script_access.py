"""Refuses what a contract script would do past its own SQLAlchemy connection.

The table lock belongs to one session, and the executor sees the statements that SQLAlchemy sends on it. A
second connection, of whatever engine, and a raw DBAPI cursor are seen by neither. Inside of
:meth:`ScriptAccess.confined` they raise :class:`~online_migrate.exceptions.PastTheLock`, in the context
(``contextvars``) of the script.

Covered: connections checked out of any SQLAlchemy pool, statements on connections opened before, cursors
and methods of the DBAPI connection below ``op.get_bind()``, and ``connect()`` of the driver's module. Not
covered: another process, a thread that the script starts, and a driver's function that was imported by its
own name before. What these do to the lock itself is still found by :mod:`.held_lock`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import Pool

from online_migrate import exceptions

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_current: ContextVar[ScriptAccess | None] = ContextVar("online_migrate_script_access", default=None)

_CURSOR_METHODS = frozenset(
    {"close", "fetchone", "fetchmany", "fetchall", "nextset", "setinputsizes", "scroll"}
)
"""What reads the result of a statement that was sent already."""
_CONNECTION_NAMES = frozenset(
    {"closed", "broken", "notices", "encoding", "status", "server_version", "info", "in_transaction", "open"}
    | {"get_backend_pid", "thread_id", "get_server_info", "character_set_name", "get_transaction_status"}
    | {"autocommit", "isolation_level", "total_changes", "get_parameter_status", "insert_id"}
)
"""What tells something about a connection and sends nothing that changes its transaction."""
_DIALECT_METHODS = (
    *("do_begin", "do_commit", "do_rollback", "do_close", "do_terminate", "do_ping"),
    *("set_isolation_level", "reset_isolation_level", "get_isolation_level"),
)
"""The methods by which SQLAlchemy itself uses a DBAPI connection other than by a cursor of its own."""


class ScriptAccess:
    """The one connection by which a contract script may reach the server."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection
        self._admitted = 0
        self.refusal: exceptions.PastTheLock | None = None
        """The first refusal. A script may catch it; its revision must fail all the same."""

    @property
    def is_admitted(self) -> bool:
        """True while a statement is on its way that the executor has seen, or one of our own."""
        return self._admitted > 0

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Inside the block nothing is refused."""
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    @contextlib.contextmanager
    def confined(self) -> Iterator[None]:
        """Inside the block, which runs the script, only the given connection may be used."""
        _listen()
        with contextlib.ExitStack() as stack:
            if self._connection is not None:
                stack.enter_context(_guarded_driver_connection(self._connection, self))
                stack.enter_context(self._admitted_dialect(self._connection.dialect))
                stack.enter_context(_guarded_connect(self._connection.dialect.loaded_dbapi))
            token = _current.set(self)
            stack.callback(_current.reset, token)
            yield

    def refuse(self, what: str, hint: str | None = None) -> NoReturn:
        """Raises, and remembers, why this way to the server is closed."""
        refusal = exceptions.PastTheLock(what=what, hint=hint)
        self.refusal = self.refusal or refusal
        raise refusal

    def owns(self, connection: Connection) -> bool:
        """True for the script's own connection."""
        return connection is self._connection

    @contextlib.contextmanager
    def _admitted_dialect(self, dialect: Any) -> Iterator[None]:
        for name in _DIALECT_METHODS:
            setattr(dialect, name, self._admitting(getattr(dialect, name)))
        try:
            yield
        finally:
            for name in _DIALECT_METHODS:
                delattr(dialect, name)

    def _admitting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def admitting(*arguments: Any, **keywords: Any) -> Any:
            with self.admitted():
                return method(*arguments, **keywords)

        return admitting


def without_connection() -> contextlib.AbstractContextManager[None]:
    """Inside the block, which calls a script to learn its SQL, no connection may be used at all."""
    return ScriptAccess(None).confined()


@contextlib.contextmanager
def _guarded_driver_connection(connection: Connection, access: ScriptAccess) -> Iterator[None]:
    # SQLAlchemy and the script get the driver's connection from these two places.
    fairy: Any = connection.connection
    places = [fairy, fairy._connection_record]
    real = fairy.dbapi_connection
    guarded = GuardedConnection(real, access)
    for place in places:
        place.dbapi_connection = guarded
    try:
        yield
    finally:
        for place in places:
            if place.dbapi_connection is guarded:
                place.dbapi_connection = real


# --- the driver's connection and its cursors ------------------------------------------------------

_RAW = "a cursor or a method of the driver's own connection is used"
_RAW_HINT = "send the statement by op.execute(...) or op.get_bind().execute(...)"


class GuardedConnection:
    """A driver's connection; only SQLAlchemy may use what is not among :data:`_CONNECTION_NAMES`."""

    def __init__(self, real: Any, access: ScriptAccess) -> None:
        self.__dict__.update(_real=real, _access=access)

    def cursor(self, *arguments: Any, **keywords: Any) -> GuardedCursor:
        """A cursor; what it may send depends on the moment."""
        return GuardedCursor(self.__dict__["_real"].cursor(*arguments, **keywords), self)

    def __getattr__(self, name: str) -> Any:
        access: ScriptAccess = self.__dict__["_access"]
        if not access.is_admitted and name not in _CONNECTION_NAMES:
            access.refuse(_RAW, _RAW_HINT)
        return getattr(self.__dict__["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        access: ScriptAccess = self.__dict__["_access"]
        if not access.is_admitted:
            access.refuse(_RAW, _RAW_HINT)
        setattr(self.__dict__["_real"], name, value)


class GuardedCursor:
    """A driver's cursor that sends nothing which the executor has not seen."""

    def __init__(self, real: Any, connection: GuardedConnection) -> None:
        self.__dict__.update(_real=real, connection=connection)

    def __getattr__(self, name: str) -> Any:
        access: ScriptAccess = self.__dict__["connection"].__dict__["_access"]
        value = getattr(self.__dict__["_real"], name)
        harmless = name in _CURSOR_METHODS or not (callable(value) or name.startswith("_"))
        if not (harmless or access.is_admitted):
            access.refuse(_RAW, _RAW_HINT)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_real"], name, value)

    def __enter__(self) -> GuardedCursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__["_real"])


# --- other connections ----------------------------------------------------------------------------

_OTHER_HINT = "use op.get_bind(), which holds the lock; sa.inspect(op.get_bind()) to inspect the schema"


def _refuse_other(what: str) -> None:
    access = _current.get()
    if access is not None and not access.is_admitted:
        access.refuse(what, _OTHER_HINT)


def _on_checkout(_driver: object, _record: object, _fairy: object) -> None:
    _refuse_other("a second connection is opened")


def _on_execute(connection: Connection, *_: object) -> None:
    access = _current.get()
    if access is not None and not access.owns(connection):
        _refuse_other("a statement is sent on another connection")


@functools.cache
def _listen() -> None:
    """Listens to all engines of the process, once: to remove a listener would race with other threads."""
    event.listen(Pool, "checkout", _on_checkout)
    event.listen(sa.Engine, "before_cursor_execute", _on_execute)


@contextlib.contextmanager
def _guarded_connect(driver: Any) -> Iterator[None]:
    """Refuses ``connect()`` of the driver's module, and of the package that it is a part of."""
    modules = {driver.__name__, driver.__name__.partition(".")[0]} & sys.modules.keys()
    before = {name: getattr(sys.modules[name], "connect", None) for name in modules}
    for name, connect in before.items():
        if connect is not None:
            setattr(sys.modules[name], "connect", _refusing(connect))  # noqa: B010 - a module of any driver
    try:
        yield
    finally:
        for name, connect in before.items():
            if connect is not None:
                setattr(sys.modules[name], "connect", connect)  # noqa: B010


def _refusing(connect: Callable[..., Any]) -> Callable[..., Any]:
    def refusing(*arguments: Any, **keywords: Any) -> Any:
        _refuse_other("a second connection is opened by the driver")
        return connect(*arguments, **keywords)

    return refusing
