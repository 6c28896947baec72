"""A function of the project that reports the services."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import dialect_of
from online_migrate.services.reported import Reported, ReportedService, UnreadableReport

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Function = Callable[["Connection"], Iterable[ReportedService]]


class FunctionServices:
    """Calls ``function(connection)``, with a read-only connection of its own to the command's database.

    With the connection that holds a table lock, a COMMIT of the function would release the lock.
    """

    version_names: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()

    def __init__(self, name: str, function: Function, timeout: float) -> None:
        """*timeout*: the statement timeout of the connection in seconds."""
        self.name = name
        self.note = f"read by {name}, beside what reports by heartbeat"
        self._function = function
        self._timeout = timeout

    def read(self, connection: Connection) -> Reported:
        """Returns what the function returns. Any error of it is in the result."""
        try:
            with private_connection(connection.engine) as own:
                dialect_of(own).read_only(own)
                with dialect_of(own).statement_timeout(own, self._timeout):
                    return Reported(tuple(self._checked(self._function(own))))
        except Exception as error:  # noqa: BLE001 - a function of a user may raise anything
            return Reported(unreadable=(self._unreadable(error),))

    def _checked(self, answer: object) -> list[ReportedService]:
        if not isinstance(answer, Iterable):
            raise TypeError(f"it returned {type(answer).__name__}, not an iterable of ReportedService")
        found = list(answer)
        for one in found:
            if not isinstance(one, ReportedService):
                raise TypeError(f"it returned an item of {type(one).__name__}, not a ReportedService")
        return found

    def _unreadable(self, error: Exception) -> UnreadableReport:
        text = " ".join(str(error).split())
        if not isinstance(error, exceptions.OnlineMigrateError):
            text = f"{type(error).__name__}: {text}"
        reason = f"it is unknown which services run, because {self.name} failed: {text}"
        return UnreadableReport("services", reason, "correct the function, then: online-migrate gate")
