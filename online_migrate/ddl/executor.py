"""Intercepts every statement of a revision before it is sent to the server.

The interception is at the driver, independent of the Python function that was called: the statements of
``op.execute``, ``batch_alter_table`` and ``op.get_bind().execute`` all pass through here.
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
from online_migrate.ddl.lock_queue import LockNotFree, LockQueue
from online_migrate.ddl.script_access import ScriptAccess
from online_migrate.dialects import Dialect
from online_migrate.dialects.base import OWN_STATEMENT
from online_migrate.sql.statement import Kind, shorten

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_active: weakref.WeakKeyDictionary[Connection, Executor] = weakref.WeakKeyDictionary()
"""The executor of each connection. Not in ``connection.info``: a lost session has none."""
_instrumented: weakref.WeakSet[sa.Dialect] = weakref.WeakSet()
"""The dialects that have the listeners; the listeners of an engine belong to its dialect."""


class Guard(Protocol):
    """Authorizes the statements of a revision; see :class:`~online_migrate.contract.runner.ContractGuard`."""

    @property
    def confines(self) -> bool:
        """True if a script may use only its own connection to the server."""

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        """Returns the forms in which the statement may be sent; the first that the server accepts is used.

        Raises an :class:`~online_migrate.exceptions.OnlineMigrateError` if the statement is refused.
        """

    def observe(self, statement: str) -> None:
        """Is called for a statement that changes nothing; raises if it would release the guard's lock."""

    def done(self, statement: str, kind: Kind) -> None:
        """Is called after an authorized statement has been sent."""


class AllowAll:
    """The guard of expand: authorizes every statement as it is."""

    confines = False

    def observe(self, statement: str) -> None:
        """Does nothing: expand holds no lock of its own."""

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        return [statement]

    def done(self, statement: str, kind: Kind) -> None:
        """Does nothing: expand has nothing to verify again."""


def install(engine: Engine) -> None:
    """Passes the statements of *engine*'s connections to their executor, where they have one."""
    # Not event.contains(), which identifies an engine by its address: if the dialect of a deleted engine is
    # still in use, and another engine gets that address, it returns True, and nothing is intercepted.
    if engine.dialect in _instrumented:
        return
    _instrumented.add(engine.dialect)
    event.listen(engine, "do_execute", _do_execute)
    event.listen(engine, "do_execute_no_params", _do_execute_no_params)
    event.listen(engine, "do_executemany", _do_executemany)


def _do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    return _through_executor(context, statement, parameters, lambda text: cursor.execute(text, parameters))


def _do_execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
    return _through_executor(context, statement, (), cursor.execute)


def _do_executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    return _through_executor(
        context, statement, parameters, lambda text: cursor.executemany(text, parameters)
    )


def _through_executor(
    context: Any, statement: str, parameters: Any, send: Callable[[str], Any]
) -> bool | None:
    executor = _active.get(context.root_connection)
    return None if executor is None else executor.handle(statement, parameters, send)


class Executor:
    """Executes the statements of one run of one revision, checked by a guard and recorded in a journal."""

    def __init__(
        self, dialect: Dialect, connection: Connection, queue: LockQueue, journal: Journal, guard: Guard
    ) -> None:
        self._dialect = dialect
        self._connection = connection
        self._queue = queue
        self._journal = journal
        self._guard = guard
        self._access = ScriptAccess(connection)
        self._refusal: Exception | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Intercepts the statements of the connection while the block lasts.

        A refusal that the script caught is raised again at the end of the block: otherwise the revision would
        count as applied without the statement.
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
    def _bypassed(self) -> Iterator[None]:
        """Sends the engine's own statements without interception while the block lasts."""
        _active.pop(self._connection, None)
        try:
            with self._access.admitted():
                yield
        finally:
            _active[self._connection] = self

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        """Stores the first exception of the guard; see :meth:`active`."""
        try:
            yield
        except Exception as error:
            self._refusal = self._refusal or error
            raise

    def handle(self, statement: str, parameters: Any, send: Callable[[str], Any]) -> bool | None:
        """Returns True if the statement was sent, or was done by an earlier run; None: send it as it is."""
        if OWN_STATEMENT in self._connection.info:
            with self._access.admitted():
                send(statement)
            return True
        autocommit = self._connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        kind = self._dialect.kind(statement, autocommit=autocommit)
        if kind in (Kind.READ, Kind.CONTROL):
            with self._remembered():
                self._guard.observe(statement)
            if not self._guard.confines:
                return None
            with self._access.admitted():
                send(statement)
            return True
        with self._bypassed():
            with self._remembered():
                forms = self._guard.authorize(statement, kind)
            if not self._dialect.classify(statement).recorded:
                # A query: its rows are needed in each run, and its functions may have written.
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
                with self._dialect.lock_timeout_for(self._connection, form), self._queue.entered(form):
                    send(form)
            except LockNotFree as error:
                # A script that catches it would otherwise go on without the statement.
                self._refusal = self._refusal or error
                raise
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
