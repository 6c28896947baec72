"""The capabilities that the engine asks of a server, with the behaviour most servers share."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate.dialects.blame import (
    CERTAINLY_SMALL,
    Blame,
    StatementTooLarge,
    largest_size,
    statement_size,
)
from online_migrate.dialects.bulk import BulkWriter
from online_migrate.dialects.catalog import Catalog
from online_migrate.dialects.errors import driver_error_of, set_isolation
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.statement import Kind, altered_table
from online_migrate.dialects.values.exact import Codec, exact_key
from online_migrate.sql.classify import classify
from online_migrate.sql.effect import Effect, Expected
from online_migrate.sql.effects import derive
from online_migrate.sql.verdict import Classification, Impact

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, Row

_REBUILD_HINT = """\
every reader would wait while the table is rebuilt.
     Drop what stands in the way (an index on the column) first, or rebuild the table online before it
     (ALTER TABLE {table} FORCE, LOCK=NONE). For a compressed table, or one with a FULLTEXT index, see
     "Tables that cannot be changed in an instant" in docs/writing.md; where readers may wait, write
     rebuilds = ({table!r},) into the contract script"""

registry: dict[str, type[Dialect]] = {}
OWN_SESSIONS = "online_migrate_own_sessions"
"""In ``connection.info``: the numbers of other sessions of the same command, which block nobody."""
_LIMIT = "online_migrate_statement_limit"


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
    lock_is_of_a_name: ClassVar[bool] = False
    """:meth:`lock_tables` locks a table under one name, which a query may use once."""
    chunk_isolation: ClassVar[IsolationLevel | None] = "READ COMMITTED"
    """The isolation level of the transaction of a chunk."""
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
    location_hint: ClassVar[str] = "give the database in the URL (--url), and take it out of env.py"
    """How a setting of :meth:`location` is made for every connection."""
    row_value_ranges: ClassVar[bool] = True
    """``(a, b) > (1, 2)`` is answered from an index on ``(a, b)``."""

    enforces_length: ClassVar[bool] = True
    """A text that is longer than its VARCHAR column is refused."""

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

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        """How many bytes of a statement the server accepts, and the name of that limit; asks the session."""
        return None

    def refuse_large_statements(self, engine: Engine) -> None:
        """Keeps back a statement for which the server would close the session, and its reason with it.

        Raises a DataError with :class:`~.blame.StatementTooLarge` inside.
        """

        @event.listens_for(engine, "before_cursor_execute")
        def _measure(
            connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
        ) -> None:
            most = largest_size(statement, parameters)
            if most <= CERTAINLY_SMALL:
                return
            if _LIMIT not in connection.info:
                connection.info[_LIMIT] = self.statement_limit(connection)
            if connection.info[_LIMIT] is None:
                return
            limit, name = connection.info[_LIMIT]
            if most < limit:
                return
            literal = getattr(connection.connection.dbapi_connection, "literal", None)
            size, value = statement_size(statement, parameters, limit, literal)
            if size < limit:
                return
            reason = (
                f"the statement has {size:,} bytes, its largest value {value:,} bytes; {name} is {limit:,}"
            )
            raise exc.DataError(statement, None, StatementTooLarge(*self.too_large_error(reason)))

    def too_large_error(self, reason: str) -> tuple[Any, ...]:
        """The arguments of the error that the server gives for a statement that is too large."""
        return (reason,)

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

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """What :meth:`is_locked` compares with; taken right after :meth:`lock_tables`."""
        raise NotImplementedError

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        """True if the server says that this session has held the lock since *proof* was taken."""
        raise NotImplementedError

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
    missing_codes: ClassVar[frozenset[object]] = frozenset()
    """A statement names a table, a column, a function or a type that does not exist."""

    def code_of(self, error: BaseException) -> object:
        """The server's own error code, from wherever the driver keeps it."""
        raise NotImplementedError

    def is_lock_timeout(self, error: BaseException) -> bool:
        """Somebody else kept a lock for longer than we wait."""
        return self._code(error) in self.lock_timeout_codes

    def is_statement_timeout(self, error: BaseException) -> bool:
        """The bound of :meth:`statement_timeout` was reached."""
        return self._code(error) in self.statement_timeout_codes

    size_codes: ClassVar[frozenset[object]] = frozenset()
    """The statement, or the transaction, is too large, or takes too long: fewer rows may succeed."""
    migration_codes: ClassVar[frozenset[object]] = frozenset()
    """The same statement fails for every row."""

    def blame(self, error: BaseException) -> Blame:
        """What an error of a chunk is attributed to; an error that is not known, to a row. Pure.

        A session may have ended as well: see :meth:`is_connection_lost`.
        """
        code = self._code(error)
        if code in self.size_codes or isinstance(driver_error_of(error), StatementTooLarge):
            return Blame.SIZE
        if self.is_connection_lost(error):
            return Blame.CONNECTION
        if self.is_transient(error):
            return Blame.REPEAT
        return Blame.MIGRATION if code in self.migration_codes else Blame.ROW

    def is_systemic(self, error: BaseException) -> bool:
        """No row is to blame: the same statement would fail with any other."""
        return self.blame(error) is Blame.MIGRATION

    def is_transient(self, error: BaseException) -> bool:
        """The same transaction may succeed when it is repeated, on the same connection."""
        return self._code(error) in self.conflict_codes | self.lock_timeout_codes

    def exists_already(self, error: BaseException) -> bool:
        """What was to be made is there: a table, a column, an index, a row with that key."""
        return self._code(error) in self.existing_codes

    def is_missing_object(self, error: BaseException) -> bool:
        """A table, a column or a function that the statement names does not exist."""
        return self._code(error) in self.missing_codes

    def is_connection_lost(self, error: BaseException) -> bool:
        """The session is gone: the server stopped, or the network did."""
        if isinstance(driver_error_of(error), StatementTooLarge):
            return False
        if isinstance(error, exc.PendingRollbackError):
            # The session was lost in an earlier statement of the transaction that is open.
            return True
        code = self._code(error)
        return code in self.connection_codes or bool(getattr(error, "connection_invalidated", False))

    def _code(self, error: BaseException) -> object:
        driver_error = driver_error_of(error)
        return None if driver_error is None else self.code_of(driver_error)

    # --- data ------------------------------------------------------------------------------------

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        """A column of a key as it is read, sorted and compared, so that all three agree.

        What was read must be found again, and must be neither above nor below itself. *codec*: how its
        values are read and written exactly, see :meth:`value_codecs`.
        """
        return exact_key(column, codec)

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        """How values are read and written exactly: of the columns, by key, for which the driver, or
        SQLAlchemy, would change them on the way."""
        return {}

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

    def visibility_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Why a query of this table may not see all of its rows, or sees those of another table."""
        raise NotImplementedError

    def functions_problem(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        """Why an expression may read tables that its *text* does not name.

        *called*: the names in it that are followed by a parenthesis; *words*: all names in it.
        """
        raise NotImplementedError

    def folded(self, name: str, *, quoted: bool) -> str:
        """A name in a SQL text as the server's catalog has it."""
        return name

    def location(self, connection: Connection) -> dict[str, str]:
        """What a session's settings say about the tables that a name means, and about what it may see."""
        raise NotImplementedError

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

    catalog: ClassVar[type[Catalog]] = Catalog
    """What reads single objects of the server's catalog."""

    def expected(self, statement: str) -> Expected:
        """What a DDL statement does to the catalog, as far as it can be read off it."""
        return derive(statement, self.name)

    def holds(self, connection: Connection, effect: Effect) -> bool | None:
        """True if the effect of a statement is in the catalog, False if not; None: that cannot be read."""
        return self.catalog(connection).holds(effect)

    def widening(self, table: str, column: str) -> str:
        """The statement that makes room for 255 characters in a VARCHAR column that is never NULL."""
        return f"ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR(255)"

    def commits_by_itself(self, connection: Connection, statement: str) -> bool:
        """True if what a statement does to rows cannot be in one transaction with its record."""
        return False

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        """The statements that make again what the statement *drop* drops: a trigger, or its function.

        None where there is no such thing, or where nothing needs to be undone by hand.
        """
        return None

    def indexes_of_column(
        self, connection: Connection, table: str, column: str, schema: str | None = None
    ) -> list[str]:
        """The indexes that a metadata-only DROP COLUMN stumbles over."""
        return []

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        """What *statement*, of a contract revision, has to do with the lock.

        *autocommit* says that it runs in Alembic's ``autocommit_block``, where no lock lasts.
        """
        impact = self.classify(statement).impact
        if impact is Impact.ADDITIVE:
            # In the transaction that holds the lock everything runs under it.
            return Kind.OUTSIDE if autocommit else Kind.LOCKED
        return _KINDS.get(impact, Kind.LOCKED)

    def classify(self, statement: str) -> Classification:
        """What *statement* does, with the reason and the hint of a refusal."""
        return classify(statement, self.name)

    def forms_outside_lock(self, statement: str) -> Sequence[str]:
        """The forms of a statement to try without the lock, where a row may become pending at any time."""
        return [statement]

    def forms_under_lock(self, statement: str) -> Sequence[str]:
        """The forms of a DDL statement to try under the lock, the cheapest first."""
        return [statement]

    def no_form(self, statement: str) -> Problem:
        """Why the statement is sent only in forms that the server refused."""
        return Problem(
            reason="the server cannot do it by changing metadata alone",
            hint=_REBUILD_HINT.format(table=altered_table(statement) or "TABLE"),
        )

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


_KINDS = {Impact.READ: Kind.READ, Impact.CONTROL: Kind.CONTROL, Impact.REFUSED: Kind.REFUSED}
