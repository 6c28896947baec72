"""Confines the script of a revision to its own SQLAlchemy connection.

The table lock of contract belongs to one session, and the executor intercepts the statements that SQLAlchemy
sends on it. Neither covers a second connection, of whatever engine, or a raw DBAPI cursor. Inside
:meth:`ScriptAccess.confined` these raise :class:`~online_migrate.exceptions.PastTheLock` (contract) or
:class:`~online_migrate.exceptions.PastTheCheck` (expand), in the context (``contextvars``) of the script.

Covered: connections checked out of any SQLAlchemy pool, statements on connections opened before, cursors
and methods of the DBAPI connection below ``op.get_bind()``, and ``connect()`` of the driver's module. Not
covered: another process, a thread that the script starts, and a function of the driver that was imported by
name before. If these end the lock, :mod:`.held_lock` still detects it.
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
"""Methods that read the result of a statement that was already sent."""
_CONNECTION_NAMES = frozenset(
    {"closed", "broken", "notices", "encoding", "status", "server_version", "info", "in_transaction", "open"}
    | {"get_backend_pid", "thread_id", "get_server_info", "character_set_name", "get_transaction_status"}
    | {"autocommit", "isolation_level", "total_changes", "get_parameter_status", "insert_id", "literal"}
)
"""Attributes that describe a connection and send nothing that changes its transaction."""
_DIALECT_METHODS = (
    *("do_begin", "do_commit", "do_rollback", "do_close", "do_terminate", "do_ping"),
    *("set_isolation_level", "reset_isolation_level", "get_isolation_level"),
)
"""The methods by which SQLAlchemy itself uses a DBAPI connection, other than through its own cursors."""


class ScriptAccess:
    """The one connection that a script may use; None: the script may use no connection."""

    def __init__(
        self,
        connection: Connection | None,
        refusal_class: type[exceptions.PastTheScript] = exceptions.PastTheLock,
    ) -> None:
        self._connection = connection
        self._refusal_class = refusal_class
        self._admitted = 0
        self.refusal: exceptions.PastTheScript | None = None
        """The first refusal. A script may catch it; its revision must fail nevertheless."""

    @property
    def is_admitted(self) -> bool:
        """True while a statement is sent that the executor has authorized, or one of the engine's own."""
        return self._admitted > 0

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Refuses nothing while the block lasts."""
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    @contextlib.contextmanager
    def confined(self) -> Iterator[None]:
        """Refuses every connection but the given one while the block, which runs the script, lasts."""
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
        """Raises the refusal of this script's phase, and stores it if it is the first one.

        *what*: the access that is refused.
        """
        refusal = self._refusal_class(what=what, hint=hint)
        self.refusal = self.refusal or refusal
        raise refusal

    @property
    def other_connection_hint(self) -> str:
        """What to use instead of another connection."""
        return self._refusal_class.other_connection

    def owns(self, connection: Connection) -> bool:
        """Returns True for the script's own connection."""
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
    """Refuses every connection while the block, which calls a script to render its SQL, lasts."""
    return ScriptAccess(None).confined()


@contextlib.contextmanager
def own_access() -> Iterator[None]:
    """Admits the engine's own queries while the block, which a script has called, lasts."""
    access = _current.get()
    with contextlib.nullcontext() if access is None else access.admitted():
        yield


@contextlib.contextmanager
def _guarded_driver_connection(connection: Connection, access: ScriptAccess) -> Iterator[None]:
    # SQLAlchemy and the script get the driver's connection from these two objects.
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

_RAW = "the script uses a cursor or a method of the driver connection"
_RAW_HINT = "send the statement with op.execute(...) or op.get_bind().execute(...)"


class GuardedConnection:
    """A driver's connection; only SQLAlchemy may use attributes outside of :data:`_CONNECTION_NAMES`."""

    def __init__(self, real: Any, access: ScriptAccess) -> None:
        self.__dict__.update(_real=real, _access=access)

    def cursor(self, *arguments: Any, **keywords: Any) -> GuardedCursor:
        """Returns a guarded cursor; it sends only while access is admitted."""
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
    """A driver's cursor that sends only statements that the executor has authorized."""

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


def _refuse_other(what: str) -> None:
    access = _current.get()
    if access is not None and not access.is_admitted:
        access.refuse(what, access.other_connection_hint)


def _on_checkout(_driver: object, _record: object, _fairy: object) -> None:
    _refuse_other("the script opens a second connection")


def _on_execute(connection: Connection, *_: object) -> None:
    access = _current.get()
    if access is not None and not access.owns(connection):
        _refuse_other("the script sends a statement on another connection")


@functools.cache
def _listen() -> None:
    """Adds listeners to all engines of the process, once: removing them would race with other threads."""
    event.listen(Pool, "checkout", _on_checkout)
    event.listen(sa.Engine, "before_cursor_execute", _on_execute)


@contextlib.contextmanager
def _guarded_connect(driver: Any) -> Iterator[None]:
    """Refuses ``connect()`` of the driver's module, and of the package that contains it."""
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
        _refuse_other("the script opens a second connection with the driver")
        return connect(*arguments, **keywords)

    return refusing
