"""The settings of a session: isolation, time limits, whose settings its statements have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate.driver_errors import set_isolation

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class Sessions:
    """Prepares sessions for the statements of revisions, for chunks and for queries."""

    chunk_isolation: ClassVar[IsolationLevel | None] = "READ COMMITTED"
    """The isolation level of the transaction of a chunk."""
    chunk_pause: ClassVar[float] = 0.0
    """Minimum pause between two chunks, in seconds, on a server that does not queue the writers that wait
    for its lock."""
    ddl_isolation: ClassVar[IsolationLevel | None] = None
    """The isolation level of the transaction of a revision; None: the session's default."""
    single_writer: ClassVar[bool] = False
    """A write transaction blocks every other writer of the database: a second worker would only wait."""

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        """Inside the block a DDL session evaluates expressions in the same way as the data sessions.

        Every session is configured for exact values, and for UTC, when it is connected; see the ``_sessions``
        modules. :meth:`prepare_ddl_session` restores the application's settings in a session, because the
        statements of a revision depend on them. ``pending`` must not depend on them.
        """
        return contextlib.nullcontext()

    def lock_wait(self, seconds: float) -> float:
        """Returns the effective lock timeout, in seconds, for a configured one of *seconds*.

        Some servers take whole seconds only.
        """
        return seconds

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        """Prepares a session for the statements of revisions.

        *lock_timeout*: the limit of each lock wait, in seconds. *session_timeout*: the time, in seconds,
        after which the server ends the idle session, and releases its locks, if this host vanishes.

        The session gets the application's settings, so a statement of a revision has the same meaning as in
        a session of the application; see :meth:`exact`.
        """
        raise NotImplementedError

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, durable: bool = True
    ) -> None:
        """Prepares a session for chunks: isolation level, lock timeout, idle timeout.

        *idle_timeout*: the time, in seconds, after which the server ends the idle session, and releases the
        row locks of its chunk, if this process hangs.

        *durable*: False if a commit need not be durable when the server acknowledges it. A crash of the
        server may then undo the last commits, each one completely and in order: a commit survives only if
        every commit before it survives.
        """
        if self.chunk_isolation is not None:
            set_isolation(connection, self.chunk_isolation)

    @contextlib.contextmanager
    def read_transaction(self, connection: Connection) -> Iterator[None]:
        """The transactions that begin inside the block, on a data connection, only read."""
        yield

    @contextlib.contextmanager
    def write_transaction(self, connection: Connection) -> Iterator[None]:
        """The transactions that begin inside the block write: they take a write lock when they begin, on a
        server that cannot wait for it later."""
        yield

    def read_only(self, connection: Connection) -> None:
        """Makes the server refuse writes in every transaction of the session."""

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        """Limits every query inside the block to *seconds*; a longer one fails with a statement timeout.

        See :meth:`is_statement_timeout`.
        """
        raise NotImplementedError
        yield
