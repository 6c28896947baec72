"""The capabilities that the engine needs from a server, with the behaviour that most servers share."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import IsolationLevel

from online_migrate.deferred_import import defer_import
from online_migrate.dialects.blame import (
    CERTAINLY_SMALL,
    Blame,
    StatementTooLarge,
    largest_size,
    statement_size,
)
from online_migrate.dialects.catalog import Catalog
from online_migrate.dialects.problem import Problem
from online_migrate.driver_errors import driver_error_of, set_isolation
from online_migrate.sql.catalog_effects.derive import derive
from online_migrate.sql.catalog_effects.effect import Effect, Expected
from online_migrate.sql.classification.classify import classify
from online_migrate.sql.classification.verdict import Classification, Impact
from online_migrate.sql.statement import Kind, altered_table
from online_migrate.values.exact import Codec, exact_key
from online_migrate.writers.bulk import BulkWriter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, Row

_REBUILD_HINT = """\
the table would be rebuilt, which blocks all readers.
     First drop what prevents the metadata-only form (an index on the column), or rebuild the table online
     (ALTER TABLE {table} FORCE, LOCK=NONE). For a compressed table, or one with a FULLTEXT index, see
     "Tables that cannot be changed in an instant" in docs/writing.md; if readers may wait, write
     rebuilds = ({table!r},) into the contract script"""

registry: dict[str, type[Dialect]] = {}
OWN_STATEMENT = "online_migrate_own_statement"
"""In ``connection.info`` while the engine itself begins a transaction of the connection of a script."""
OWN_SESSIONS = "online_migrate_own_sessions"
"""Key of ``connection.info``: the session ids of the other sessions of this command. They are not reported
as blockers."""
_LIMIT = "online_migrate_statement_limit"


@dataclasses.dataclass(frozen=True)
class LockTarget:
    """A table to lock, and the alias under which a query reads it; None: under its own name."""

    table: str
    schema: str | None = None
    alias: str | None = None


class Dialect:
    """One database server. Subclasses register themselves by :attr:`name` and override what differs.

    The connections passed to these methods are SQLAlchemy connections; durations are in seconds. Unless a
    docstring names an error, an error of the server reaches the caller as one of
    :data:`~online_migrate.driver_errors.DATABASE_ERRORS`.
    """

    name: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    """The extra of this distribution that installs the server's default driver."""

    transactional_ddl: ClassVar[bool] = True
    """A revision is one transaction: after a kill, it is applied completely or not at all."""
    metadata_only_under_lock: ClassVar[bool] = False
    """Only statements that change metadata run under the lock of :meth:`lock_tables`, because that lock
    blocks readers for as long as a statement under it runs."""
    lock_is_of_a_name: ClassVar[bool] = False
    """:meth:`lock_tables` locks a table under one name or alias, and a query may use that name once."""
    chunk_isolation: ClassVar[IsolationLevel | None] = "READ COMMITTED"
    """The isolation level of the transaction of a chunk."""
    chunk_pause: ClassVar[float] = 0.0
    """Minimum pause between two chunks, in seconds, on a server that does not queue the writers that wait
    for its lock."""
    ddl_isolation: ClassVar[IsolationLevel | None] = None
    """The isolation level of the transaction of a revision; None: the session's default."""
    single_writer: ClassVar[bool] = False
    """A write transaction blocks every other writer of the database: a second worker would only wait."""
    streams: ClassVar[bool] = False
    """The server lists the servers that stream its log; see :meth:`replication_positions`."""
    has_history: ClassVar[bool] = False
    """The server keeps old row versions in a separate history (undo) for as long as a transaction may read
    them."""
    update_returning: ClassVar[bool] = False
    """An UPDATE can be part of a query, and the query reads the rows in the state after the UPDATE."""
    location_hint: ClassVar[str] = "set the database in the URL (--url), and remove it from env.py"
    """The hint that explains how to make a setting of :meth:`location` for every connection."""
    row_value_ranges: ClassVar[bool] = True
    """The server uses an index on ``(a, b)`` for ``(a, b) > (1, 2)``."""

    enforces_length: ClassVar[bool] = True
    """The server refuses a text that is longer than its VARCHAR column."""

    def __init_subclass__(cls) -> None:
        if cls.name:
            registry[cls.name] = cls

    # --- engines and sessions --------------------------------------------------------------------

    def create_engine(self, url: sa.URL) -> Engine:
        """Returns an engine for *url*; it is not connected.

        oslo.db creates it, with its exception filters, its guards against forks and its pool settings.
        """
        # oslo.db imports its models, and so SQLAlchemy's ORM, which takes as long as half of Core.
        defer_import("oslo_db.sqlalchemy.models")
        from oslo_db.sqlalchemy import engines

        engine: Engine = engines.create_engine(url, max_retries=0)
        return engine

    def refuse_shared_sessions(self, engine: Engine, *, sessions_declared: bool) -> None:
        """Makes the first connection of *engine* fail if a pooler shares its sessions between clients.

        *sessions_declared*: True if the settings declare that the pooler keeps one session for each client.
        The connection attempt raises :class:`~online_migrate.exceptions.SharedSessions`.
        """

    def exact(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        """Inside the block a DDL session evaluates expressions in the same way as the data sessions.

        Every session is configured for exact values, and for UTC, when it is connected; see the ``_session``
        modules. :meth:`prepare_ddl_session` restores the application's settings in a session, because the
        statements of a revision depend on them. ``pending`` must not depend on them.
        """
        return contextlib.nullcontext()

    def statement_limit(self, connection: Connection) -> tuple[int, str] | None:
        """Returns the largest statement that the server accepts, in bytes, and the name of that limit.

        Reads it from the session where it is a setting. None: there is no such limit.
        """
        return None

    def refuse_large_statements(self, engine: Engine) -> None:
        """Refuses a statement of *engine* that is too large, before it is sent.

        The server would close the session at such a statement, and the reason would be lost with it. The
        execution raises a :class:`sqlalchemy.exc.DataError` that wraps
        :class:`~online_migrate.dialects.blame.StatementTooLarge`.
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
        """Returns the arguments of the driver error that the server causes for a statement that is too large.

        *reason*: the message.
        """
        return (reason,)

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

    def index_hint(self, connection: Connection, table: sa.Table, index: str | None) -> str | None:
        """Returns the SQL hint that makes a statement on a key range use the index of its keys.

        *index*: the name of that index; None: the primary key. Returns None if there is no hint to give.
        """
        return None

    def epoch(self) -> sa.ColumnElement[int]:
        """Returns the SQL expression of the server's clock: whole seconds since 1970 (Unix time)."""
        raise NotImplementedError

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        """Returns the server's current load counters: those of *names* that the server has."""
        return {}

    def replication_positions(self, connection: Connection) -> tuple[int, dict[str, int | None]]:
        """Returns the log position of this server, and the replay position of each server that streams it.

        Positions are in bytes, the replicas by name; None: this user may not read the position. Returns
        ``(0, {})`` if no server streams the log, or if the server cannot report positions.
        """
        return 0, {}

    def flow_control(self, connection: Connection) -> float | None:
        """Returns the total time, in seconds, for which flow control has paused the writers of the cluster.

        None: the server is not a node of a cluster.
        """
        return None

    def session_id(self, connection: Connection) -> int:
        """Returns the session id that the server uses in its lock views; 0 if the server has none."""
        return 0

    # --- locks -----------------------------------------------------------------------------------

    def blocked_by(self, connection: Connection, sessions: Sequence[int]) -> int:
        """Returns the number of other sessions that wait for locks held by *sessions*.

        *sessions*: session ids, see :meth:`session_id`.
        """
        return 0

    def try_named_lock(self, connection: Connection, name: str) -> bool:
        """Tries to take the named lock *name* for the session of *connection*, without waiting.

        Returns False if another session holds it. The server releases the lock when the session ends, for
        whatever reason.
        """
        raise NotImplementedError

    def sees_all_sessions(self, connection: Connection) -> bool:
        """Returns True if a free named lock proves that the session that took it has ended.

        False where named locks are local to one node of a cluster.
        """
        return True

    def free_named_lock(self, connection: Connection, name: str) -> None:
        """Releases the named lock *name* that :meth:`try_named_lock` took."""
        raise NotImplementedError

    def lock_tables(self, connection: Connection, targets: Sequence[LockTarget]) -> None:
        """Locks the tables: no other session reads or writes them until :meth:`unlock_tables`.

        Raises an error for which :meth:`is_lock_timeout` is true if another session holds a lock for longer
        than the lock timeout of the session.
        """
        raise NotImplementedError

    def unlock_tables(self, connection: Connection) -> None:
        """Releases the locks of :meth:`lock_tables`, where the end of the transaction does not."""

    def lock_proof(self, connection: Connection, targets: Sequence[LockTarget]) -> object:
        """Returns the value with which :meth:`is_locked` compares; call it directly after
        :meth:`lock_tables`."""
        raise NotImplementedError

    def is_locked(self, connection: Connection, targets: Sequence[LockTarget], proof: object) -> bool:
        """Returns True if the server confirms that this session has held the lock since *proof* was taken.

        *proof*: the result of :meth:`lock_proof`.
        """
        raise NotImplementedError

    def blocking_sessions(self, connection: Connection, tables: Sequence[str]) -> list[str]:
        """Returns the sessions whose locks block DDL on *tables*: one readable line for each session."""
        return []

    # --- errors ----------------------------------------------------------------------------------

    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset()
    """Another session held a lock for longer than the lock timeout."""
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset()
    """A statement ran for longer than its limit."""
    conflict_codes: ClassVar[frozenset[object]] = frozenset()
    """Deadlocks and serialization failures: the transaction was rolled back and can be repeated."""
    existing_codes: ClassVar[frozenset[object]] = frozenset()
    """The object to create exists already. If it is not an error of the script, another process has just
    created it."""
    connection_codes: ClassVar[frozenset[object]] = frozenset()
    """The session has ended, or could not be opened."""
    missing_codes: ClassVar[frozenset[object]] = frozenset()
    """A statement names a table, a column, a function or a type that does not exist."""

    def code_of(self, error: BaseException) -> object:
        """Returns the server's code of a driver error: a number, a SQLSTATE or a name; None: it has none."""
        raise NotImplementedError

    def is_lock_timeout(self, error: BaseException) -> bool:
        """Returns True if another session held a lock for longer than the lock timeout."""
        return self._code(error) in self.lock_timeout_codes

    def is_statement_timeout(self, error: BaseException) -> bool:
        """Returns True if the limit of :meth:`statement_timeout` was reached."""
        return self._code(error) in self.statement_timeout_codes

    size_codes: ClassVar[frozenset[object]] = frozenset()
    """The statement or the transaction is too large, or runs too long: fewer rows may succeed."""
    migration_codes: ClassVar[frozenset[object]] = frozenset()
    """The same statement fails for every row."""

    def blame(self, error: BaseException) -> Blame:
        """Returns the cause to which an error of a chunk is attributed. Pure.

        An error with an unknown code is attributed to a row. The session may have ended in addition: see
        :meth:`is_connection_lost`.
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
        """Returns True if no row causes the error: the same statement would fail for every other row."""
        return self.blame(error) is Blame.MIGRATION

    def is_transient(self, error: BaseException) -> bool:
        """Returns True if the same transaction may succeed when it is repeated on the same connection."""
        return self._code(error) in self.conflict_codes | self.lock_timeout_codes

    def is_already_there(self, error: BaseException) -> bool:
        """Returns True if the object to create exists: a table, a column, an index, a row with that key."""
        return self._code(error) in self.existing_codes

    def is_missing_object(self, error: BaseException) -> bool:
        """Returns True if a table, a column or a function that the statement names does not exist."""
        return self._code(error) in self.missing_codes

    def is_connection_lost(self, error: BaseException) -> bool:
        """Returns True if the session has ended: the server stopped, or the network failed."""
        if isinstance(driver_error_of(error), StatementTooLarge):
            return False
        if isinstance(error, exc.PendingRollbackError):
            # An earlier statement of the open transaction lost the session.
            return True
        code = self._code(error)
        return code in self.connection_codes or bool(getattr(error, "connection_invalidated", False))

    def _code(self, error: BaseException) -> object:
        driver_error = driver_error_of(error)
        return None if driver_error is None else self.code_of(driver_error)

    # --- data ------------------------------------------------------------------------------------

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        """Returns the expression by which a column of a key is read, sorted and compared.

        The three must agree: a value that was read must be found again, and must sort neither above nor
        below itself. *codec*: how the values are read and written exactly, see :meth:`value_codecs`.
        """
        return exact_key(column, codec)

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        """Returns the codecs that read and write values exactly: key of the column -> codec.

        Only for columns whose values the driver or SQLAlchemy would change during a read or a write.
        """
        return {}

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        """Returns the fastest writer of different values into many rows; see
        :mod:`online_migrate.writers.bulk`.

        *key*: the expressions of the key. *constant*: the keys of the columns that the UPDATE sets to
        themselves, so that the server does not change them, see :meth:`self_updating_columns`. *hint*: the
        hint that makes the server find the rows by their key, see :meth:`index_hint`.
        """
        return BulkWriter(table, key, constant)

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        """Returns the SQL expression of a row's version: a text that changes whenever one of *columns* does.

        *name*: the name or alias of *table* in the statement. None: the server has no such expression, and
        the rows are compared by the values that were read.
        """
        return None

    def unreadable(self, version: object) -> str | None:
        """Returns the reason why a client cannot read the values of a row exactly; None if it can.

        *version*: the version of the row, see :meth:`row_version`.
        """
        return None

    def self_updating_columns(self, connection: Connection, table: sa.Table) -> list[str]:
        """Returns the keys of the columns that the server changes by itself whenever a row is updated."""
        return []

    def check_data_server(self, connection: Connection) -> Problem | None:
        """Returns why rows cannot be migrated on this server with its current settings; None if they can."""
        return None

    def check_table(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Returns why the rows of this table cannot be migrated safely; None if they can."""
        return None

    def check_visibility(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Returns why a query of this table may not return all of its rows, or returns rows of another table.

        None: the query returns every row of this table.
        """
        raise NotImplementedError

    def check_functions(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        """Returns why an expression may read tables that its *text* does not name; None if it does not.

        *called*: the names in the text that are followed by a parenthesis; *words*: all names in it.
        """
        raise NotImplementedError

    def folded(self, name: str, *, quoted: bool) -> str:
        """Returns *name*, as written in a SQL text, in the form that the server's catalog stores."""
        return name

    def location(self, connection: Connection) -> dict[str, str]:
        """Returns the settings of the session that decide which table a name refers to, and which rows the
        session may read: setting -> value."""
        raise NotImplementedError

    def check_contract_server(self, connection: Connection) -> Problem | None:
        """Returns why the verification under a table lock would prove nothing on this server; None if it
        does prove that no row is pending."""
        return None

    def text_encoding(self, connection: Connection) -> str:
        """Returns Python's name of an encoding whose characters can all be stored in the database."""
        return "utf-8"

    # --- the catalog -----------------------------------------------------------------------------

    def has_table(self, connection: Connection, name: str, schema: str | None = None) -> bool:
        """Returns True if the table exists, also while another session changes it."""
        return sa.inspect(connection).has_table(name, schema=schema)

    catalog: ClassVar[type[Catalog]] = Catalog
    """The class that reads single objects of the server's catalog."""

    def expected(self, statement: str) -> Expected:
        """Returns the effects of a DDL statement on the catalog, as far as its text determines them."""
        return derive(statement, self.name)

    def holds(self, connection: Connection, effect: Effect) -> bool | None:
        """Returns True if the catalog shows the effect of a statement, False if not; None: it is unknown."""
        return self.catalog(connection).holds(effect)

    def widening(self, table: str, column: str) -> str:
        """Returns the statement that widens a NOT NULL VARCHAR column to 255 characters."""
        return f"ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR(255)"

    def commits_by_itself(self, connection: Connection, statement: str) -> bool:
        """Returns True if the changes of a statement to rows and the statement's journal record cannot be in
        one transaction."""
        return False

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        """Returns the statements that create again the trigger, or its function, that *drop* drops.

        *drop*: a DROP statement. None: it drops no such object, or no explicit undo is needed.
        """
        return None

    def indexes_of_column(
        self, connection: Connection, table: str, column: str, schema: str | None = None
    ) -> list[str]:
        """Returns the names of the indexes that make the server refuse a metadata-only DROP COLUMN."""
        return []

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        """Returns whether *statement*, of a contract revision, runs under the table lock.

        *autocommit*: True if it runs in Alembic's ``autocommit_block``, where no lock persists.
        """
        impact = self.classify(statement).impact
        if impact is Impact.ADDITIVE:
            # Outside of an autocommit block every statement runs in the transaction that holds the lock.
            return Kind.UNLOCKED if autocommit else Kind.LOCKED
        return _KINDS.get(impact, Kind.LOCKED)

    def classify(self, statement: str) -> Classification:
        """Returns the impact of *statement*, and for a refused one the reason and the hint."""
        return classify(statement, self.name)

    def forms_outside_lock(self, statement: str) -> Sequence[str]:
        """Returns the forms of a statement to try without the lock, where rows may become pending at any
        time."""
        return [statement]

    def metadata_only_forms(self, statement: str) -> Sequence[str]:
        """Returns the forms of a DDL statement to try under the lock, the cheapest first."""
        return [statement]

    def no_form(self, statement: str) -> Problem:
        """Returns the reason and the hint for a statement that the server refused in every permitted form."""
        return Problem(
            reason="the server cannot execute it as a metadata-only change",
            hint=_REBUILD_HINT.format(table=altered_table(statement) or "TABLE"),
        )

    def is_refused_algorithm(self, error: BaseException) -> bool:
        """Returns True if the server refused the statement in the requested form, such as its ALGORITHM."""
        return False

    @contextlib.contextmanager
    def around_revision(
        self, connection: Connection, *, accepted_losses: Sequence[str] = ()
    ) -> Iterator[None]:
        """Runs the checks before and after the statements of a revision; see the dialect of SQLite.

        *accepted_losses*: the losses of a copied table that the script declares.
        """
        yield

    @contextlib.contextmanager
    def lock_timeout_for(self, connection: Connection, statement: str) -> Iterator[None]:
        """Sets a longer lock timeout inside the block for a statement whose lock wait blocks no other
        session."""
        yield

    def clean_up(self, connection: Connection, statement: str) -> None:
        """Removes what a statement leaves in the schema when it fails, or when its client is killed."""

    def after_statement(self, connection: Connection, statement: str) -> None:
        """Is called after every statement of a revision that changed something."""

    def before_statement(self, connection: Connection, statement: str) -> None:
        """Is called before every statement of a revision that changes something."""

    # --- helpers of the subclasses ---------------------------------------------------------------

    @staticmethod
    def rows(connection: Connection, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        """Returns all rows of a catalog query."""
        return connection.execute(sa.text(query), parameters).all()


_KINDS = {Impact.READ: Kind.READ, Impact.CONTROL: Kind.CONTROL, Impact.REFUSED: Kind.REFUSED}
