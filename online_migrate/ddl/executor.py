"""Every statement of a revision on its way to the server.

What counts is what reaches the driver, not which Python function was called: ``op.execute``,
``batch_alter_table`` and ``op.get_bind().execute`` all come through here.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event

from online_migrate import exceptions
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.script_access import ScriptAccess
from online_migrate.dialects import Dialect
from online_migrate.dialects.statement import Kind, shorten

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_active: weakref.WeakKeyDictionary[Connection, Executor] = weakref.WeakKeyDictionary()
"""Which executor a connection's statements pass by. Not in ``connection.info``: a lost session has none."""
_watched: weakref.WeakSet[sa.Dialect] = weakref.WeakSet()
"""The dialects that have our listeners; those of an engine are its dialect's."""


class Guard(Protocol):
    """What stands between a statement of a revision and the server; see contract."""

    @property
    def confines(self) -> bool:
        """True if a script may reach the server by its own connection only."""

    def admit(self, statement: str, kind: Kind) -> Sequence[str]:
        """The forms in which the statement may be sent, the first that the server takes; or raises."""

    def pass_by(self, statement: str) -> None:
        """Sees a statement that changes nothing; raises if it would take the guard's lock away."""

    def done(self, statement: str, kind: Kind) -> None:
        """Sees a statement that was admitted and has been sent."""


class Open:
    """The guard of expand: whatever adds is let through."""

    confines = False

    def pass_by(self, statement: str) -> None:
        """Expand holds no lock of its own."""

    def admit(self, statement: str, kind: Kind) -> Sequence[str]:
        return [statement]

    def done(self, statement: str, kind: Kind) -> None:
        """Expand has nothing to look at again."""


def install(engine: Engine) -> None:
    """Makes the statements of *engine*'s connections pass by their executor, where they have one."""
    # Not event.contains(), which knows an engine by its address: where the dialect of an engine that is gone
    # lives on, and another engine gets that address, it says yes, and nothing passes by anybody.
    if engine.dialect in _watched:
        return
    _watched.add(engine.dialect)
    event.listen(engine, "do_execute", _do_execute)
    event.listen(engine, "do_execute_no_params", _do_execute_no_params)
    event.listen(engine, "do_executemany", _do_executemany)


def _do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    return _pass_by(context, statement, parameters, lambda text: cursor.execute(text, parameters))


def _do_execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
    return _pass_by(context, statement, (), cursor.execute)


def _do_executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    return _pass_by(context, statement, parameters, lambda text: cursor.executemany(text, parameters))


def _pass_by(context: Any, statement: str, parameters: Any, send: Callable[[str], Any]) -> bool | None:
    executor = _active.get(context.root_connection)
    return None if executor is None else executor.handle(statement, parameters, send)


class Executor:
    """Takes the statements of one run of one revision to the server."""

    def __init__(self, dialect: Dialect, connection: Connection, journal: Journal, guard: Guard) -> None:
        self._dialect = dialect
        self._connection = connection
        self._journal = journal
        self._guard = guard
        self._access = ScriptAccess(connection)
        self._refusal: Exception | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block, the statements of the connection pass by this executor.

        What was refused is raised again at its end, if the script caught it: else the revision would count as
        applied without the statement.
        """
        confined = self._access.confined() if self._guard.confines else contextlib.nullcontext()
        with confined:
            _active[self._connection] = self
            try:
                yield
            finally:
                _active.pop(self._connection, None)
        refusal = self._refusal or self._access.refusal
        if refusal is not None:
            raise refusal

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Inside the block, statements are our own and go straight to the server."""
        _active.pop(self._connection, None)
        try:
            with self._access.admitted():
                yield
        finally:
            _active[self._connection] = self

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        """Remembers what the guard raises; see :meth:`active`."""
        try:
            yield
        except Exception as error:
            self._refusal = self._refusal or error
            raise

    def handle(self, statement: str, parameters: Any, send: Callable[[str], Any]) -> bool | None:
        """True if the statement was sent, or was done by an earlier run; None: send it as it is."""
        autocommit = self._connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        kind = self._dialect.kind(statement, autocommit=autocommit)
        if kind in (Kind.READ, Kind.CONTROL):
            with self._remembered():
                self._guard.pass_by(statement)
            if not self._guard.confines:
                return None
            with self._access.admitted():
                send(statement)
            return True
        with self._aside():
            with self._remembered():
                forms = self._guard.admit(statement, kind)
            if not self._dialect.classify(statement).recorded:
                # A query: its rows are asked for each time, and its functions may have written.
                send(statement)
                with self._remembered():
                    self._guard.done(statement, kind)
                return True
            self._dialect.before_statement(self._connection, statement)
            ran = self._journal.run(
                statement,
                parameters,
                transactional=not autocommit and (self._dialect.transactional_ddl or kind is Kind.DATA),
                execute=lambda: self._send(statement, forms, send),
            )
            if ran:
                self._dialect.after_statement(self._connection, statement)
                with self._remembered():
                    self._guard.done(statement, kind)
        return True

    def _send(self, statement: str, forms: Sequence[str], send: Callable[[str], Any]) -> None:
        refusal: BaseException | None = None
        for form in forms:
            try:
                with self._dialect.patience(self._connection, form):
                    send(form)
            except Exception as error:
                if form is statement or not self._dialect.is_refused_algorithm(error):
                    raise
                refusal = error
            else:
                return
        problem = self._dialect.no_form(statement)
        raise exceptions.StatementRefused(
            statement=shorten(statement), reason=f"{problem.reason}: {refusal}", hint=problem.hint
        ) from refusal
