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
from online_migrate.ddl.forms import SafeForms
from online_migrate.ddl.forms import refusal as refusal_of
from online_migrate.ddl.journal import Journal
from online_migrate.ddl.lock_queue import LockNotFree, LockQueue
from online_migrate.ddl.script_access import ScriptAccess
from online_migrate.ddl.steps import Steps
from online_migrate.ddl.tools.handover import Handover
from online_migrate.dialects import Dialect
from online_migrate.dialects.base import OWN_STATEMENT
from online_migrate.sql.forms.form import Form
from online_migrate.sql.statement import Kind, first_word
from online_migrate.sql.table_locks import table_locks

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_active: weakref.WeakKeyDictionary[Connection, Executor] = weakref.WeakKeyDictionary()
"""The executor of each connection. Not in ``connection.info``: a lost session has none."""
_instrumented: weakref.WeakSet[sa.Dialect] = weakref.WeakSet()
"""The dialects that have the listeners; the listeners of an engine belong to its dialect."""


Translate = Callable[[str], str | None]


class Guard(Protocol):
    """Authorizes the statements of a revision; see :class:`~online_migrate.contract.runner.ContractGuard`."""

    @property
    def access_refusal(self) -> type[exceptions.PastTheScript] | None:
        """The error for another way to the server than the script's own connection; None: it is allowed."""

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        """Returns the forms in which the statement may be sent; the first that the server accepts is used.

        Raises an :class:`~online_migrate.exceptions.OnlineMigrateError` if the statement is refused.
        """

    def observe(self, statement: str) -> None:
        """Is called for a statement that changes nothing; raises if it would release the guard's lock."""

    def done(self, statement: str, kind: Kind) -> None:
        """Is called after an authorized statement has been sent."""


class AllowAll:
    """The guard of revisions of the linear base: authorizes every statement as it is."""

    access_refusal = None

    def observe(self, statement: str) -> None:
        """Does nothing: there is no lock of its own."""

    def authorize(self, statement: str, kind: Kind) -> Sequence[str]:
        return [statement]

    def done(self, statement: str, kind: Kind) -> None:
        """Does nothing: there is nothing to verify again."""


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
    # Not the method itself: while a script is confined, its cursor gives out none.
    return _through_executor(context, statement, (), lambda text: cursor.execute(text))


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
        self,
        dialect: Dialect,
        connection: Connection,
        queue: LockQueue,
        journal: Journal,
        guard: Guard,
        forms: SafeForms | None = None,
        handover: Handover | None = None,
        translate: Translate | None = None,
    ) -> None:
        """*forms*: None: the forms of the guard are used. *handover*: to a tool that copies tables.

        *translate*: returns the statement that is sent instead of one of the script; None: it is skipped.
        """
        self._dialect = dialect
        self._connection = connection
        self._queue = queue
        self._journal = journal
        self._guard = guard
        self._forms = forms
        self._handover = handover
        self._translate = translate
        self._access = ScriptAccess(connection, guard.access_refusal or exceptions.PastTheLock)
        self._refusal: Exception | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Intercepts the statements of the connection while the block lasts.

        A refusal that the script caught is raised again at the end of the block: otherwise the revision would
        count as applied without the statement.
        """
        # A long statement is measured at the driver, where the confined script may read nothing.
        self._dialect.load_statement_limit(self._connection)
        confined = self._access.confined() if self._guard.access_refusal else contextlib.nullcontext()
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
    def _remembered(self, kind: type[Exception] = Exception) -> Iterator[None]:
        """Stores the first exception of *kind*; see :meth:`active`."""
        try:
            yield
        except kind as error:
            self._refusal = self._refusal or error
            raise

    def handle(self, statement: str, parameters: Any, send: Callable[[str], Any]) -> bool | None:
        """Returns True if the statement was sent, or was done by an earlier run; None: send it as it is."""
        if OWN_STATEMENT in self._connection.info:
            with self._access.admitted():
                send(statement)
            return True
        if self._translate is not None:
            translated = self._translate(statement)
            if translated is None:
                return True
            statement = translated
        autocommit = self._connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        kind = self._dialect.kind(statement, autocommit=autocommit)
        if kind in (Kind.READ, Kind.CONTROL):
            if first_word(statement, self._dialect.name) != "SET":
                self._journal.edits.script_asks()
            with self._bypassed(), self._remembered():
                self._guard.observe(statement)
            if table_locks(statement, self._dialect.name):
                with self._bypassed(), self._remembered(LockNotFree):
                    self._lock(statement, send)
                return True
            if self._guard.access_refusal is None:
                return None
            with self._access.admitted():
                send(statement)
            return True
        with self._bypassed():
            self._change(statement, parameters, send, kind, autocommit=autocommit)
        return True

    def _lock(self, statement: str, send: Callable[[str], Any]) -> None:
        """Sends LOCK TABLE, which stands in the queue like DDL."""
        with self._dialect.lock_timeout_for(self._connection, statement), self._queue.entered(statement):
            send(statement)

    def _change(
        self,
        statement: str,
        parameters: Any,
        send: Callable[[str], Any],
        kind: Kind,
        *,
        autocommit: bool,
    ) -> None:
        """Sends a statement that may change something, unless an earlier run has done it."""
        with self._remembered():
            permitted = self._guard.authorize(statement, kind)
        if not self._dialect.classify(statement).recorded:
            # A query: its rows are needed in each run, and its functions may have written.
            self._journal.edits.script_asks()
            send(statement)
            with self._remembered():
                self._guard.done(statement, kind)
            return
        form = Form(tuple(permitted))
        if self._forms is not None:
            form = self._forms.form(statement, kind, permitted, autocommit=autocommit)
        self._dialect.before_statement(self._connection, statement)
        with self._remembered(exceptions.Refused):
            ran = self._journal.run(
                statement,
                parameters,
                transactional=not autocommit and (self._dialect.transactional_ddl or kind is Kind.DATA),
                execute=lambda: self._send_form(statement, form, send),
            )
        if ran:
            self._dialect.after_statement(self._connection, statement)
            with self._remembered():
                self._guard.done(statement, kind)

    def _send_form(self, statement: str, form: Form, send: Callable[[str], Any]) -> None:
        """Sends a statement, or its steps."""
        steps = Steps(
            self._dialect, self._connection, self._journal, lambda text: self._send(text, Form((text,)), send)
        )
        if not steps.run(form.steps):
            self._send(statement, form, send)

    def _send(self, statement: str, form: Form, send: Callable[[str], Any]) -> None:
        refusal: BaseException | None = None
        for text in form.texts:
            try:
                with self._dialect.lock_timeout_for(self._connection, text), self._queue.entered(text):
                    send(text)
            except LockNotFree as error:
                # A script that catches it would otherwise go on without the statement.
                self._refusal = self._refusal or error
                raise
            except Exception as error:
                if text is statement or not self._dialect.is_refused_algorithm(error):
                    raise
                refusal = error
            else:
                return
        self._refused_by_server(statement, form, refusal)

    def _refused_by_server(self, statement: str, form: Form, error: BaseException | None) -> None:
        """Hands a statement to the tool that copies tables; raises the refusal if it cannot."""
        if self._handover is None:
            raise refusal_of(self._dialect, statement, form, error) from error
        copy, locked = form.copy, self._queue.tables_are_locked
        with self._remembered():
            objection = self._handover.objection(statement, copy, locked=locked)
            if copy is None or objection:
                raise refusal_of(self._dialect, statement, form, error, objection) from error
            # Whether the table is free was looked at before the server refused the last form.
            self._handover.run(statement, copy)
