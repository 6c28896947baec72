"""The result of a chunk, and the errors of a user's code in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from online_migrate import exceptions
from online_migrate.driver_errors import DATABASE_ERRORS

T = TypeVar("T")
STILL_PENDING = "still pending after its migration"
NOT_VERIFIED = "verify fails after its migration"


@dataclasses.dataclass(frozen=True)
class ChunkResult:
    """The result of a chunk."""

    done: int
    """Rows migrated."""
    failures: Mapping[str, str]
    """The rows that could not be migrated: encoded key -> error."""
    recorded: int | None = None
    """The rows to add to the record's count: those that the data will not show as done, because they
    no longer exist. None: *done*."""


class UpdateResult(NamedTuple):
    """The result of the write of a chunk, before it is known which of its rows are still pending."""

    done: int
    none_pending: bool
    """True if it is known that none of the rows is still pending; False if it is not known."""
    failed: bool = False
    """True if rows could not be migrated, so that the chunk must be rolled back and processed serially."""


class UserError(exceptions.Failed):
    """{where}: {error}"""

    of_rows: ClassVar[bool] = True
    """True if single rows may be the cause, so that the other rows of the chunk can be migrated."""


class MigrationMisuse(UserError):
    """{where}: {error}"""

    of_rows = False


class RowsChanged(Exception):
    """A row was changed after it was read: the chunk must be rolled back, and repeated with locked rows."""


def call_user_code(where: str, function: Callable[..., T], *arguments: Any) -> T:
    """Returns the result of *function*, which contains expressions, values or code of the user.

    *where*: the position for the error message. Raises :class:`UserError` instead of any other exception of
    *function*, except those of the server and of its driver.
    """
    try:
        return function(*arguments)
    except DATABASE_ERRORS:
        # An error of the server stays as it is: the runner decides whether it is transient.
        raise
    except Exception as error:
        raise UserError(where=where, error=f"{type(error).__name__}: {error}") from error
