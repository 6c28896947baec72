"""The error codes of PostgreSQL: SQLSTATE."""

from __future__ import annotations

from typing import ClassVar

from online_migrate.dialects.blame import Blame
from online_migrate.dialects.facets.errors import Errors
from online_migrate.driver_errors import driver_error_of, error_message

_SYSTEMIC = frozenset({"0A", "25", "28", "3D", "3F", "42", "53", "57", "58", "F0"})
"""SQLSTATE classes of errors that no row causes: syntax and access rules, resources, operator intervention,
system errors, missing features."""
_OF_VALUES = frozenset({"42804", "42846"})
"""SQLSTATE codes of a value whose type the column does not accept: psycopg2 renders values into the
statement, so the class is that of a syntax error."""
_LIMITS = "54"
"""The SQLSTATE class of an index entry, a row, a text or a statement that is too large for the server."""
_BY_USER = "user request"
"""A part of the message after pg_cancel_backend; every other error 57014 is a timeout."""
_OF_A_ROW = frozenset({"ExecWithCheckOptions"})
"""The functions of the server that refuse a row by a policy, with the code of a missing privilege."""
_OF_THE_TABLE = frozenset({"CheckCmdReplicaIdentity"})
"""The functions of the server that refuse every UPDATE of a table, because the table is published and has no
replica identity."""


class PostgreSQLErrors(Errors):
    """Reads the SQLSTATE of an error, its class, and the function of the server that raised it."""

    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset({"55P03"})
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({"57014"})
    conflict_codes: ClassVar[frozenset[object]] = frozenset({"40001", "40P01", "72000"})
    missing_codes: ClassVar[frozenset[object]] = frozenset({"42703", "42P01", "42883", "42704", "3F000"})
    connection_codes: ClassVar[frozenset[object]] = frozenset(
        {"57P01", "57P02", "57P03", "57P05", "08000", "08001", "08003", "08004", "08006", "08007", "08P01"}
        # The server ended an idle or a long transaction; no connection slot is free; PgBouncer's code.
        | {"25P03", "25P04", "53300"}
    )
    # Memory, temporary files; the other limits have an SQLSTATE class of their own, see _LIMITS.
    size_codes: ClassVar[frozenset[object]] = frozenset({"53200", "53400"})

    def code_of(self, error: BaseException) -> object:
        return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)

    def blame(self, error: BaseException) -> Blame:
        found = super().blame(error)
        code = str(self._code(error) or "")
        if found is not Blame.ROW or not code:
            return found
        if code[:2] == _LIMITS:
            return Blame.SIZE
        if code in self.statement_timeout_codes:
            return Blame.MIGRATION if _BY_USER in error_message(error) else Blame.SIZE
        source = getattr(getattr(driver_error_of(error), "diag", None), "source_function", None)
        if source in _OF_THE_TABLE:
            return Blame.MIGRATION
        if code[:2] in _SYSTEMIC and code not in _OF_VALUES and source not in _OF_A_ROW:
            return Blame.MIGRATION
        return Blame.ROW

    def is_connection_lost(self, error: BaseException) -> bool:
        if super().is_connection_lost(error):
            return True
        # The error of a connection that could not be opened has no SQLSTATE.
        module = type(error).__module__
        code = self._code(error)
        return code is None and "DBConnectionError" in type(error).__name__ and "oslo_db" in module
