"""The errors of SQLite: their names, and for SQLITE_ERROR their messages."""

from __future__ import annotations

from typing import ClassVar

from online_migrate.dialects.blame import Blame
from online_migrate.dialects.facets.errors import Errors
from online_migrate.driver_errors import error_message

_SYSTEMIC = (
    *("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_PERM", "SQLITE_AUTH"),
    "SQLITE_INTERRUPT",
)
"""Prefixes of the names of errors that no row causes."""
_WRONG_STATEMENT = ("no such", "near ", "ambiguous", "wrong number", "table ")
_LARGE_STATEMENT = ("too many SQL variables", "Expression tree is too large", "parser stack overflow")
_WITH_DETAILS = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN")


class SQLiteErrors(Errors):
    """Reads the name of an error, for example SQLITE_BUSY."""

    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_INTERRUPT"})
    conflict_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_SCHEMA", "SQLITE_PROTOCOL"})
    connection_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_CANTOPEN", "SQLITE_NOTADB"})
    size_codes: ClassVar[frozenset[object]] = frozenset({"SQLITE_TOOBIG", "SQLITE_NOMEM"})

    def code_of(self, error: BaseException) -> object:
        name = getattr(error, "sqlite_errorname", None)
        if not name:
            return None
        # For these codes the extended part of the name does not change the reaction.
        first = next((code for code in _WITH_DETAILS if str(name).startswith(f"{code}_")), None)
        return first or str(name)

    def blame(self, error: BaseException) -> Blame:
        found, code = super().blame(error), str(self._code(error) or "")
        if found is not Blame.ROW:
            return found
        if code == "SQLITE_ERROR":
            # The code is the same for a wrong statement and a wrong value: only the message differs.
            words = error_message(error)
            if words.startswith(_LARGE_STATEMENT):
                return Blame.SIZE
            return Blame.MIGRATION if words.startswith(_WRONG_STATEMENT) else Blame.ROW
        return Blame.MIGRATION if code.startswith(_SYSTEMIC) else Blame.ROW

    def is_missing_object(self, error: BaseException) -> bool:
        return self._code(error) == "SQLITE_ERROR" and error_message(error).startswith("no such ")
