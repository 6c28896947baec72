"""Intercepts the statements of env.py while it is run to read what it configures; withholds those that write.

env.py is Python code of the user: it may connect, query the server, and create the schema of its version
table. A command that only reads must not write because env.py does. So while env.py is probed, the statements
of every engine in this thread are intercepted here. Those that write are not sent. The session is also set to
read only on the server, for statements that do not go through SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, pool

from online_migrate import exceptions
from online_migrate.dialects import Dialect, dialect_of, full_url
from online_migrate.dialects.async_drivers import asynchronous
from online_migrate.dialects.base import SERVERS
from online_migrate.sql.classification.verdict import Impact
from online_migrate.sql.lexer import readings, split
from online_migrate.sql.parse import Unreadable
from online_migrate.sql.statement import shorten, statements

PROBE = "online_migrate_probe"
"""The attribute of Alembic's configuration that has the probe while env.py is run to be read."""
_MAKES = frozenset({"SCHEMA", "DATABASE", "EXTENSION", "TABLE", "TYPE", "DOMAIN", "SEQUENCE", "COLLATION"})
"""The objects that env.py may create, by the second word of the statement: they do not affect old code."""
_QUERIES = frozenset({"TABLE", "VALUES", "WITH", "EXECUTE"})
"""The words that begin a query after AS. A query may call a function that writes."""
_SHARED_POOLS = (pool.StaticPool, pool.SingletonThreadPool)
"""Pools whose one connection is an in-memory database itself, so that it must not be detached."""


@dataclasses.dataclass
class Probe:
    """What one run of env.py configured and tried to write."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    guarded: bool = False
    writes: list[str] = dataclasses.field(default_factory=list)
    """The statements that change something, in their order; they were not sent unless writing was allowed."""
    server: str = ""
    """The server to which they are sent: postgresql, mysql, mariadb or sqlite."""

    @property
    def url(self) -> str | None:
        """The URL, or that of the connection, with which env.py called ``context.configure``."""
        connection, url = self.options.get("connection"), self.options.get("url")
        engine = getattr(connection, "engine", None)
        if engine is not None:
            url = engine.url
        if isinstance(url, sa.URL):
            return full_url(url)
        return url


def refuse_what_old_code_notices(path: Path, statements: list[str], server: str) -> None:
    """Refuses the first statement of env.py that does more than create a missing object on *server*.

    Raises :class:`~online_migrate.exceptions.EnvironmentWrites`.
    """
    for statement in statements:
        if not _only_creates(statement, server):
            raise exceptions.EnvironmentWrites(
                path=str(path),
                statement=shorten(statement),
                hint="move it into a revision; env.py may only CREATE a missing schema, table or type",
            )


_SETTINGS_OF_A_SESSION = frozenset(
    {"foreign_keys", "busy_timeout", "journal_mode", "synchronous", "cache_size", "temp_store", "query_only"}
)
"""The pragmas of SQLite that env.py may set: they change no row and no definition."""


def _changes_nothing(statement: str, connection: sa.Connection) -> bool:
    """Returns True for a query, and for a statement that sets something in the session."""
    if connection.dialect.name not in SERVERS:
        return False
    dialect = dialect_of(connection)
    found = statements(statement, dialect.name)
    words = [token.text.lower() for token in found[0][:2]] if len(found) == 1 else []
    if words[:1] == ["pragma"] and words[1:2] and words[1] in _SETTINGS_OF_A_SESSION:
        return True
    return dialect.classify(statement).impact in (Impact.READ, Impact.CONTROL)


def _only_creates(statement: str, server: str) -> bool:
    """Returns True if every reading of the text creates one object, and executes no query."""
    try:
        texts = [split(reading) for reading in readings(statement, server)]
    except Unreadable:
        return False
    for parts in texts:
        words = [token.word for token in parts[0] if token.word != "("] if len(parts) == 1 else []
        if words[:1] != ["CREATE"] or not _MAKES.intersection(words[1:2]):
            return False
        after_as = {following for word, following in itertools.pairwise(words) if word == "AS"}
        if "SELECT" in words or after_as & _QUERIES:
            return False
    return True


@contextlib.contextmanager
def observed(probe: Probe, env_py: Path, *, given: sa.URL | None, may_write: bool) -> Iterator[None]:
    """Records in *probe* what this thread sends through any engine while the block lasts.

    *given*: the URL as the user gave it. *may_write*: statements that create missing objects are sent.
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
    """Gives an asynchronous engine an asynchronous driver while the block lasts.

    The URL that env.py finds in the configuration names a synchronous one.
    """
    # create_async_engine() and async_engine_from_config() resolve this name when they are called.
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
    """Intercepts the statements of env.py, in one thread."""

    def __init__(self, probe: Probe, env_py: Path, may_write: bool) -> None:
        self._probe = probe
        self._env_py = env_py
        self._may_write = may_write
        self._thread = threading.get_ident()

    def do_execute(self, _cursor: Any, statement: str, _parameters: Any, context: Any) -> bool | None:
        """Returns True if the statement is withheld; SQLAlchemy does not send it then."""
        return self._withheld(statement, context.root_connection)

    def do_execute_no_params(self, _cursor: Any, statement: str, context: Any) -> bool | None:
        return self._withheld(statement, context.root_connection)

    def _withheld(self, statement: str, connection: sa.Connection) -> bool | None:
        if threading.get_ident() != self._thread or _changes_nothing(statement, connection):
            return None
        self._probe.writes.append(statement)
        self._probe.server = connection.dialect.name
        if not self._may_write:
            return True
        refuse_what_old_code_notices(self._env_py, [statement], self._probe.server)
        return None

    def engine_connect(self, connection: sa.Connection) -> None:
        """Sets the session to read only, and detaches it from the pool.

        The server then refuses writes that do not go through SQLAlchemy.
        """
        if threading.get_ident() != self._thread or connection.dialect.name not in SERVERS:
            return
        if isinstance(connection.engine.pool, _SHARED_POOLS):
            return
        dialect: Dialect = dialect_of(connection)
        dialect.read_only(connection)
        # env.py may begin its own transaction.
        connection.rollback()
        connection.detach()
