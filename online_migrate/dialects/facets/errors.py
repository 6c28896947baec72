"""The meaning of a driver error: what it is attributed to, and whether a repetition can succeed."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import exc

from online_migrate.dialects.blame import Blame, StatementTooLarge
from online_migrate.driver_errors import driver_error_of


class Errors:
    """Says what an error of the server means. Pure."""

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
    size_codes: ClassVar[frozenset[object]] = frozenset()
    """The statement or the transaction is too large, or runs too long: fewer rows may succeed."""
    migration_codes: ClassVar[frozenset[object]] = frozenset()
    """The same statement fails for every row."""

    def code_of(self, error: BaseException) -> object:
        """Returns the server's code of a driver error: a number, a SQLSTATE or a name; None: it has none."""
        raise NotImplementedError

    def _code(self, error: BaseException) -> object:
        driver_error = driver_error_of(error)
        return None if driver_error is None else self.code_of(driver_error)

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

    def is_transient(self, error: BaseException) -> bool:
        """Returns True if the same transaction may succeed when it is repeated on the same connection."""
        return self._code(error) in self.conflict_codes | self.lock_timeout_codes

    def is_lock_timeout(self, error: BaseException) -> bool:
        """Returns True if another session held a lock for longer than the lock timeout."""
        return self._code(error) in self.lock_timeout_codes

    def is_statement_timeout(self, error: BaseException) -> bool:
        """Returns True if the limit of :meth:`statement_timeout` was reached."""
        return self._code(error) in self.statement_timeout_codes

    def is_connection_lost(self, error: BaseException) -> bool:
        """Returns True if the session has ended: the server stopped, or the network failed."""
        if isinstance(driver_error_of(error), StatementTooLarge):
            return False
        if isinstance(error, exc.PendingRollbackError):
            # An earlier statement of the open transaction lost the session.
            return True
        code = self._code(error)
        return code in self.connection_codes or bool(getattr(error, "connection_invalidated", False))

    def is_already_there(self, error: BaseException) -> bool:
        """Returns True if the object to create exists: a table, a column, an index, a row with that key."""
        return self._code(error) in self.existing_codes

    def is_missing_object(self, error: BaseException) -> bool:
        """Returns True if a table, a column or a function that the statement names does not exist."""
        return self._code(error) in self.missing_codes

    def is_refused_algorithm(self, error: BaseException) -> bool:
        """Returns True if the server refused the statement in the requested form, such as its ALGORITHM."""
        return False
