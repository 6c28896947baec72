"""Runs a project's env.py to learn what it configures, and holds back what it would write.

env.py is Python of the user: it may connect, ask the server something, and create the schema that its
version table is in. A command that only reads must not write because env.py does. So while env.py is
probed, the statements of every engine of this thread pass by here; those that write are not sent, and the
server is told to keep the session from writing, for what does not come through SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, pool

from online_migrate import exceptions
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.async_drivers import asynchronous
from online_migrate.dialects.base import registry
from online_migrate.dialects.statement import shorten, tokens
from online_migrate.sql.verdict import Impact

_MAKES = frozenset({"SCHEMA", "DATABASE", "EXTENSION", "TABLE", "TYPE", "DOMAIN", "SEQUENCE", "COLLATION"})
"""What env.py may create, by the second word of the statement: old code does not notice any of it."""
_SHARED_POOLS = (pool.StaticPool, pool.SingletonThreadPool)
"""Their one connection is the database itself, where that is in memory: it cannot be given up."""


@dataclasses.dataclass
class Probe:
    """What one run of env.py said and did."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    guarded: bool = False
    writes: list[str] = dataclasses.field(default_factory=list)
    """The statements that would have changed something, in their order."""

    @property
    def url(self) -> str | None:
        """The database of the connection, or the URL, with which env.py called ``context.configure``."""
        connection, url = self.options.get("connection"), self.options.get("url")
        engine = getattr(connection, "engine", None)
        if engine is not None:
            url = engine.url
        if isinstance(url, sa.URL):
            return url.render_as_string(hide_password=False)
        return url


def refuse_what_old_code_notices(path: Path, statements: list[str]) -> None:
    """Refuses the first statement of env.py that does more than create what is missing."""
    for statement in statements:
        if not _only_creates(statement):
            raise exceptions.EnvironmentWrites(
                path=str(path),
                statement=shorten(statement),
                hint="move it into a revision; env.py may CREATE a schema, a table or a type that is missing",
            )


def _changes_nothing(statement: str, connection: sa.Connection) -> bool:
    """True for a query, and for a setting of the session."""
    if connection.dialect.name not in registry:
        return False
    return dialect_of(connection).classify(statement).impact in (Impact.READ, Impact.CONTROL)


def _only_creates(statement: str) -> bool:
    words = [token.word for token in tokens(statement.strip().rstrip(";"))]
    return ";" not in words and words[:1] == ["CREATE"] and len(words) > 1 and words[1] in _MAKES


@contextlib.contextmanager
def observed(probe: Probe, env_py: Path, *, given: sa.URL | None, may_write: bool) -> Iterator[None]:
    """Inside the block, what this thread sends by any engine is seen by *probe*.

    *given*: the URL as the user gave it. *may_write*: statements that create what is missing are sent.
    """
    guard = _StatementGuard(probe, env_py, may_write)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_listening("do_execute", guard.do_execute))
        stack.enter_context(_listening("do_execute_no_params", guard.do_execute_no_params))
        stack.enter_context(_listening("do_executemany", guard.do_execute))
        if not may_write:
            stack.enter_context(_listening("engine_connect", guard.engine_connect))
        if "sqlalchemy.ext.asyncio" in sys.modules or "async" in env_py.read_text(encoding="utf-8"):
            stack.enter_context(_async_drivers(given))
        yield


@contextlib.contextmanager
def _listening(name: str, function: Callable[..., Any]) -> Iterator[None]:
    event.listen(sa.Engine, name, function)
    try:
        yield
    finally:
        event.remove(sa.Engine, name, function)


@contextlib.contextmanager
def _async_drivers(given: sa.URL | None) -> Iterator[None]:
    """Inside the block an asynchronous engine gets an asynchronous driver: env.py was given our URL."""
    # create_async_engine() and async_engine_from_config() look this name up when they are called.
    module: Any = importlib.import_module("sqlalchemy.ext.asyncio.engine")
    create = module._create_engine

    def create_engine(url: str | sa.URL, **keywords: Any) -> Any:
        return create(asynchronous(sa.make_url(url), given), **keywords)

    module._create_engine = create_engine
    try:
        yield
    finally:
        module._create_engine = create


class _StatementGuard:
    """What stands between env.py and the server, for one thread."""

    def __init__(self, probe: Probe, env_py: Path, may_write: bool) -> None:
        self._probe = probe
        self._env_py = env_py
        self._may_write = may_write
        self._thread = threading.get_ident()

    def do_execute(self, _cursor: Any, statement: str, _parameters: Any, context: Any) -> bool | None:
        """True, to SQLAlchemy: it is done, and not to be sent."""
        return self._withheld(statement, context.root_connection)

    def do_execute_no_params(self, _cursor: Any, statement: str, context: Any) -> bool | None:
        return self._withheld(statement, context.root_connection)

    def _withheld(self, statement: str, connection: sa.Connection) -> bool | None:
        if threading.get_ident() != self._thread or _changes_nothing(statement, connection):
            return None
        self._probe.writes.append(statement)
        if not self._may_write:
            return True
        refuse_what_old_code_notices(self._env_py, [statement])
        return None

    def engine_connect(self, connection: sa.Connection) -> None:
        """Makes the server refuse what does not come through SQLAlchemy, and keeps that out of the pool."""
        if threading.get_ident() != self._thread or connection.dialect.name not in registry:
            return
        if isinstance(connection.engine.pool, _SHARED_POOLS):
            return
        dialect: Dialect = dialect_of(connection)
        dialect.read_only(connection)
        # env.py may begin a transaction of its own.
        connection.rollback()
        connection.detach()
