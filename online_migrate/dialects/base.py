"""The capabilities that the engine asks of a server, with the behaviour most servers share."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate.dialects.bulk import BulkWriter
from online_migrate.dialects.errors import driver_error_of, set_isolation
from online_migrate.dialects.statement import Kind, is_destructive, is_read

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, Row

registry: dict[str, type[Dialect]] = {}


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why this server, as it is set now, cannot be used for something; *hint* is the way out."""

    reason: str
    hint: str


@dataclasses.dataclass(frozen=True)
class LockTarget:
    """A table to lock, and the alias under which a query reads it, if any."""

    table: str
    schema: str | None = None
    alias: str | None = None


class Dialect:
    """One database server. Subclasses register themselves by :attr:`name` and override what differs.

    Connections given to these methods are SQLAlchemy connections; durations are in seconds.
    """

    name: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    """The extra of this distribution that installs the server's usual driver."""

    transactional_ddl: ClassVar[bool] = True
    """A revision is one transaction: after a kill, all or nothing of it is there."""
    metadata_only_under_lock: ClassVar[bool] = False
    """The table lock of :meth:`lock_tables` stops readers for as long as a statement under it runs."""
    chunk_isolation: ClassVar[IsolationLevel | None] = "READ COMMITTED"
    """The isolation level of the transaction of a chunk."""
    frees_locks: ClassVar[frozenset[str]] = frozenset({"COMMIT", "END", "ABORT", "ROLLBACK"})
    """The verbs that free what :meth:`lock_tables` holds."""
    courtesy: ClassVar[float] = 0.0
    """Seconds to leave between two chunks, where writers who wait for the lock stand in no queue."""
    ddl_isolation: ClassVar[IsolationLevel | None] = None
    """The isolation level of the transaction of a revision, where the usual one will not do."""
    single_writer: ClassVar[bool] = False
    """Whoever writes keeps everybody else from writing: a second worker would only wait."""
    streams: ClassVar[bool] = False
    """It knows the servers that stream its log; see :meth:`replayed`."""
    has_history: ClassVar[bool] = False
    """It keeps old versions of rows apart, for as long as anybody may see them."""
    update_returning: ClassVar[bool] = False
    """An UPDATE can be a part of a query, which sees the rows as they are after it."""
    row_value_ranges: ClassVar[bool] = True
    """``(a, b) > (1, 2)`` is answered from an index on ``(a, b)``."""

    def __init_subclass__(cls) -> None:
        if cls.name:
            registry[cls.name] = cls

    # --- engines and sessions --------------------------------------------------------------------

    def create_engine(self, url: sa.URL) -> Engine:
        """An engine by oslo.db: its exception filters, its guards against forks, its pool settings."""
        from oslo_db.sqlalchemy import engines

        engine: Engine = engines.create_engine(url, max_retries=0)
        return engine

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        """Inside the block a session for DDL evaluates expressions as the sessions for data do.

        Every session is set up for exact values when it is connected, and is at UTC; see the ``_session``
        modules. :meth:`prepare_ddl_session` gives a session the application's settings back, because the
        statements of a revision depend on them. ``pending`` must not.
        """
        return contextlib.nullcontext()

    def lock_wait(self, seconds: float) -> float:
        """How long a lock is really waited for: some servers know whole seconds only."""
        return seconds

    def prepare_ddl_session(
        self, connection: Connection, *, lock_timeout: float, session_timeout: float
    ) -> None:
        """Bounds every lock wait of the session, and how long its locks outlive this host.

        Statements of revisions mean in it what they mean in the application's sessions; see :meth:`exact`.
        """
        raise NotImplementedError

    def prepare_data_session(
        self, connection: Connection, *, idle_timeout: float, lasting: bool = True
    ) -> None:
        """Sets the isolation level of chunks, bounds their lock waits, and says after how long the server
        ends the session, and with it the locks of a chunk, if this process stands still.

        *lasting*: False where a commit need not be on the disk when it is answered: a server that crashes
        may take the last ones back, whole, and no later one without all before it.
        """
        if self.chunk_isolation is not None:
            set_isolation(connection, self.chunk_isolation)

    @contextlib.contextmanager
    def looking(self, connection: Connection) -> Iterator[None]:
        """The transactions that are begun inside the block, on a connection for chunks, only read."""
        yield

    @contextlib.contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """The transactions that are begun inside the block are going to write."""
        yield

    def read_only(self, connection: Connection) -> None:
        """Makes the server keep every transaction of the session from writing."""

    @contextlib.contextmanager
    def statement_timeout(self, connection: Connection, seconds: float) -> Iterator[None]:
        """Bounds every query inside the block; a longer one fails with a statement timeout."""
        raise NotImplementedError
        yield

    def index_hint(self, connection: Connection, table: sa.Table, index: str | None) -> str | None:
        """What makes a statement on a range of keys use their *index*, or the primary key; None: nothing."""
        return None

    def epoch(self) -> sa.ColumnElement[int]:
        """The server's clock, in SQL: whole seconds since 1970."""
        raise NotImplementedError

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        """What the server is busy with just now: its own counters, those of *names* that it has."""
        return {}

    def replayed(self, connection: Connection) -> tuple[int, dict[str, int | None]]:
        """How far this server has written its log, and how far each server that streams it has replayed it.

        In bytes; None: this user may not see it. Without streaming, or where nobody can tell: ``(0, {})``.
        """
        return 0, {}

    def flow_control(self, connection: Connection) -> float | None:
        """For how many seconds the cluster has held back its writers by now; None: this is no cluster."""
        return None

    def session_id(self, connection: Connection) -> int:
        """The server's number for the session."""
        return 0

    # --- locks -----------------------------------------------------------------------------------

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        """How many other sessions wait for locks that *sessions* hold."""
        return 0

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        """Takes the lock *name* for the session of *connection*, or says at once that it is taken.

        The server frees it when the session ends, however it ends.
        """
        raise NotImplementedError

    def sees_all_sessions(self, connection: Connection) -> bool:
        """A named lock that nobody holds proves that the session which took it has ended."""
        return True

    def free_named_lock(self, connection: Connection, name: str) -> None:
        """Frees what :meth:`try_named_lock` took."""
        raise NotImplementedError

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        """Keeps every other session from reading and writing the tables, until :meth:`unlock_tables`."""
        raise NotImplementedError

    def unlock_tables(self, connection: Connection) -> None:
        """Ends :meth:`lock_tables`, where the end of the transaction does not."""

    def blocking_sessions(self, connection: Connection, tables: Sequence[str]) -> list[str]:
        """Who holds locks that DDL on *tables* waits for: a line each, for a person to read."""
        return []

    # --- errors ----------------------------------------------------------------------------------

    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset()
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset()
    conflict_codes: ClassVar[frozenset[object]] = frozenset()
    """Deadlocks and serialization failures: the transaction was rolled back and can be repeated."""
    existing_codes: ClassVar[frozenset[object]] = frozenset()
    """What was to be made is there already; where it is nobody's mistake somebody else has just made it."""
    connection_codes: ClassVar[frozenset[object]] = frozenset()

    def code_of(self, error: BaseException) -> object:
        """The server's own error code, from wherever the driver keeps it."""
        raise NotImplementedError

    def is_lock_timeout(self, error: BaseException) -> bool:
        """Somebody else kept a lock for longer than we wait."""
        return self._code(error) in self.lock_timeout_codes

    def is_statement_timeout(self, error: BaseException) -> bool:
        """The bound of :meth:`statement_timeout` was reached."""
        return self._code(error) in self.statement_timeout_codes

    def is_systemic(self, error: BaseException) -> bool:
        """No row is to blame: the same statement would fail with any other."""
        raise NotImplementedError

    def is_transient(self, error: BaseException) -> bool:
        """The same transaction may succeed when it is repeated, on the same connection."""
        return self._code(error) in self.conflict_codes | self.lock_timeout_codes

    def exists_already(self, error: BaseException) -> bool:
        """What was to be made is there: a table, a column, an index, a row with that key."""
        return self._code(error) in self.existing_codes

    def is_connection_lost(self, error: BaseException) -> bool:
        """The session is gone: the server stopped, or the network did."""
        code = self._code(error)
        return code in self.connection_codes or bool(getattr(error, "connection_invalidated", False))

    def _code(self, error: BaseException) -> object:
        driver_error = driver_error_of(error)
        return None if driver_error is None else self.code_of(driver_error)

    # --- data ------------------------------------------------------------------------------------

    def key_expression(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """A column of a key as it is read, sorted and compared, so that all three agree.

        What was read must be found again, and must be neither above nor below itself.
        """
        return column

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        """The fastest way to write different values into many rows; see :mod:`.bulk`.

        *hint*: what makes the server find them by their key, see :meth:`index_hint`.
        """
        return BulkWriter(table, key, constant)

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        """SQL, a text, that changes whenever one of *columns* does in a row of *table*, called *name*.

        None: there is no such, and rows are compared as they are read.
        """
        return None

    def unreadable(self, version: object) -> str | None:
        """Why the values of a row at that *version*, see :meth:`row_version`, do not reach a client as they
        are stored, if they do not."""
        return None

    def self_updating_columns(self, connection: Connection, table: sa.Table) -> list[str]:
        """The columns that the server changes whenever a row is updated."""
        return []

    def data_problem(self, connection: Connection) -> Problem | None:
        """Why rows cannot be moved on this server as it is set now."""
        return None

    def table_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Why the rows of this table cannot be moved safely."""
        return None

    def contract_problem(self, connection: Connection) -> Problem | None:
        """Why a last look under a lock would prove nothing on this server."""
        return None

    def text_encoding(self, connection: Connection) -> str:
        """The encoding, by its name in Python, of which each character can be stored in the database."""
        return "utf-8"

    # --- the catalog -----------------------------------------------------------------------------

    def has_table(self, connection: Connection, name: str, schema: str | None = None) -> bool:
        """True if the table is there, also while somebody changes it."""
        return sa.inspect(connection).has_table(name, schema=schema)

    def fingerprint(self, connection: Connection, names: Sequence[str]) -> str:
        """A text that changes whenever the definition of a table, view or trigger in *names* does."""
        raise NotImplementedError

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        """The statements that make again what the statement *drop* drops: a trigger, or its function.

        None where there is no such thing, or where nothing needs to be undone by hand.
        """
        return None

    def indexes_of_column(self, connection: Connection, table: str, column: str) -> list[str]:
        """The indexes that a metadata-only DROP COLUMN stumbles over."""
        return []

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        """What *statement*, of a contract revision, has to do with the lock.

        *autocommit* says that it runs in Alembic's ``autocommit_block``, where no lock lasts.
        """
        if is_read(statement):
            return Kind.READ
        return Kind.OUTSIDE if autocommit and not is_destructive(statement) else Kind.LOCKED

    def forms_under_lock(self, statement: str) -> Sequence[str]:
        """The forms of a DDL statement to try under the lock, the cheapest first."""
        return [statement]

    def is_refused_algorithm(self, error: BaseException) -> bool:
        """The server says that this statement cannot be done in the form that was asked for."""
        return False

    @contextlib.contextmanager
    def around_revision(self, connection: Connection) -> Iterator[None]:
        """What must hold around the statements of a revision: see SQLite."""
        yield

    @contextlib.contextmanager
    def patience(self, connection: Connection, statement: str) -> Iterator[None]:
        """Lets a statement wait longer for its locks, where its waiting keeps nobody else waiting."""
        yield

    def tidy(self, connection: Connection, statement: str) -> None:
        """Takes away what a statement leaves behind when it fails, or when its client is killed."""

    def after_statement(self, connection: Connection, statement: str) -> None:
        """Called after every statement of a revision that changed something."""

    def before_statement(self, connection: Connection, statement: str) -> None:
        """Called before every statement of a revision that changes something."""

    # --- helpers of the subclasses ---------------------------------------------------------------

    @staticmethod
    def rows(connection: Connection, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        """All rows of a catalog query."""
        return connection.execute(sa.text(query), parameters).all()


def render_rows(sections: Mapping[str, Sequence[Row[Any]]]) -> str:
    """Catalog rows as one text, in an order that does not depend on the server's."""
    lines: list[str] = []
    for title, rows in sorted(sections.items()):
        lines.extend(sorted(f"{title}: {tuple(row)!r}" for row in rows))
    return "\n".join(lines)
